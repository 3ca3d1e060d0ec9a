"""Who holds the gallery in memory is found by whoever has to wait for them, whenever they started."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import threading
from pathlib import Path

import pytest

from pipeline.errors import Failed
from pipeline.home import home
from stages.gallery.readers import Reader, wait_for


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Somebody looks between the moment when the next process opens its file and when it locks it."""
    real, told = fcntl.flock, ["not yet"]

    def flock(file: int, how: int) -> None:
        if how == fcntl.LOCK_EX and told == ["not yet"]:
            told[:] = wait_for(home(), 1, 0)
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    return told


def test_who_starts_while_somebody_looks_is_seen_the_next_time(looking: list[str]) -> None:
    reader = Reader(home(), "the gate")
    assert looking == []
    assert wait_for(home(), 1, 0) == [f"the gate (process {os.getpid()})"]
    reader.hold(1)
    assert wait_for(home(), 1, 0) == []
    reader.close()
    assert list((home() / "readers").iterdir()) == []


def test_who_looks_twice_at_once_takes_no_other_for_the_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another has removed the file that this one holds open, and in its place is that of a process that lives."""
    gone = home() / "readers" / "1-00"
    gone.parent.mkdir(parents=True)
    gone.touch()
    real, begun = fcntl.flock, []

    def flock(file: int, how: int) -> None:
        if how & fcntl.LOCK_NB and not begun:
            begun.append(os.open(gone.with_name("new"), os.O_RDWR | os.O_CREAT))
            real(begun[0], fcntl.LOCK_EX)
            gone.with_name("new").replace(gone)
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    wait_for(home(), 1, 0)
    assert gone.exists()
    os.close(begun[0])


def test_many_start_beside_one_who_looks(places: Path) -> None:
    (home() / "readers").mkdir(parents=True)
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            wait_for(home(), 1 << 60, 0)

    looker = threading.Thread(target=look)
    looker.start()
    lost = 0
    for _ in range(300):
        reader = Reader(home(), "the gate")
        lost += not any((home() / "readers").iterdir())
        reader.close()
    done.set()
    looker.join()
    assert lost == 0


def test_a_disk_without_room_is_told() -> None:
    """A limit on the size of files stands in for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for room in (0, 7):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            with pytest.raises(
                Failed, match=r"cannot write .*readers, where .forget. looks .*; see that there is room"
            ):
                Reader(home(), "the gate")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list((home() / "readers").iterdir()) == []
    signal.signal(signal.SIGXFSZ, before)
