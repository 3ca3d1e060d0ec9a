"""Opening what ffmpeg reads, and its errors in words that help."""

from __future__ import annotations

from pathlib import Path

import av
from av import FFmpegError
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import (
    ConnectionRefusedError,
    FileNotFoundError,
    HTTPForbiddenError,
    HTTPNotFoundError,
    HTTPUnauthorizedError,
    InvalidDataError,
    PermissionError,
)
from av.stream import Disposition
from av.video.stream import VideoStream

from pipeline.errors import Failed
from stages.sources.address import check_file

TIMEOUT_S = 5.0  # to open, to find the streams, and for each read
_NOT_VIDEO = {"tty"}  # ffmpeg would show a text file as ANSI art

_REASONS: tuple[tuple[type[FFmpegError], str], ...] = (
    (ConnectionRefusedError, "nothing listens there: check host and port, and that the camera is on"),
    (HTTPUnauthorizedError, "it refuses the user name or the password: check both in the address"),
    (HTTPForbiddenError, "it forbids this: check the rights of the user in the address"),
    (HTTPNotFoundError, "it has no stream of that name: check the part of the address after the host"),
    (FileNotFoundError, "this machine has no such camera: `run_pipeline.py doctor` lists those it has"),
    (PermissionError, "this user may not use it: join the group that owns the device, often `video`"),
    (InvalidDataError, "what it sends is no video that can be read: check the part of the address after the host"),
)


def open_file(path: Path) -> InputContainer:
    """The file, opened. Raises Failed where it is not there, or not a video."""
    check_file(path)
    try:
        # The prefix keeps ffmpeg from taking a file's name for an address, the list from what a playlist names.
        return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except FFmpegError:
        raise Failed(
            f"{path} is not a video that can be read, or its beginning is damaged (an MP4 that was cut "
            "short has lost its index): copy or export it again"
        ) from None


def video_stream(container: InputContainer, shown: str, threads: int, thread_type: str) -> VideoStream:
    """The video of `container`, its decoder set to `threads`. Raises Failed where none decodes."""
    found = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not found or container.format.name in _NOT_VIDEO:
        raise Failed(f"{shown} has no video: give a file or a stream with pictures")
    best = container.streams.best("video")
    stream = best if isinstance(best, VideoStream) and best in found else found[0]
    if stream.codec_context is None:
        raise Failed(f"{shown} is coded in a way that this ffmpeg cannot decode: convert it to H.264")
    stream.codec_context.thread_count = threads
    stream.codec_context.thread_type = thread_type
    return stream


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The sound of `container`; None where it has none, or only says so, or where none decodes."""
    best = container.streams.best("audio")
    return best if isinstance(best, AudioStream) and best.codec_context else None


def reason(error: FFmpegError, seconds: float) -> str:
    """Why a camera or a stream cannot be opened, and what to check: without the address, which may hold a password.

    `seconds` is how long it took to fail: RTSP calls a time-out, too, invalid data.
    """
    if seconds >= TIMEOUT_S:
        return f"no answer within {TIMEOUT_S:.0f} s: check the host and the network between"
    for kind, words in _REASONS:
        if isinstance(error, kind):
            return words
    return f"{error.strerror}: check that it is there, that the network reaches it and that nothing else uses it"
