"""A real Prometheus that scrapes a service, and promtool, which judges rules."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.support.patience import PATIENCE
from tests.support.ports import free_port
from tests.support.process import Process

__all__ = ["Prometheus", "find_prometheus", "promtool"]


def find_prometheus() -> bool:
    return all(shutil.which(program) for program in ("prometheus", "promtool"))


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``promtool ARGUMENTS``."""
    return subprocess.run(["promtool", *arguments], capture_output=True, encoding="utf-8", check=False)


class Prometheus(Process):
    """Scrapes `port` of this machine twice a second, as the pod with `labels`. Entering waits until it is ready.

    `others` are more ports, with the labels of theirs; `rules` is a file of alerts, judged every second.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        labels: Mapping[str, str],
        others: Mapping[int, Mapping[str, str]] | None = None,
        rules: Path | None = None,
    ) -> None:
        own = free_port()
        self._url = f"http://127.0.0.1:{own}"
        targets = [
            {"targets": [f"127.0.0.1:{each}"], "labels": dict(names)}
            for each, names in {port: labels, **(others or {})}.items()
        ]
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
            "rule_files": [] if rules is None else [str(rules)],
            "scrape_configs": [{"job_name": "otlp-service", "static_configs": targets}],
        }
        file = directory / "prometheus.yaml"
        file.write_text(json.dumps(config))
        super().__init__(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            directory,
        )

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression as it is now, each with `metric` (its labels) and `value` (time and text)."""
        result: list[dict[str, Any]] = (await self._get(f"/api/v1/query?{urlencode({'query': expression})}"))["data"][
            "result"
        ]
        return result

    async def __aenter__(self) -> Self:
        await self.begin(self._answers, "ready")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    async def _answers(self) -> bool:
        try:
            await self._get("/api/v1/status/buildinfo")
        except OSError:
            return False
        return True

    async def _get(self, path: str) -> Any:
        def get() -> Any:
            with urlopen(self._url + path, timeout=PATIENCE) as response:  # noqa: S310 - our own URL
                return json.load(response)

        return await asyncio.to_thread(get)
