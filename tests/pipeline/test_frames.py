"""The frame ring: tickets, laps, and what a killed writer leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from msgspec.structs import replace

from pipeline.errors import Failed
from pipeline.frames import Overwritten, RingInfo, RingReader, RingWriter, allocate
from pipeline.types import Frame

WIDTH, HEIGHT, SLOTS = 64, 48, 4


@pytest.fixture
def ring() -> Iterator[RingInfo]:
    fd, info = allocate("cam", WIDTH, HEIGHT, SLOTS)
    yield info
    os.close(fd)


def write(writer: RingWriter, seq: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Frame:
    width, height = size
    writer.claim(width, height)[:] = seq % 251
    return writer.commit(
        source="cam",
        seq=seq,
        captured_ns=seq + 1,
        pts_ns=-seq,
        key_seq=seq // 2,
        key_pts_ns=7,
        width=width,
        height=height,
    )


def reader(*rings: RingInfo) -> RingReader:
    return RingReader({info.id: info for info in rings}.get)


def test_what_is_written_is_read(ring: RingInfo) -> None:
    writer, frames = RingWriter(ring), reader(ring)
    for seq in range(3 * SLOTS):
        ticket = write(writer, seq)
        with frames.view(ticket) as pixels:
            assert pixels.shape == (HEIGHT, WIDTH, 3)
            assert (pixels == seq % 251).all()
            assert not pixels.flags.writeable
            with pytest.raises(ValueError, match="cannot set WRITEABLE"):
                pixels.flags.writeable = True


def test_all_but_one_slot_stay_readable(ring: RingInfo) -> None:
    writer, frames = RingWriter(ring), reader(ring)
    tickets = [write(writer, seq) for seq in range(10)]
    for ticket in tickets[-(SLOTS - 1) :]:
        with frames.view(ticket) as pixels:
            assert (pixels == ticket.seq).all()
    with pytest.raises(Overwritten), frames.view(tickets[-SLOTS]):
        pass


def test_an_exception_over_torn_pixels_is_overwritten(ring: RingInfo) -> None:
    writer, frames = RingWriter(ring), reader(ring)
    ticket = write(writer, 0)

    def stumble() -> None:
        with frames.view(ticket):
            for seq in range(1, SLOTS + 1):
                write(writer, seq)
            raise ZeroDivisionError("from a torn picture")

    with pytest.raises(Overwritten):
        stumble()


def test_an_exception_over_good_pixels_is_itself(ring: RingInfo) -> None:
    writer, frames = RingWriter(ring), reader(ring)
    with pytest.raises(ZeroDivisionError), frames.view(write(writer, 0)):
        raise ZeroDivisionError


def test_a_killed_writer_leaves_whole_frames_and_its_mark(ring: RingInfo) -> None:
    writer, frames = RingWriter(ring), reader(ring)
    tickets = [write(writer, seq) for seq in range(6)]
    writer.claim(WIDTH, HEIGHT)[: HEIGHT // 2] = 99  # and then it was killed
    again = RingWriter(ring)
    assert again.whole() == tickets[-(SLOTS - 1) :]
    mark = again.mark()
    assert mark is not None
    assert (mark.seq, mark.pts_ns, mark.key_seq, mark.key_pts_ns) == (5, -5, 2, 7)
    ticket = write(again, 6)
    with frames.view(tickets[-1]) as pixels:
        assert (pixels == 5).all(), "the new writer goes on behind what was whole"
    with frames.view(ticket) as pixels:
        assert (pixels == 6).all()
    assert len({(t.slot, t.lap) for t in [*tickets, ticket]}) == 7, "no two tickets for the same pixels"


def test_an_empty_ring_has_no_mark(ring: RingInfo) -> None:
    assert RingWriter(ring).mark() is None


def test_smaller_frames_fit_and_larger_do_not(ring: RingInfo) -> None:
    writer, frames = RingWriter(ring), reader(ring)
    assert writer.fits(HEIGHT, WIDTH)
    assert not writer.fits(WIDTH + 1, HEIGHT)
    with frames.view(write(writer, 3, (20, 10))) as pixels:
        assert pixels.shape == (10, 20, 3)
        assert (pixels == 3).all()


@pytest.mark.parametrize(
    "wrong", [{"ring": 1}, {"slot": SLOTS}, {"width": WIDTH + 1}, {"height": 32768, "width": 32768}]
)
def test_a_ticket_for_what_does_not_exist_is_not_known(ring: RingInfo, wrong: dict[str, int]) -> None:
    good = write(RingWriter(ring), 0)
    frames = reader(ring)
    assert frames.knows(good)
    assert not frames.knows(replace(good, **wrong))
    with pytest.raises(Overwritten), frames.view(replace(good, **wrong)):
        pass


def test_a_closed_ring_is_overwritten_even_where_its_descriptor_was_used_again() -> None:
    fd, info = allocate("cam", WIDTH, HEIGHT, SLOTS)
    ticket = write(RingWriter(info), 0)
    os.close(fd)
    with pytest.raises(Overwritten), reader(info).view(ticket):
        pass
    other_fd, other = allocate("cam", WIDTH, HEIGHT, SLOTS)
    assert other.path == info.path, "the kernel hands out the lowest free number"
    with pytest.raises(Overwritten), reader(info).view(ticket):
        pass
    os.close(other_fd)


def test_readers_cannot_write(ring: RingInfo) -> None:
    frames = reader(ring)
    with frames.view(write(RingWriter(ring), 0)) as pixels:
        base = pixels.base
        while isinstance(base, np.ndarray):
            base = base.base
        assert memoryview(base).readonly


def test_too_little_memory_is_one_sentence() -> None:
    with pytest.raises(Failed, match=r"not enough memory for the frames of cam: 256 of 32768x32768 need \d+ MB"):
        allocate("cam", 32768, 32768, 256)
