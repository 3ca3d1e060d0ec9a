"""Capture: frames from a camera, a stream, a file or a folder of images, written into the ring."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from msgspec import Meta, field

from pipeline.config import DERIVED, Config
from pipeline.copying import Copier
from pipeline.frames import Mark, RingWriter
from pipeline.graph import Source
from pipeline.types import Frame, Packet
from stages.sources.address import check_name, check_options, from_environment, is_live, masked, parse_sources
from stages.sources.images import Images, is_image
from stages.sources.live import Live
from stages.sources.packets import Packets
from stages.sources.picture import SECOND, Converter, Picture
from stages.sources.recording import Recording
from stages.sources.repeated import Repeated

__all__ = ["Capture", "CaptureConfig", "check_name", "from_environment", "is_live", "masked", "parse_sources", "reader"]

NAP_S = 0.02  # the longest sleep before the engine gets to look at its orders


class CaptureConfig(Config, frozen=True):
    """How to read the sources."""

    realtime: bool = False  # files and folders at the speed of their own times, not as fast as it goes
    # A video at its own speed begins again so long after its end; 0: it does not.
    repeat_seconds: Annotated[float, Meta(ge=0)] = 0.0
    threads: Annotated[int, Meta(ge=1, le=64)] = 1  # of the decoder
    options: dict[str, str] = field(default_factory=dict)  # ffmpeg's, for live sources; see stages/sources/address.py
    prompt: Annotated[bool, DERIVED] = False  # who decides by the pictures needs them as they are taken


class Capture:
    """Frames from a camera, a stream, a file or a folder of images, written into the ring."""

    def __init__(
        self,
        config: CaptureConfig,
        source: Source,
        ring: Callable[[int, int], RingWriter],
        after: Mark | None = None,
        packets: Callable[[Packet], None] | None = None,
    ) -> None:
        """`packets` takes the compressed stream of a camera, a stream or a video file, where somebody hears it."""
        self._name = source.name
        self._make_ring = ring
        self._ring: RingWriter | None = None
        self._paced = config.realtime and not source.live
        self._copier = Copier(helped=source.live or self._paced)
        self._convert = Converter(self._copier)
        self._send_packet = packets
        self._packets = Packets(source.name) if packets else None
        self._reader = reader(source, config, after, self._packets)

    @property
    def state(self) -> str:
        """connecting, running, reconnecting or ended."""
        return self._reader.state

    def __iter__(self) -> Iterator[Frame | None]:
        """Tickets in order; None: nothing now. Raises Failed; for a damaged file, after its last good frame."""
        pictures: Iterable[Picture | None] = _paced(self._reader) if self._paced else self._reader
        for picture in pictures:
            self._pass_on()
            yield None if picture is None else self._write(picture)
        self._pass_on()

    def close(self) -> None:
        """Let go of the source."""
        self._reader.close()
        self._copier.close()

    def _pass_on(self) -> None:
        if self._packets and self._send_packet:
            for packet in self._packets.take():
                self._send_packet(packet)

    def _write(self, picture: Picture) -> Frame:
        width, height = picture.size
        if self._ring is None or not self._ring.fits(width, height):
            self._ring = self._make_ring(width, height)
        self._convert(picture, self._ring.claim(width, height))
        return self._ring.commit(
            source=self._name,
            seq=picture.seq,
            captured_ns=picture.captured_ns,
            pts_ns=picture.pts_ns,
            key_seq=picture.key_seq,
            key_pts_ns=picture.key_pts_ns,
            width=width,
            height=height,
            damage=picture.damage,
        )


def reader(
    source: Source, config: CaptureConfig, after: Mark | None = None, packets: Packets | None = None
) -> Live | Images | Recording | Repeated:
    """What reads this kind of source, from behind `after`; `packets` gets the compressed stream. Usage and Failed."""
    check_options(config.options)
    path = Path(source.address)
    if source.live:
        return Live(source.address, config.options, config.threads, after, packets, prompt=config.prompt)
    if path.is_dir() or is_image(path):
        return Images(path, after)
    if config.realtime and config.repeat_seconds:
        return Repeated(path, config.threads, after, packets, config.repeat_seconds)
    return Recording(path, config.threads, after, packets)


def _paced(pictures: Iterable[Picture | None]) -> Iterator[Picture | None]:
    """Each picture when its time has come, counted from the first, as a camera would give it; late ones at once."""
    anchor_ns = None
    for picture in pictures:
        if picture is None:
            yield None
            continue
        if anchor_ns is None:
            anchor_ns = time.monotonic_ns() - picture.pts_ns
        while (wait_ns := anchor_ns + picture.pts_ns - time.monotonic_ns()) > 0:
            time.sleep(min(wait_ns / SECOND, NAP_S))
            yield None
        yield replace(picture, captured_ns=time.monotonic_ns())
