"""The files to look at: which there are, what they hold, and the sha256 by which they are known again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import av

from pipeline.errors import Failed, Usage
from pipeline.registry import sha256_of
from stages.sources.address import check_file
from stages.sources.media import audio_stream
from stages.sources.picture import Picture
from stages.sources.recording import Recording

SUFFIXES = (
    ".3gp",
    ".avi",
    ".flv",
    ".gif",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".ogv",
    ".ts",
    ".webm",
    ".wmv",
)
BESIDE = (".json", ".html", ".jpg", ".otio", ".edl")  # what is made with a reel
FOUND_AGAIN = "lost+found"  # on each ext4 disk: what a repair of it found, for root alone
BUSY_S = 10.0  # how long to wait for another run
USUAL_RATE = 25  # frames a second, where a file does not say its own
FILES = (
    "CREATE TABLE IF NOT EXISTS file(path TEXT PRIMARY KEY, size INTEGER NOT NULL, changed_ns INTEGER NOT NULL,"
    " inode INTEGER NOT NULL, sha256 TEXT NOT NULL) STRICT, WITHOUT ROWID"
)


def videos(given: Sequence[Path], out: Path) -> tuple[list[Path], list[str]]:
    """The files given, and those in the folders given and below by their names' endings, but for reels, each once.

    And sentences on what below them cannot be searched. Raises Failed and Usage.
    """
    found: list[Path] = []
    failures: list[str] = []
    for path in given:
        check_file(path)
        inside = _inside(path, out, failures) if path.is_dir() else [path]
        if not inside and failures:
            raise Failed("; ".join(failures))
        if not inside:
            raise Usage(f"there is no video in the folder {path}: their names end in {', '.join(sorted(SUFFIXES))}")
        found += inside
    return list({os.path.realpath(path): path for path in found}.values()), failures


def _inside(folder: Path, out: Path, failures: list[str]) -> list[Path]:
    """Those in it and below, but for what is hidden, and for reels. What cannot be searched is added to `failures`."""

    def unsearched(error: OSError) -> None:
        sentence = f"cannot search {error.filename}: {error.strerror}; let this user in, or give other folders"
        if Path(error.filename) == folder:
            raise Failed(sentence)
        failures.append(sentence)

    found: list[Path] = []
    for at, folders, names in os.walk(folder, onerror=unsearched):
        folders[:] = [name for name in folders if not name.startswith(".") and name != FOUND_AGAIN]
        found += [Path(at, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and not _is_reel(path, out))


def _is_reel(path: Path, out: Path) -> bool:
    """Whether it is the one that is to be made, or one that was made here before."""
    made = path.suffix.lower() == ".mp4" and all(path.with_suffix(end).is_file() for end in BESIDE)
    return made or path.resolve() == out.resolve()


class Facts(NamedTuple):
    """What a file says of itself."""

    width: int  # pixels, as shown
    height: int
    sound: bool
    frames: int  # about, at least 1: for a progress bar


def facts(path: Path) -> Facts:
    """Of a video file. Raises Failed for one without a picture."""
    picture = first_picture(path)
    with av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
        stream = container.streams.video[0]
        own = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        length = own or (container.duration or 0) / av.time_base
        frames = stream.frames or round(length * (stream.average_rate or USUAL_RATE))
        return Facts(*picture.size, audio_stream(container) is not None, max(1, frames))


def first_picture(path: Path) -> Picture:
    """The first one of a video file that decodes. Raises Failed for one without."""
    with closing(Recording(path, 1, None)) as recording:
        picture = next(iter(recording), None)
    if picture is None:
        raise Failed(f"{path} holds no frame that decodes: copy or export it again")
    return picture


class State(NamedTuple):
    """What changes with a file's content, for who does not read it."""

    size: int  # bytes
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> State:
        """Now. Raises Failed."""
        try:
            found = path.stat()
        except OSError as error:
            raise Failed(f"cannot read {path}: {error.strerror}; copy it again") from error
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


class Hashes:
    """HOME/highlights/files.db: the sha256 of files that were read before and have not changed since."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / "files.db"

    def sha256(self, path: Path, state: State) -> str:
        """Of the file's content, when it is in that state. Raises Failed."""
        row = str(path.resolve()), *state
        known = "SELECT sha256 FROM file WHERE path = ? AND size = ? AND changed_ns = ? AND inode = ?"
        with self._rows() as rows:
            if found := rows.execute(known, row).fetchone():
                return str(found[0])
        try:
            sha256 = sha256_of(path)
        except OSError as error:
            raise Failed(f"cannot read {path}: {error.strerror}; copy it again") from error
        with self._rows() as rows:
            rows.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)", (*row, sha256))
        return sha256

    @contextmanager
    def _rows(self) -> Iterator[sqlite3.Connection]:
        """The file, made where there is none; a damaged one is lost, which costs time alone. Raises Failed."""
        try:
            with closing(sqlite3.connect(self._path, BUSY_S, isolation_level=None)) as rows:
                rows.execute(FILES)
                yield rows
        except sqlite3.OperationalError as error:
            raise Failed(f"cannot use {self._path} ({error}): set $FRAMEWIRE_HOME") from error
        except sqlite3.DatabaseError as error:
            self._path.unlink(missing_ok=True)
            raise Failed(f"{self._path} was damaged ({error}) and is deleted: say this again") from error
