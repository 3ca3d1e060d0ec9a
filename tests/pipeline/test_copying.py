"""Copies into the ring: the same pixels whoever copies them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.copying import LARGE, Copier
from pipeline.frames import RingWriter
from pipeline.graph import Source
from pipeline.limits import cores
from stages.capture import Capture, CaptureConfig
from tests.command import GATE


@pytest.fixture
def copier() -> Iterator[Copier]:
    made = Copier(helped=True)
    yield made
    made.close()


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def copy_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("copier")]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (720, 1280), (1080, 1920), (1081, 1919), (2160, 3840)])
def test_every_size_arrives_whole(copier: Copier, size: tuple[int, int]) -> None:
    pixels, slot = picture(*size), np.zeros((*size, 3), np.uint8)
    copier(slot, pixels)
    np.testing.assert_array_equal(slot, pixels)


def test_a_turned_picture_arrives_upright(copier: Copier) -> None:
    pixels = picture(1920, 1080)
    turned = np.rot90(pixels)  # not contiguous
    assert turned.nbytes >= LARGE
    slot = np.zeros(turned.shape, np.uint8)
    copier(slot, turned)
    np.testing.assert_array_equal(slot, turned)


def test_a_helper_that_gets_no_turn_costs_no_pixels(copier: Copier) -> None:
    """Threads that keep the interpreter busy: the helper comes late, in the middle, or not at all."""
    ended = threading.Event()

    def busy() -> None:
        while not ended.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        pixels = picture(1080, 1920)
        slot = np.zeros_like(pixels)
        for number in range(6):
            pixels += np.uint8(1 + number)
            copier(slot, pixels)
            np.testing.assert_array_equal(slot, pixels)
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_two_sides_that_do_not_fit_are_an_error(copier: Copier) -> None:
    with pytest.raises(ValueError, match="shape"):
        copier(np.zeros((1080, 1920, 3), np.uint8), picture(1080, 1919))
    pixels, slot = picture(1080, 1920), np.zeros((1080, 1920, 3), np.uint8)
    copier(slot, pixels)  # and the next one is well again
    np.testing.assert_array_equal(slot, pixels)


def test_one_core_has_no_helper() -> None:
    before, allowed = len(copy_threads()), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        alone = Copier(helped=True)
        pixels = picture(1080, 1920)
        slot = np.zeros_like(pixels)
        alone(slot, pixels)
        assert len(copy_threads()) == before
        alone.close()
    finally:
        os.sched_setaffinity(0, allowed)
    np.testing.assert_array_equal(slot, pixels)


@pytest.mark.skipif(cores() < 2, reason="one core: nobody could help")
@pytest.mark.parametrize(("realtime", "live", "helped"), [(False, False, 0), (True, False, 1), (False, True, 1)])
def test_capture_has_a_helper_where_delay_counts(realtime: bool, live: bool, helped: int) -> None:
    before = len(copy_threads())
    address = "rtsp://127.0.0.1:1/x" if live else str(GATE)
    capture = Capture(CaptureConfig(realtime=realtime), Source("a", address, live), no_ring)
    assert len(copy_threads()) == before + helped
    capture.close()
    assert len(copy_threads()) == before


def no_ring(width: int, height: int) -> RingWriter:
    raise AssertionError("nothing is read here")


def test_the_thread_ends_with_its_owner() -> None:
    before = len(copy_threads())
    owner = Copier(helped=True)
    pixels = picture(1080, 1920)
    owner(np.zeros_like(pixels), pixels)
    assert len(copy_threads()) == before + (cores() > 1)
    owner.close()
    assert len(copy_threads()) == before
