"""Stages for the engine's tests: real processes, real rings, pixels that can be checked; no vision."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipeline.config import Config
from pipeline.errors import Failed
from pipeline.frames import Frames, Mark, Overwritten, RingWriter
from pipeline.graph import Source
from pipeline.types import Detections, Frame, Matches, Packet

SIZE = (64, 48)


class CountConfig(Config, frozen=True):
    frames: int = 100
    every_s: float = 0.0  # a live source's pace
    fail_at: int = -1
    sizes: tuple[tuple[int, int], ...] = (SIZE,)  # frame n has the size n % len


class Count:
    """A source of numbered pictures: every pixel of picture n is n % 251."""

    state = "running"

    def __init__(
        self, config: CountConfig, source: Source, ring: Callable[[int, int], RingWriter], after: Mark | None
    ) -> None:
        self.config = config
        self.source = source
        self.ring = ring
        self.seq = after.seq + 1 if after else 0

    def __iter__(self) -> Iterator[Frame | None]:
        writer = None
        due = time.monotonic()
        while self.seq < self.config.frames:
            if self.seq == self.config.fail_at:
                raise Failed(f"{self.source.name} is damaged after frame {self.seq - 1}")
            if time.monotonic() < due:
                yield None
                continue
            due += self.config.every_s
            width, height = self.config.sizes[self.seq % len(self.config.sizes)]
            if writer is None or not writer.fits(width, height):
                writer = self.ring(width, height)
            writer.claim(width, height)[:] = self.seq % 251
            now = time.monotonic_ns()
            frame = writer.commit(
                source=self.source.name,
                seq=self.seq,
                captured_ns=now,
                pts_ns=self.seq * 40_000_000,
                key_seq=self.seq,
                key_pts_ns=self.seq * 40_000_000,
                width=width,
                height=height,
            )
            self.seq += 1
            yield frame

    def close(self) -> None:
        pass


class SieveConfig(Config, frozen=True):
    pass


class Sieve:
    """Frame -> the Frame, where its number is even."""

    def __init__(self, config: SieveConfig) -> None:
        pass

    def __call__(self, frame: Frame) -> Frame | None:
        return None if frame.seq % 2 else frame


class LookConfig(Config, frozen=True):
    kill_at: int = -1  # dies by SIGSEGV over this frame, every time
    raise_at: int = -1
    hang_at: int = -1
    refuse_to_start: str = ""
    crash_at_start: bool = False
    slow_s: float = 0.0


class Look:
    """Reads the pixels: a detection's score is what they say, over 251."""

    batch = 4

    def __init__(self, config: LookConfig, frames: Frames) -> None:
        self.config = config
        self.frames = frames
        if config.refuse_to_start:
            raise Failed(config.refuse_to_start)
        if config.crash_at_start:
            raise ZeroDivisionError

    def __call__(self, frames: list[Frame]) -> list[Detections | Overwritten]:
        return [self._try(frame) for frame in frames]

    def _try(self, frame: Frame) -> Detections | Overwritten:
        try:
            return self._look(frame)
        except Overwritten as gone:
            return gone

    def _look(self, frame: Frame) -> Detections:
        if frame.seq == self.config.kill_at:
            os.kill(os.getpid(), 11)
        if frame.seq == self.config.raise_at:
            raise RuntimeError(f"cannot bear frame {frame.seq}")
        while frame.seq == self.config.hang_at:
            time.sleep(1)
        with self.frames.view(frame) as pixels:
            low, high = int(pixels.min()), int(pixels.max())
            wait_until = time.monotonic() + self.config.slow_s
            while time.monotonic() < wait_until:
                high = max(high, int(pixels.max()))
        assert low == high == frame.seq % 251, f"torn: {low}..{high} in frame {frame.seq}"
        return Detections(
            frame,
            np.zeros((1, 4), np.float32),
            np.full(1, low / 251, np.float32),
            np.zeros(1, np.int32),
            None,
            ("picture",),
        )


class NameConfig(Config, frozen=True):
    pass


class Name:
    """A stage that needs no pixels."""

    def __init__(self, config: NameConfig) -> None:
        pass

    def __call__(self, found: Detections) -> Matches:
        return Matches(found, (f"n{found.frame.seq}",), np.ones(1, np.float32))


class WriteConfig(Config, frozen=True):
    path: str


class Write:
    """An ending: a line a frame, which is also its memory of what is done."""

    def __init__(self, config: WriteConfig) -> None:
        self.path = Path(config.path)
        self.lines = None

    def resume(self) -> dict[str, int]:
        last: dict[str, int] = {}
        if not self.path.exists():
            return last
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        os.truncate(self.path, len(whole))
        for line in whole.splitlines():
            row = json.loads(line)
            last[row["source"]] = row["seq"]
        self.lines = self.path.open("ab", buffering=0)
        return last

    def __call__(self, message: Matches) -> None:
        if self.lines is None:
            self.lines = self.path.open("wb", buffering=0)
        frame = message.frame
        row = {"source": frame.source, "seq": frame.seq, "name": message.names[0], "size": [frame.width, frame.height]}
        row["age_ms"] = (time.monotonic_ns() - frame.captured_ns) / 1e6
        self.lines.write(json.dumps(row).encode() + b"\n")

    def close(self) -> None:
        if self.lines:
            self.lines.close()
            self.path.with_suffix(".closed").touch()


class NoteConfig(WriteConfig, frozen=True):
    pass


class Note(Write):
    """As Write, but not an ending: the message goes on."""

    def __init__(self, config: NoteConfig) -> None:
        super().__init__(config)

    def __call__(self, message: Matches) -> Matches:
        super().__call__(message)
        return message


class Film(Count):
    """`Count`, with a packet beside each frame."""

    def __init__(
        self,
        config: CountConfig,
        source: Source,
        ring: Callable[[int, int], RingWriter],
        after: Mark | None,
        packets: Callable[[Packet], None],
    ) -> None:
        super().__init__(config, source, ring, after)
        self.send = packets
        self.number = 0

    def __iter__(self) -> Iterator[Frame | None]:
        for frame in super().__iter__():
            if frame:
                times = (frame.captured_ns, frame.pts_ns, 0)
                self.send(Packet(self.source.name, self.number, *times, True, b"header", bytes(1000)))
                self.number += 1
            yield frame


class Tape(Write):
    """An ending that hears packets, too: a line each into a file beside."""

    def packet(self, packet: Packet) -> None:
        with self.path.with_suffix(".packets").open("a") as file:
            file.write(f"{packet.source} {packet.number} {len(packet.data)}\n")


class Busy(Tape):
    """`Tape`, that takes no further packet before there is a file that lets it go on."""

    def packet(self, packet: Packet) -> None:
        super().packet(packet)
        ends = time.monotonic() + 60
        while not self.path.with_suffix(".go").exists() and time.monotonic() < ends:
            time.sleep(0.01)
