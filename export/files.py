"""Files that are whole or not there."""

import os
from pathlib import Path

from export.packages import Failed

MODELS = Path(__file__).resolve().parents[1] / "models"  # what ships


def folder_at(folder: Path) -> Path:
    """The folder, made if need be; Failed where it cannot be one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"{folder} cannot be a folder ({error.strerror}); give another with --out") from error
    return folder


def lines_of(file: Path) -> list[str]:
    """The lines of a text file in UTF-8; Failed where it is none."""
    try:
        return file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(
            f"{file} cannot be read as text ({type(error).__name__}); give a file of lines in UTF-8"
        ) from error


def write_whole(file: Path, data: bytes) -> None:
    """Write beside, fsync, rename: Failed where the disk has no room, and what was there before is still there.

    The file's folder is made if need be.
    """
    part = folder_at(file.parent) / f"{file.name}.part"
    try:
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Failed(f"{file} could not be written ({error.strerror}); make room there and start again") from error
