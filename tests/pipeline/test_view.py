from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from pipeline.view import ProcessRow, Snapshot, SourceRow, View, render

BUSY = ProcessRow(
    "capture-a-camera-with-a-long-name",
    "reconnecting",
    pid=4194303,
    received=98_765_432,
    sent=12_345_678,
    fps=1234.5,
    dropped=123_456,
    overwritten=2,
    refused=1,
    skipped=3,
    restarts=12,
    in_flight=15,
    service_ms=(12.4, 1350.0),
    age_ms=(1234.0, 2345.0, 3456.0),
    rss_mb=1234.5,
    cpu=187.4,
)
SNAPSHOT = Snapshot(
    elapsed_s=75.4,
    sources=(SourceRow("gate", "running", "rtsp://admin:***@camera.example:554/a/very/long/path/to/the/stream/1"),),
    processes=(ProcessRow("detect", "running", pid=7, sent=812, fps=25.94), BUSY, ProcessRow("show", "starting")),
    frames=812,
    fps=25.94,
    drops=17,
    age_ms=(41.2, 63.0, 180.4),
)


def text(width: int, snapshot: Snapshot = SNAPSHOT) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(render(snapshot, width))
    return capture.get()


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80, height=24)


def printed(of: Console) -> str:
    assert isinstance(of.file, io.StringIO)
    return of.file.getvalue()


def test_a_very_narrow_terminal_still_names_the_processes() -> None:
    shown = text(40)
    assert re.search(r"^detect +running +812 ", shown, re.MULTILINE)
    assert all(len(line) <= 40 for line in shown.splitlines())


class Gone(io.StringIO):
    """A terminal that was closed, or a file on a full disk."""

    tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_that_is_gone_does_not_end_the_run(terminal: bool) -> None:
    gone = Gone()
    with View(Console(file=gone, force_terminal=terminal)) as view:
        view.show(lambda: SNAPSHOT)
        view.show(lambda: SNAPSHOT, last=True)
    assert gone.tried == 1, "and it is left alone"


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_totals_and_every_process_are_there(width: int) -> None:
    shown = text(width)
    assert shown.startswith("01:15  812 frames  25.9 fps  17 dropped  age p50/p95/p99 41/63/180 ms")
    assert re.search(r"^detect +running .* 812 +25\.9 ", shown, re.MULTILINE)
    assert re.search(r"^show +starting .* -/- ", shown, re.MULTILINE)
    assert re.search(r"^gate +running +rtsp://admin:\*\*\*@camera", shown, re.MULTILINE)


def test_eighty_columns_are_enough_for_a_busy_process() -> None:
    (row,) = (line for line in text(80).splitlines() if line.startswith("capture-a"))
    for number in ("12345678", "1234.5", "123462", "12/1350", "1234/3456", "1234", "187"):
        assert number in row
    assert "reconnecting ×12" in row
    assert max(map(len, text(80).splitlines())) <= 80


def test_a_wide_terminal_tells_the_losses_apart() -> None:
    shown = text(140)
    (row,) = (line for line in shown.splitlines() if line.startswith("capture-a"))
    for number in ("4194303", "98765432", "123456 ", " 2 ", " 1 ", " 3 ", " 15 ", "1234/2345/3456"):
        assert number in row
    assert "torn" in shown


def test_a_restart_is_seen() -> None:
    assert "×12" in text(80)
    assert "×" not in text(80, Snapshot(0, (), (ProcessRow("detect", "running"),), 0, 0, 0, (0, 0, 0)))


def test_what_is_lost_of_a_stream_is_told() -> None:
    row = SourceRow("a", "running", "rtsp://camera", unsent=7)
    assert "running 7 packets lost" in text(80, Snapshot(0, (row,), (), 0, 0, 0, (0, 0, 0)))
    assert "packets" not in text(80)


def test_addresses_are_not_markup() -> None:
    row = SourceRow("a", "running", "clips/José [red] 王.mp4")
    assert "clips/José [red] 王.mp4" in text(80, Snapshot(0, (row,), (), 0, 0, 0, (0, 0, 0)))


def test_what_is_not_a_terminal_gets_one_plain_line_until_the_next_is_due() -> None:
    out = console(terminal=False)
    with View(out) as view:
        for _ in range(100):
            view.show(lambda: SNAPSHOT)
    assert printed(out) == "01:15  812 frames  25.9 fps  17 dropped  age p50/p95/p99 41/63/180 ms\n"


def test_a_terminal_shows_the_table_and_the_last_snapshot_stays() -> None:
    out = console(terminal=True)
    with View(out) as view:
        view.show(lambda: SNAPSHOT)
        view.show(lambda: Snapshot(80, (), (), 999, 1, 0, (1, 2, 3)), last=True)
    shown = printed(out)
    assert "reconnecting" in shown
    assert "999 frames" in shown


def test_a_snapshot_is_asked_for_only_when_it_is_due() -> None:
    asked: list[int] = []
    with View(console(terminal=True)) as view:
        for _ in range(50):
            view.show(lambda: (asked.append(1), SNAPSHOT)[1])
    assert len(asked) < 50


def test_quiet_says_nothing_and_asks_for_nothing() -> None:
    out = console(terminal=True)

    def never() -> Snapshot:
        raise AssertionError("asked for")

    with View(out, quiet=True) as view:
        view.show(never, last=True)
    assert printed(out) == ""
