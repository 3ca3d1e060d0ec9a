"""System libraries that Python packages expect and wheels do not carry, and the Debian packages that hold them."""

from __future__ import annotations

import ctypes

from pipeline.errors import Failed

# opencv-python is built with Qt 5, which wants these three; every other wheel is content with libc and libstdc++.
PACKAGES = {"libGL.so.1": "libgl1", "libgthread-2.0.so.0": "libglib2.0-0", "libxcb.so.1": "libxcb1"}


def missing() -> dict[str, str]:
    """Library -> Debian package, for each library that does not load here."""
    return {library: package for library, package in PACKAGES.items() if not _loads(library)}


def explained(error: ImportError) -> Failed:
    """`error` of an import in one sentence that names the apt line where a system library is missing."""
    absent = missing()
    if not absent:
        return Failed(f"a Python package cannot be imported ({error}): install framewire again")
    return Failed(f"{', '.join(absent)} is missing on this system: run {apt_line(absent)}")


def apt_line(absent: dict[str, str]) -> str:
    """The command that installs what `missing` found."""
    return f"sudo apt-get install -y {' '.join(sorted(absent.values()))}"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
