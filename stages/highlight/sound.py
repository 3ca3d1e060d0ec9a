"""The sound of a video file: the track "sound", a row each 100 ms, on the line of the frames' own times."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from av import AudioFrame, FFmpegError
from av.audio.stream import AudioStream
from msgspec import Meta

from pipeline.config import DERIVED, PATH, Config
from pipeline.graph import Source
from stages.highlight.acoustics import HOP, HOP_NS, MARGIN, Floats, measure
from stages.highlight.store import Store
from stages.highlight.waveform import Waveform
from stages.sources.address import check_file
from stages.sources.media import audio_stream, open_file
from stages.sources.picture import State

VERSION = 1  # of what is measured
CHUNK = 100  # hops of a transaction
SIGN_OF_LIFE_S = 1.0  # how often it says that it still reads


class SoundConfig(Config, frozen=True):
    """Where the sound is measured into."""

    store: Annotated[str, Meta(pattern=PATH), DERIVED] = ""  # stages/highlight/store.py

    @property
    def key(self) -> str:
        """What the measurement depends on."""
        return str(VERSION)


class Sound:
    """A source that gives no frames: it listens to a whole file, and writes the rows of `acoustics.measure`.

    Row `seq` begins 100 ms * seq after the first sample. A file without sound gets none; what does not decode is left
    out. After a kill it decodes from the start again, which takes seconds an hour, and measures only what is missing.
    Raises Failed where the file cannot be opened.
    """

    TRACK = "sound"

    def __init__(self, config: SoundConfig, source: Source) -> None:
        self.state: State = "running"
        path = Path(source.address)
        check_file(path)
        self._container = open_file(path)
        self._stream = audio_stream(self._container)
        self._waveform = Waveform()
        self._store = Store(Path(config.store))
        self._track = self._store.track(self.TRACK, config.key)

    def __iter__(self) -> Iterator[None]:
        """None after each piece of work."""
        if self._stream:
            last = self._track.last
            for window in _windows(self._pieces(self._stream)):
                if window and window[0] + CHUNK > (last[0] if last else -1) + 1:
                    self._write(*window)
                yield
        self.state = "ended"

    def close(self) -> None:
        """Close the file and what was measured."""
        self._container.close()
        self._store.close()

    def _write(self, first: int, samples: Floats) -> None:
        start_ns = self._waveform.start_ns or 0
        rows = measure(samples)
        with self._track.transaction():
            for seq, row in enumerate(rows, start=first):
                self._track.add(seq, start_ns + seq * HOP_NS, row)

    def _pieces(self, stream: AudioStream) -> Iterator[Floats]:
        """The waveform; an empty piece each second in which nothing decodes."""
        for frame in self._decoded(stream):
            if frame is None:
                yield np.empty(0, np.float32)
            else:
                yield from self._waveform.add(frame)
        yield from self._waveform.flush()

    def _decoded(self, stream: AudioStream) -> Iterator[AudioFrame | None]:
        packets = self._container.demux()  # of all streams: a picture may go on for hours after the sound
        said = time.monotonic()
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = stream.decode(packet) if packet.stream.index == stream.index else []
            except FFmpegError:
                continue
            for frame in frames:
                yield frame
                said = time.monotonic()
            if time.monotonic() - said >= SIGN_OF_LIFE_S:
                yield None
                said = time.monotonic()


def _windows(pieces: Iterable[Floats]) -> Iterator[tuple[int, Floats] | None]:
    """The first hop of each chunk, and its samples with the margins on both sides; None for an empty piece.

    At the ends the sound is mirrored: silence there would be a change that the recording does not have.
    """
    margin, chunk = MARGIN * HOP, CHUNK * HOP
    held: list[Floats] = []
    first, before, size = 0, 0, 0  # of the chunk, samples held of what is before it, samples held
    for piece in pieces:
        if not len(piece):
            yield None
        held.append(piece)
        size += len(piece)
        while size >= before + chunk + margin:
            line = np.concatenate(held)
            yield first, np.pad(line[: before + chunk + margin], (margin - before, 0), "symmetric")
            held = [line[before + chunk - margin :]]
            first, before, size = first + CHUNK, margin, len(held[0])
    hops = -(-(size - before) // HOP)
    if hops > 0:
        after = hops * HOP - (size - before) + margin
        line = np.pad(np.concatenate(held), (margin - before, after), "symmetric")
        for at in range(0, hops, CHUNK):
            yield first + at, line[at * HOP : min(at + CHUNK, hops) * HOP + 2 * margin]
