"""Files that are there whole or not at all, and files that are removed so that nothing is left of them."""

from __future__ import annotations

import os
import resource
import signal
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from pipeline.files import CHUNK, replace_file, shred


def test_what_is_shredded_is_zeros_in_the_blocks_that_become_free(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(content := os.urandom(CHUNK + 7))
    other.hardlink_to(path)  # whoever looks into the blocks
    shred(path)
    assert not path.exists()
    assert other.read_bytes() == bytes(len(content))
    shred(path)  # somebody else was faster


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path, folder = tmp_path / "a", tmp_path / "folder"
    path.write_bytes(b"old")
    folder.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # stands for a disk that is full
    try:
        with pytest.raises(OSError, match="File too large"):
            replace_file(path, bytes(4000), synced=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(IsADirectoryError):
        replace_file(folder, b"new", synced=False)
    assert sorted(tmp_path.iterdir()) == [path, folder]
    assert path.read_bytes() == b"old"


def test_a_write_that_a_signal_ends_leaves_nothing_of_it(tmp_path: Path) -> None:
    path, beside = tmp_path / "a", tmp_path / "a.part"
    path.write_bytes(b"old")
    os.mkfifo(beside)  # a disk that takes no more until somebody reads

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    def read() -> None:
        with beside.open("rb") as pipe:
            pipe.read(1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            pipe.read()

    before, reader = signal.signal(signal.SIGUSR1, stop), threading.Thread(target=read)
    reader.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            replace_file(path, bytes(CHUNK), synced=False)
    finally:
        signal.signal(signal.SIGUSR1, before)
        reader.join()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"
