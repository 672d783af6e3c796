"""What goes with the pages."""

from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from app.console.page import ASSETS

ROOT = Path(__file__).parents[3]


def test_the_wheel_brings_the_files_of_the_pages() -> None:
    brought = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"app/console/static/{name}" for name in ASSETS} <= brought
