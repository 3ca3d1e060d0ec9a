"""What control groups allow, in folders laid out as the kernel lays them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import limits

GIB = 1 << 30


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text(f"MemTotal: {8 << 20} kB\nMemFree: 1 kB\nMemAvailable: {4 << 20} kB\n")
    (folder / "self/cgroup").write_text("0::/user/app\n3:cpu,cpuacct:/box\n2:memory:/box\n1:name=systemd:/\n")
    return folder


def write(groups: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text + "\n")
    return groups


@pytest.mark.parametrize(
    ("files", "limit", "free"),
    [
        ({}, 8, 4),
        ({"user/memory.max": "max", "user/memory.current": f"{GIB}"}, 8, 4),
        ({"user/memory.max": f"{3 * GIB}", "user/memory.current": f"{GIB}"}, 3, 2),
        ({"user/app/memory.max": f"{3 * GIB}", "user/app/memory.current": f"{GIB}"}, 3, 2),
        ({"memory.max": f"{GIB}", "memory.current": f"{2 * GIB}"}, 1, 0),
        (
            {
                "user/memory.max": f"{3 * GIB}",
                "user/memory.current": f"{3 * GIB}",
                "user/memory.stat": f"anon 7\ninactive_file {GIB}\nactive_file 9",
            },
            3,
            1,
        ),
        ({"memory/box/memory.limit_in_bytes": f"{GIB}", "memory/box/memory.usage_in_bytes": "0"}, 1, 1),
        ({"memory/memory.limit_in_bytes": f"{(1 << 63) - 4096}", "memory/memory.usage_in_bytes": f"{GIB}"}, 8, 4),
        ({"other/memory.max": f"{GIB}", "other/memory.current": f"{GIB}"}, 8, 4),
    ],
)
def test_memory(tmp_path: Path, proc: Path, files: dict[str, str], limit: int, free: int) -> None:
    found = limits.memory(proc, write(tmp_path / "cgroup", files))
    assert found == (8 * GIB, limit * GIB, free * GIB)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"user/app/cpu.max": "max 100000"}, None),
        ({"user/app/cpu.max": "150000 100000"}, 1),
        ({"user/cpu.max": "20000 100000"}, 1),
        ({"user/cpu.max": "9900000 100000"}, None),
        ({"cpu,cpuacct/box/cpu.cfs_quota_us": "100000", "cpu,cpuacct/box/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_cores(
    tmp_path: Path, proc: Path, files: dict[str, str], quota: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert limits.cores(proc, write(tmp_path / "cgroup", files)) == (quota or 3)


def test_this_machine() -> None:
    total, limit, free = limits.memory()
    assert 0 < free <= limit <= total
    assert 1 <= limits.cores() <= len(os.sched_getaffinity(0))
