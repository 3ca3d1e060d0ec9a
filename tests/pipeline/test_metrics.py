"""Histograms and pages."""

from __future__ import annotations

import math
import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.metrics import BUCKETS, Counter, Page, bucket, new_page, quantile


@given(st.integers(0, 2**50))
def test_buckets_rise_and_hold_everything(us: int) -> None:
    assert 0 <= bucket(us) < BUCKETS
    assert bucket(us) <= bucket(us + 1)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_within_a_sixteenth(durations_us: list[int], q: float) -> None:
    fd = new_page("test", 1)
    page = Page(fd, 1)
    for us in durations_us:
        page.age.record(us * 1000)
    os.close(fd)
    exact = float(np.quantile(durations_us, q, method="inverted_cdf")) / 1000
    assert exact <= quantile(page.age.counts(), q) <= exact * (1 + 1 / 16) + 0.002


def test_nothing_counted_has_no_quantile() -> None:
    assert math.isnan(quantile([0] * BUCKETS, 0.5))


def test_a_page_outlives_its_writer() -> None:
    fd = new_page("test", 3)
    writer = Page(fd, 3)
    writer.add(Counter.SENT, 5)
    writer.hold([(0, 7), (2, 9)])
    writer.sent(1, 0)
    successor = Page(fd, 3)
    os.close(fd)
    assert successor.get(Counter.SENT) == 5
    assert successor.held() == [(0, 7), (2, 9)]
    assert successor.last_sent() == [-1, 0, -1]
