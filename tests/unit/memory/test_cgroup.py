"""The memory limit of our cgroup and what is used of it, from the files of both versions."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from app.memory import find_cgroup

MIB = 1 << 20
NO_LIMIT_IN_V1 = 9223372036854771712
HYBRID = "4:memory:/pods/own\n3:cpuset:/\n1:name=systemd:/\n0::/elsewhere\n"


def place(root: Path, membership: str, cgroups: Mapping[str, Mapping[str, object]]) -> Path:
    """Write what /proc/self/cgroup says, and the files of `cgroups` below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(membership)
    for path, files in cgroups.items():
        directory = root / "sys/fs/cgroup" / path
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(f"{text}\n")
    return root


def v1(limit: int, usage: int = 0, files: tuple[int, int] = (0, 0)) -> dict[str, object]:
    inactive, active = files
    return {
        "memory.limit_in_bytes": limit,
        "memory.usage_in_bytes": usage,
        # inactive_file is of this cgroup alone, total_inactive_file with those below it
        "memory.stat": f"inactive_file 1\nactive_file 1\ntotal_inactive_file {inactive}\ntotal_active_file {active}",
    }


def v2(limit: int | str, usage: int = 0, files: tuple[int, int] = (0, 0)) -> dict[str, object]:
    inactive, active = files
    return {
        "memory.max": limit,
        "memory.current": usage,
        "memory.stat": f"anon 5\nfile 7\ninactive_file {inactive}\nactive_file {active}\nunevictable 3",
    }


def test_pages_of_files_do_not_count_in_version_2(tmp_path: Path) -> None:
    found = find_cgroup(place(tmp_path, "0::/\n", {"": v2(256 * MIB, 100 * MIB, (20 * MIB, 10 * MIB))}))
    assert found is not None
    assert found.limit == 256 * MIB
    assert found.free(reserve=6 * MIB) == 180 * MIB


def test_pages_of_files_do_not_count_in_version_1(tmp_path: Path) -> None:
    files = (20 * MIB, 10 * MIB)
    found = find_cgroup(place(tmp_path, HYBRID, {"memory/pods/own": v1(256 * MIB, 100 * MIB, files)}))
    assert found is not None
    assert found.limit == 256 * MIB
    assert found.free(reserve=0) == 186 * MIB


def test_more_than_the_limit_less_the_reserve_leaves_less_than_nothing(tmp_path: Path) -> None:
    found = find_cgroup(place(tmp_path, "0::/\n", {"": v2(100, 99)}))
    assert found is not None
    assert found.free(reserve=10) == -9


def test_the_smallest_limit_of_all_that_we_are_in_counts(tmp_path: Path) -> None:
    levels = {"": {}, "pod": v2(300, 150), "pod/own": v2("max", 50), "pod/own/inner": v2(400, 10)}
    found = find_cgroup(place(tmp_path, "0::/pod/own/inner\n", levels))
    assert found is not None
    assert found.limit == 300
    assert found.free(reserve=0) == 150, "others in the pod use some of it"


def test_the_fullest_level_says_what_is_free(tmp_path: Path) -> None:
    found = find_cgroup(place(tmp_path, "0::/own\n", {"": {}, "own": v2(300, 290), "other": v2(1)}))
    assert found is not None
    assert (found.limit, found.free(reserve=0)) == (300, 10)


@pytest.mark.parametrize("membership", ["4:memory:/docker/0123\n", "4:cpu,memory:/docker/0123\n"])
def test_a_path_of_the_host_is_the_root_of_what_a_container_sees(tmp_path: Path, membership: str) -> None:
    found = find_cgroup(place(tmp_path, membership, {"memory": v1(200)}))
    assert found is not None
    assert found.limit == 200


def test_a_path_above_the_root_of_the_namespace_is_its_root(tmp_path: Path) -> None:
    found = find_cgroup(place(tmp_path, "0::/../../own\n", {"": v2(200)}))
    assert found is not None
    assert found.limit == 200


@pytest.mark.parametrize(
    ("membership", "cgroups"),
    [
        ("0::/own\n", {"own": v2("max")}),
        ("4:memory:/\n", {"memory": v1(NO_LIMIT_IN_V1)}),
        ("0::/own\n", {}),
        ("", {}),
        ("what is this\n", {}),
        ("0::/\n", {"": v2("a lot")}),
    ],
)
def test_where_there_is_no_limit_or_nothing_tells_of_one_there_is_none(
    tmp_path: Path, membership: str, cgroups: Mapping[str, Mapping[str, object]]
) -> None:
    assert find_cgroup(place(tmp_path, membership, cgroups)) is None


def test_a_system_without_cgroups_has_no_limit(tmp_path: Path) -> None:
    assert find_cgroup(tmp_path) is None
