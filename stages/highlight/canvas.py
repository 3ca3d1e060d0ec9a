"""A decoder's frame to a picture of the reel: upright, square pixels, 8 bits, in the reel's size and colours."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av import VideoFrame
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from stages.sources.picture import matrix, quarters, square

HDR = {16: "smpte2084", 18: "arib-std-b67"}  # ITU-T H.273 TransferCharacteristics: PQ and HLG of ITU-R BT.2100
BLACK = (16, 128, 128)  # Y, Cb, Cr of ITU-R BT.601 and BT.709, limited range
Planes = list[NDArray[np.uint8]]  # Y (H, W), Cb and Cr (H/2, W/2)


class Canvas:
    """Fits frames of any size into pictures of one. `size` is (width, height), both even."""

    def __init__(self, size: tuple[int, int], *, fill: bool) -> None:
        """`fill`: as high as the picture is, and cut at the sides; otherwise the whole frame with black beside it."""
        self.size = size
        # What a player takes for granted in a file of this size, so that one that does not read tags shows it right.
        self.matrix = Colorspace.ITU709 if size[0] >= 1280 or size[1] > 576 else Colorspace.ITU601
        self._fill = fill
        self._reformatter = VideoReformatter()
        self._mappers: dict[tuple[int, int, str, int], Graph] = {}

    def __call__(self, frame: VideoFrame, aspect: Fraction, centre: float) -> VideoFrame:
        """A new yuv420p frame of `size`; where it is cut, around `centre` of the frame, 0..1 from left to right.

        `aspect` is the `pixel_aspect` of `frame`.
        """
        turned = quarters(frame)
        width, height = square(frame, aspect)[::-1] if turned % 2 else square(frame, aspect)
        scale = self.size[1] / height if self._fill else min(self.size[0] / width, self.size[1] / height)
        sides = even(width * scale), even(height * scale)
        picture = self._standard(frame, sides[::-1] if turned % 2 else sides).to_ndarray()
        planes = [np.rot90(plane, turned) for plane in _planes(np.asarray(picture, np.uint8))]
        return VideoFrame.from_ndarray(self._placed(planes, centre), format="yuv420p")

    def _standard(self, frame: VideoFrame, sides: tuple[int, int]) -> VideoFrame:
        """`frame`, not turned yet, scaled to `sides`, as 8 bits of standard dynamic range."""
        if frame.color_trc in HDR:
            frame = self._mapped(frame, sides)
        return self._reformatter.reformat(
            frame,
            *sides,
            format="yuv420p",
            src_colorspace=matrix(frame),
            dst_colorspace=self.matrix,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC,
        )

    def _mapped(self, frame: VideoFrame, sides: tuple[int, int]) -> VideoFrame:
        """High dynamic range to BT.709 by swscale's perceptual intent, a table that it takes seconds to make."""
        kind = frame.width, frame.height, frame.format.name, frame.color_trc
        if kind not in self._mappers:
            graph = self._mappers[kind] = Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1)
            )
            scale = graph.add(
                "scale",
                f"{sides[0]}:{sides[1]}:in_color_matrix=bt2020:in_primaries=bt2020:in_transfer={HDR[frame.color_trc]}:"
                "out_color_matrix=bt709:out_primaries=bt709:out_transfer=bt709:out_range=tv:intent=perceptual",
            )
            graph.link_nodes(source, scale, graph.add("format", "yuv420p"), graph.add("buffersink")).configure()
        self._mappers[kind].vpush(frame)
        return self._mappers[kind].vpull()

    def _placed(self, planes: Planes, centre: float) -> NDArray[np.uint8]:
        """(H * 3/2, W) I420: `planes` in the middle of black, or as much of them as there is room for."""
        width, height = self.size
        high, wide = planes[0].shape
        left = min(max(round(centre * wide - width / 2), 0), max(wide - width, 0)) // 2 * 2
        picture = np.empty((height * 3 // 2, width), np.uint8)
        for plane, ground, black, step in zip(planes, _planes(picture), BLACK, (1, 2, 2), strict=True):
            part = plane[: height // step, left // step : (left + width) // step]
            if part.shape != ground.shape:
                ground[:] = black
            top, side = (height - high) // 4 * 2 // step, max(width - wide, 0) // 4 * 2 // step
            ground[top : top + part.shape[0], side : side + part.shape[1]] = part
        return picture


def even(side: float) -> int:
    """The nearest even number of pixels; at least 2."""
    return max(2, round(side / 2) * 2)


def _planes(picture: NDArray[np.uint8]) -> Planes:
    """Views into (H * 3/2, W) I420."""
    rows, width = picture.shape
    height = rows * 2 // 3
    luma, blue, red = np.split(picture.reshape(-1), (height * width, height * width * 5 // 4))
    return [luma.reshape(height, width), *(chroma.reshape(height // 2, width // 2) for chroma in (blue, red))]
