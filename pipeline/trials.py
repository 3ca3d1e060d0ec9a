"""Software that is tried out by using it: codecs and ONNX Runtime's providers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import numpy as np

from pipeline import cuda, registry
from pipeline.errors import Failed
from pipeline.finding import Finding, tried

if TYPE_CHECKING:
    import av

PACKAGES = ("onnxruntime-gpu", "onnxruntime", "opencv-python", "av", "numpy", "pyzmq", "numba")

RESTORE = "Bring the checkout's folder models/ back: git checkout models."


class Codec(NamedTuple):
    """A pair that is tried by encoding a picture and decoding it again."""

    name: str
    encoder: str
    decoder: str
    pixels: str  # FFmpeg's name of the pixel format
    options: dict[str, str]
    used_for: str


CODECS = (
    Codec("H.264", "libx264", "h264", "yuv420p", {}, "cameras, files and the annotated MP4"),
    Codec("MJPEG", "mjpeg", "mjpeg", "yuvj420p", {}, "webcams"),
    Codec("H.265", "libx265", "hevc", "yuv420p", {"x265-params": "log-level=none"}, "cameras"),
    Codec("VP9", "libvpx-vp9", "vp9", "yuv420p", {}, "files"),
)
H264 = CODECS[0]
LOSS = 8  # of 255, on average, that a codec may change the picture
Provider = Literal["cpu", "cuda", "tensorrt"]
GPU_PROVIDERS: tuple[Provider, ...] = ("cuda", "tensorrt")


def packages() -> Finding:
    """The versions of what does the work."""
    found = ", ".join(f"{name} {installed}" for name in PACKAGES if (installed := _installed(name)))
    return Finding("packages", "ok", found)


def codecs() -> Iterator[Finding]:
    """Each codec, by a round trip through PyAV."""
    for codec in CODECS:
        advice = f"PyAV needs it for {codec.used_for}: run pip install --force-reinstall av."
        yield tried(codec.name, partial(round_trip, codec), advice, needed=codec is H264)
    yield tried("AV1", _decodes_av1, "Files in AV1 cannot be read: run pip install --force-reinstall av.", needed=False)


def round_trip(codec: Codec) -> str:
    """Encode a grey ramp and decode it again; raises ValueError where it does not come back."""
    import av  # here, so that doctor itself starts where a package is broken

    ramp = np.empty((96, 128, 3), np.uint8)
    ramp[:] = np.linspace(0, 255, 128, dtype=np.uint8)[:, None]
    try:
        encoder = cast("av.VideoCodecContext", av.CodecContext.create(codec.encoder, "w"))
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 128, 96, codec.pixels, Fraction(1, 25)
        encoder.options = codec.options
        picture = av.VideoFrame.from_ndarray(ramp, "bgr24").reformat(format=codec.pixels)
        decoder = cast("av.VideoCodecContext", av.CodecContext.create(codec.decoder, "r"))
        packets = [*encoder.encode(picture), *encoder.encode(None)]
        pictures = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    except av.FFmpegError as error:
        raise ValueError(f"{codec.encoder} or {codec.decoder} fails: {error}") from error
    if len(pictures) != 1 or np.abs(pictures[0].to_ndarray(format="bgr24").astype(int) - ramp).mean() > LOSS:
        raise ValueError("a picture does not come back from the codec as it went in")
    return f"{codec.encoder} encodes, {codec.decoder} decodes"


def models() -> Iterator[Finding]:
    """Each model file on this machine against its sha256."""
    try:
        verdicts = registry.verify()
    except Failed as error:
        yield Finding("model", "broken", str(error), RESTORE)
        return
    for verdict in verdicts:
        card, needed = verdict.entry.card, verdict.entry.where == "shipped"
        if verdict.state == "ok":
            yield Finding("model", "ok", f"{card.name} ({card.task}) is the file it should be")
            continue
        fault = "is missing" if verdict.state == "missing" else "has the wrong sha256"
        advice = RESTORE if needed else f"Run models pull {card.name}."
        yield Finding("model", "broken" if needed else "note", f"{verdict.entry.path} {fault}", advice)


def providers() -> Iterator[Finding]:
    """Each of ONNX Runtime's providers, by running the shipped detector on it; GPUs only where there is one."""
    yield tried("provider cpu", partial(_runs, "cpu"), "Make .venv again: make clean run.", needed=True)
    clause = cuda.missing()
    for provider in GPU_PROVIDERS:
        if clause:
            yield Finding(f"provider {provider}", "note", f"not tried: {clause}")
        else:
            yield tried(f"provider {provider}", partial(_runs, provider), "Without it, the CPU does it.", needed=False)


def _runs(provider: Provider) -> str:
    from pipeline.model import Model

    model = Model(registry.resolve(registry.DETECTORS[provider]), provider=provider, size=(192, 320))
    started = time.perf_counter()
    model(model.info.blank(1))
    return f"{model.info.name} runs at 320x192 in {1e3 * (time.perf_counter() - started):.0f} ms"


def _decodes_av1() -> str:
    import av

    try:
        decoder = av.CodecContext.create("libdav1d", "r")
        decoder.open()
    except av.FFmpegError as error:
        raise ValueError(f"libdav1d fails: {error}") from error
    return f"{decoder.name} decodes"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
