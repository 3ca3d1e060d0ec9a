"""What this process may take of the machine: cores and memory, or less where a control group around it has a limit.

Control groups of version 1 and 2, cgroups(7): this process's own and those around it, as far as they can be seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")


class Memory(NamedTuple):
    """Bytes."""

    total: int  # of the machine
    limit: int  # the least of the control groups' limits; `total` where there is none
    free: int  # of the machine or, where that is less, of a control group


def memory(proc: Path = PROC, groups: Path = GROUPS) -> Memory:
    """What there is, and what is left of it; what the system can drop at once, such as cached files, is left too."""
    rows = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
    total, free = (int(rows[key].split()[0]) << 10 for key in ("MemTotal", "MemAvailable"))
    limit = total
    for group in _groups(proc, groups, "memory"):
        most = _number(group, "memory.max", "memory.limit_in_bytes")
        if most is not None:
            used = _number(group, "memory.current", "memory.usage_in_bytes") or 0
            limit = min(limit, most)
            free = min(free, max(0, most - used + _dropped_first(group)))
    return Memory(total, limit, free)


def cores(proc: Path = PROC, groups: Path = GROUPS) -> int:
    """How many threads can really run at once, at least 1: beyond a quota they are only halted, all together."""
    found = len(os.sched_getaffinity(0))
    for group in _groups(proc, groups, "cpu"):
        quota, _, period = _text(group, "cpu.max").partition(" ")
        quota = quota or _text(group, "cpu.cfs_quota_us")
        period = period or _text(group, "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():  # not "max", and not -1
            found = min(found, max(1, int(quota) // int(period)))
    return found


def _groups(proc: Path, groups: Path, controller: str) -> Iterator[Path]:
    """The folders of the control groups that may limit this process."""
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            root = groups / controllers
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):
                yield folder
                if folder == root:
                    break


def _dropped_first(group: Path) -> int:
    """Bytes of files in memory that were not used lately."""
    rows = dict(line.split() for line in _text(group, "memory.stat").splitlines())
    return int(rows.get("total_inactive_file") or rows.get("inactive_file") or 0)


def _number(group: Path, *names: str) -> int | None:
    return next((int(text) for name in names if (text := _text(group, name)).isdigit()), None)


def _text(group: Path, name: str) -> str:
    """A file of a control group, "" where there is none."""
    file = group / name
    return file.read_text().strip() if file.is_file() else ""
