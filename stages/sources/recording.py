"""A video file: every frame that decodes, in order, and the way back in after a crash."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from av import FFmpegError
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import Failed
from pipeline.frames import Mark
from stages.sources.media import open_file, video_stream
from stages.sources.packets import Packets
from stages.sources.picture import SECOND, Picture, State, nanoseconds, pixel_aspect, ticks

SLACK_NS = SECOND // 2  # headers round, and sound may end later than the picture
SET_BACK_NS = SECOND  # a time that is earlier by more is another clock's, as in MPEG-TS files that were joined
STEPS_BACK_NS = (0, SECOND, 10 * SECOND)  # MPEG-TS lands behind the key frame where it is asked for it exactly

SIGN_OF_LIFE_S = 1.0  # how often it says that there is nothing yet


class Recording:
    """Frames of a video file. A file that ends early, or with damage, fails only after its last good frame."""

    def __init__(self, path: Path, threads: int, after: Mark | None, packets: Packets | None = None) -> None:
        self._packets = packets
        self.state: State = "running"
        self._path = path
        self._threads = threads
        self._after = after
        self._damage = 0
        self._end_ns = 0  # of the last frame
        self._set_back_ns: int | None = None  # as the clock's
        self._container, self._stream = self._open()

    def __iter__(self) -> Iterator[Picture | None]:
        picture = None
        for picture in (
            self._resumed(self._after) if self._after else self._numbered(self._decoded(), Clock(self._stream))
        ):
            yield picture
        self._judge(picture)
        self.state = "ended"

    def at(self, pts_ns: int) -> Picture:
        """The picture that is shown at `pts_ns`; before the first one, that one. Raises Failed where none decodes."""
        for back_ns in STEPS_BACK_NS:
            try:
                self._container.seek(ticks(pts_ns - back_ns, self._base), stream=self._stream)
            except FFmpegError:
                break
            shown = self._until(pts_ns)
            if shown and shown.pts_ns <= pts_ns:
                return shown
        self.close()
        self._container, self._stream = self._open()
        shown = self._until(pts_ns)
        if shown is None:
            raise Failed(f"{self._path} holds no frame that decodes: copy or export it again")
        return shown

    def _until(self, pts_ns: int) -> Picture | None:
        """The last picture from here on that is not after `pts_ns`, or else the first one."""
        shown = None
        for picture in self._numbered(self._decoded(), Clock(self._stream)):
            if shown and picture.pts_ns > pts_ns:
                break
            shown = picture
        return shown

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _open(self) -> tuple[InputContainer, VideoStream]:
        container = open_file(self._path)
        stream = video_stream(container, str(self._path), self._threads, "AUTO")
        if self._packets:
            self._packets.open(stream)
        return container, stream

    def _decoded(self) -> Iterator[VideoFrame]:
        """What decodes. Counts what does not, except before the first frame: a recording may begin anywhere."""
        packets = self._container.demux(self._stream)
        begun = False
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if self._packets:
                    self._packets.add(packet, 0)
                frames = packet.decode()
            except FFmpegError:
                self._damage += begun
                continue
            self._damage += begun and (packet.is_corrupt or any(frame.is_corrupt for frame in frames))
            begun = begun or bool(frames)
            yield from frames

    def _numbered(
        self, frames: Iterator[VideoFrame], clock: Clock, seq: int = 0, key: tuple[int, int] = (0, 0)
    ) -> Iterator[Picture]:
        aspect = pixel_aspect(self._stream)
        for number, frame in enumerate(frames, start=seq):
            captured_ns = time.monotonic_ns()
            pts_ns = clock.stamp(frame)
            self._set_back_ns = clock.set_back_ns
            self._end_ns = pts_ns + nanoseconds(frame.duration or 0, self._base)
            if frame.key_frame or number == 0:
                key = number, pts_ns
            yield Picture(number, captured_ns, pts_ns, *key, frame, self._damage, aspect)

    def _resumed(self, mark: Mark) -> Iterator[Picture | None]:
        """The pictures behind `mark`: from the key frame before it; from the start where a seek does not land there."""
        if mark.key_seq > 0:
            for back_ns in STEPS_BACK_NS:
                if rest := self._from_key(mark, back_ns):
                    return rest
        return self._from_start(mark)

    def _from_start(self, mark: Mark) -> Iterator[Picture | None]:
        """Decode all up to the frame of `mark` once more; None again and again, as it may take minutes."""
        self._container.close()
        self._container, self._stream = self._open()
        self._damage = 0
        pictures = self._numbered(self._decoded(), Clock(self._stream))
        said = time.monotonic()
        for picture in pictures:
            if picture.seq == mark.seq:
                if mark.key_seq >= 0 and picture.pts_ns != mark.pts_ns:
                    break
                yield from pictures
                return
            if time.monotonic() - said >= SIGN_OF_LIFE_S:
                yield None
                said = time.monotonic()
        raise Failed(f"{self._path} has changed while it was read: start again")

    def _from_key(self, mark: Mark, back_ns: int) -> Iterator[Picture] | None:
        """Seek to the key frame of `mark` and on to its frame; None where times or count say that it is another one."""
        try:
            self._container.seek(ticks(mark.key_pts_ns - back_ns, self._base), stream=self._stream)
        except FFmpegError:
            return None
        frames = self._decoded()
        for frame in frames:
            if frame.pts is None or nanoseconds(frame.pts, self._base) >= mark.key_pts_ns:
                break
        else:
            return None
        if frame.pts is None or not frame.key_frame or nanoseconds(frame.pts, self._base) != mark.key_pts_ns:
            return None
        clock = Clock(self._stream)
        pts_ns = clock.stamp(frame)
        for _ in range(mark.seq - mark.key_seq):
            follower = next(frames, None)
            if follower is None or follower.key_frame:
                return None
            pts_ns = clock.stamp(follower)
        if pts_ns != mark.pts_ns:
            return None
        self._damage = mark.damage
        return self._numbered(frames, clock, mark.seq + 1, (mark.key_seq, mark.key_pts_ns))

    @property
    def _base(self) -> Fraction:
        base = self._stream.time_base
        if base is None:
            raise Failed(f"{self._path} has no time base: export it again")
        return base

    def _judge(self, last: Picture | None) -> None:
        """Raises Failed where the file was damaged, or ends before its header says."""
        count = 1 + (last.seq if last else self._after.seq if self._after else -1)
        if not count:
            raise Failed(f"{self._path} holds no frame that decodes: copy or export it again")
        done = f"the {count} frames that could be read are done; copy or export it again for the rest"
        if self._set_back_ns is not None:
            mend = "join its parts again, with one clock"
            if self._container.format.name == "mpegts":  # of which ffmpeg knows that it happens
                mend = f"give it one clock with ffmpeg -i {shlex.quote(str(self._path))} -c copy NEW.mkv"
            at = f"{self._set_back_ns / SECOND:.1f} s"
            raise Failed(f"the clock of {self._path} is set back at {at}, and what comes then has no times: {mend}")
        if self._damage:
            places = "1 place" if self._damage == 1 else f"{self._damage} places"
            raise Failed(f"{self._path} is damaged in {places}: {done}")
        if last is None:
            return  # its predecessor was killed behind the last frame
        end_ns = self._declared_end_ns()
        if end_ns is not None and self._end_ns + SLACK_NS < end_ns:
            raise Failed(f"{self._path} ends at {self._end_ns / SECOND:.1f} s, not at {end_ns / SECOND:.1f} s: {done}")
        if self._container.format.name == "gif" and not _gif_is_whole(self._path):
            raise Failed(f"{self._path} was cut short: {done}")

    def _declared_end_ns(self) -> int | None:
        """Where the header says that the last frame ends: from the stream, or from Matroska's DURATION tag."""
        if self._stream.duration is not None and self._stream.start_time is not None:
            return nanoseconds(self._stream.start_time + self._stream.duration, self._base)
        tag = re.fullmatch(r"(\d+):(\d+):(\d+)\.(\d{9})", self._stream.metadata.get("DURATION", ""))
        if tag is None:
            return None
        hours, minutes, seconds, rest = map(int, tag.groups())
        return ((hours * 60 + minutes) * 60 + seconds) * SECOND + rest


def _gif_is_whole(path: Path) -> bool:
    """Whether a GIF ends with its trailer (GIF89a, 27); some programs pad it with zeros."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().rstrip(b"\0").endswith(b";")


class Clock:
    """Strictly rising times of a file's frames: its own; where it has none, by its average rate."""

    def __init__(self, stream: VideoStream) -> None:
        self._base = stream.time_base
        self._period_ns = round(SECOND / (stream.average_rate or 25))
        self._last_ns: int | None = None
        self.set_back_ns: int | None = None  # behind which frame it was; None where it always went on

    def stamp(self, frame: VideoFrame) -> int:
        """The time of the next frame, ns."""
        last = self._last_ns
        if frame.pts is not None and self._base is not None:
            own = nanoseconds(frame.pts, self._base)
            if last is not None and own + SET_BACK_NS < last and self.set_back_ns is None:
                self.set_back_ns = last
            self._last_ns = own if last is None else max(own, last + 1)
        else:
            self._last_ns = 0 if last is None else last + self._period_ns
        return self._last_ns
