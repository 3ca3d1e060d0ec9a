"""What the machine gives: cores, memory, files, devices; one function looks at one thing."""

from __future__ import annotations

import mmap
import os
import platform
import resource
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline import libraries, limits
from pipeline.finding import Finding

ENOUGH_FILES = 256  # open files of one process: sockets, rings, pipes
ENOUGH_MEMORY = 1 << 30  # bytes for the default graph on a 1080p camera
RING_BYTES = 64 << 20  # about ten 1080p frames


def system() -> Finding:
    """Linux, as far as it matters."""
    found = f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}"
    if platform.system() != "Linux":
        return Finding(
            "system", "broken", found, "framewire runs on Linux only: use a Linux machine or virtual machine."
        )
    return Finding("system", "ok", found)


def processor(proc: Path, groups: Path) -> Finding:
    """The cores that this process may use."""
    cores, allowed = limits.cores(proc, groups), len(os.sched_getaffinity(0))
    found = f"{cores} of {os.cpu_count()} cores" + (", by a control group's quota" if cores < allowed else "")
    advice = "" if cores > 1 else "One core shows few frames a second: give it two or more."
    return Finding("processor", "note" if advice else "ok", found, advice)


def memory(proc: Path, groups: Path) -> Finding:
    """Free memory, and less where a control group of this process has a limit."""
    total, limit, free = limits.memory(proc, groups)
    found = f"{_gib(free)} free of {_gib(total)}" + (
        f", limited to {_gib(limit)} by a control group" if limit < total else ""
    )
    if free < ENOUGH_MEMORY:
        return Finding(
            "memory", "note", found, f"Close other programs or raise the limit: {_gib(ENOUGH_MEMORY)} is little enough."
        )
    return Finding("memory", "ok", found)


def shared_memory() -> Finding:
    """A frame ring as the supervisor makes one, opened again through /proc as a stage opens it."""
    try:
        ring = os.memfd_create("framewire-doctor")
        try:
            os.posix_fallocate(ring, 0, RING_BYTES)
            reader = os.open(f"/proc/{os.getpid()}/fd/{ring}", os.O_RDONLY)
            with open(reader, "rb") as file, mmap.mmap(file.fileno(), RING_BYTES, prot=mmap.PROT_READ) as view:
                os.pwrite(ring, b"frame", 0)
                works = view[:5] == b"frame"
        finally:
            os.close(ring)
    except OSError as error:
        return Finding(
            "frame ring", "broken", str(error), "Frames need memfd_create and /proc: allow both, and free memory."
        )
    if not works:
        return Finding("frame ring", "broken", "what was written cannot be read", "Report this kernel as a bug.")
    return Finding("frame ring", "ok", f"{RING_BYTES >> 20} MiB of shared memory made, mapped and read")


def open_files() -> Finding:
    """The limit on open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < ENOUGH_FILES:
        return Finding("open files", "broken", f"at most {soft}", f"Run ulimit -n {4 * ENOUGH_FILES} before framewire.")
    return Finding("open files", "ok", f"at most {soft}")


def system_libraries() -> Finding:
    """What OpenCV's wheel expects of the system."""
    absent = libraries.missing()
    if absent:
        return Finding(
            "system libraries", "broken", f"{', '.join(absent)} missing", f"Run {libraries.apt_line(absent)}."
        )
    return Finding("system libraries", "ok", ", ".join(libraries.PACKAGES))


def places(state: Path, keys: Path) -> Iterator[Finding]:
    """Who is enrolled is kept in `state`, encrypted; its keys in `keys`, for nobody else's eyes."""
    for what, folder, variable in (("state", state, "FRAMEWIRE_HOME"), ("keys", keys, "FRAMEWIRE_KEYS")):
        # os.path, because pathlib's exists() raises where a folder above may not be searched
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            yield Finding(what, "broken", f"{folder} cannot be written", f"Set ${variable} to a folder of your own.")
        else:
            yield Finding(what, "ok", str(folder) if folder == there else f"{folder}, made when it is needed")
    if keys.resolve().is_relative_to(state.resolve()):
        yield Finding("keys", "broken", "inside of the data they protect", "Set $FRAMEWIRE_KEYS to a folder elsewhere.")
    for path in keys.glob("*") if os.access(keys, os.R_OK | os.X_OK) else ():
        if path.stat().st_mode & 0o077:
            yield Finding("keys", "broken", f"{path} is open to other users", f"Run chmod go= {shlex.quote(str(path))}")


def cameras(devices: Path, classes: Path) -> Iterator[Finding]:
    """Video devices (V4L2), and whether this user may open them."""
    paths = sorted(devices.glob("video[0-9]*"), key=lambda path: int(path.name[5:]))
    if not paths:
        yield Finding(
            "camera", "note", "none", "Files, folders and addresses work without one; else plug in a USB camera."
        )
    for path in paths:
        name = classes / path.name / "name"
        found = f"{path} {name.read_text().strip() if name.exists() else ''}".strip()
        if os.access(path, os.R_OK | os.W_OK):
            yield Finding("camera", "ok", found)
        else:
            advice = "Run sudo usermod -aG video $USER, then log in again."
            yield Finding("camera", "note", f"{found}: no permission", advice)


def gpu() -> Finding:
    """NVIDIA's driver and what it sees."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding("GPU", "note", "no NVIDIA driver", "The CPU does the work; for a GPU, install NVIDIA's driver.")
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        return Finding(
            "GPU", "note", f"nvidia-smi failed: {error}", "The CPU does the work; install NVIDIA's driver again."
        )
    return Finding("GPU", "ok", "; ".join(answer.stdout.split("\n")[:-1]))


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
