"""Capture from files and folders: every frame once, in order, with its own time; a restart goes on where it stopped."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
import cv2
import msgspec
import numpy as np
import pytest

from pipeline.briefing import environment
from pipeline.errors import Failed, Usage
from pipeline.frames import Mark
from stages.capture import Capture, CaptureConfig, parse_sources
from tests.command import ROOT
from tests.stages.clips import FORMATS, Rings, Seen, film, number, picture, vast_png, watch

Open = Callable[..., Capture]


@pytest.fixture
def rings() -> Iterator[Rings]:
    with closing(Rings()) as made:
        yield made


@pytest.fixture
def capture(rings: Rings) -> Iterator[Open]:
    """Opens a path as the command line would; all are closed in the end."""
    opened = []

    def make(path: Path, after: Mark | None = None, **config: object) -> Capture:
        (source,) = parse_sources([str(path)])
        opened.append(Capture(CaptureConfig(**config), source, rings, after))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def decoded(path: Path) -> list[tuple[int | None, bytes]]:
    """What PyAV itself makes of a clip: (pts in ns, pixels) a frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        base = stream.time_base
        return [
            (
                None if frame.pts is None else frame.pts * base.numerator * 10**9 // base.denominator,
                frame.to_ndarray(format="bgr24").tobytes(),
            )
            for frame in container.decode(stream)
        ]


def failure(one: Capture, rings: Rings) -> tuple[list[Seen], str]:
    """What came before capture failed, and the sentence."""
    seen: list[Seen] = []
    with pytest.raises(Failed) as error:
        seen.extend(watch(one, rings))
    return seen, str(error.value)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_frame_once_in_order(suffix: str, tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = film(tmp_path / f"clip.{suffix}")
    one = capture(path)
    seen = list(watch(one, rings))
    assert [number(frame.pixels) for frame in seen] == list(range(40))
    assert [frame.frame.seq for frame in seen] == list(range(40))
    for (pts_ns, pixels), frame in zip(decoded(path), seen, strict=True):
        assert frame.pixels.tobytes() == pixels
        assert pts_ns in (frame.frame.pts_ns, None)
    times = [frame.frame.pts_ns for frame in seen]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert one.state == "ended"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_restart_goes_on_behind_every_mark(suffix: str, tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = film(tmp_path / f"clip.{suffix}")
    whole = list(watch(capture(path), rings))
    for stopped in whole[::3]:
        rest = [frame.told for frame in watch(capture(path, after=stopped.mark), rings)]
        assert rest == [frame.told for frame in whole[stopped.frame.seq + 1 :]]


@pytest.mark.parametrize("name", ["short_hamilton_clip.mp4", "vtest.avi", "people-detection.gif"])
def test_a_restart_in_real_clips(name: str, shared: Path, capture: Open, rings: Rings) -> None:
    path = shared / "videos" / name
    whole = [
        (one.frame.seq, one.frame.pts_ns, one.pixels[::16, ::16].tobytes(), one.mark)
        for one in watch(capture(path), rings)
    ]
    for seq, _, _, mark in random.Random(name).sample(whole[:-4], 4):
        after = watch(capture(path, after=mark), rings)
        for want in whole[seq + 1 : seq + 4]:
            one = next(after)
            assert (one.frame.seq, one.frame.pts_ns, one.pixels[::16, ::16].tobytes(), one.mark) == want


def test_a_restart_seeks_and_does_not_decode_from_the_start(tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = film(tmp_path / "clip.mkv", frames=240)
    *_, last = watch(capture(path), rings)
    with path.open("r+b") as file:  # what lies before the key frame is gone: only who seeks gets past it
        file.seek(path.stat().st_size // 8)
        file.write(bytes(path.stat().st_size // 2))
    assert last.mark.key_seq > 200
    mark = Mark(last.mark.key_seq, last.mark.key_pts_ns, last.mark.key_seq, last.mark.key_pts_ns)
    rest = [one.frame.seq for one in watch(capture(path, after=mark), rings)]
    assert rest == list(range(mark.seq + 1, 240))


def test_a_restart_without_times_counts_from_the_start(tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = film(tmp_path / "clip.mp4")
    seen = list(watch(capture(path, after=Mark(25, -1, -1, -1)), rings))
    assert [number(one.pixels) for one in seen] == list(range(26, 40))
    assert seen[0].frame.seq == 26


def test_a_restart_that_takes_long_keeps_saying_so(
    tmp_path: Path, capture: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.sources.recording.SIGN_OF_LIFE_S", 0.0)
    path = film(tmp_path / "clip.mp4")
    given = list(capture(path, after=Mark(25, -1, -1, -1)))
    assert given[:25] == [None] * 25, "the watchdog hears of it between two frames only"
    assert [frame.seq for frame in given[25:] if frame] == list(range(26, 40))


def test_a_restart_on_another_file_fails(tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = film(tmp_path / "clip.mp4")
    *_, last = watch(capture(path), rings)
    film(path, frames=20)
    with pytest.raises(Failed, match="has changed while it was read"):
        list(watch(capture(path, after=last.mark), rings))


def test_a_file_can_be_played_again_and_again(tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = film(tmp_path / "clip.mp4", frames=6)
    again = capture(path, realtime=True, repeat_seconds=0.1)
    seen = list(islice(watch(again, rings), 15))
    assert [number(one.pixels) for one in seen] == [*range(6), *range(6), *range(3)]
    assert [one.frame.seq for one in seen] == list(range(15))
    steps = {round((later.frame.pts_ns - one.frame.pts_ns) / 1e6) for one, later in pairwise(seen)}
    assert steps == {40, 100}
    first, again_first = seen[0].frame, seen[6].frame
    assert again_first.captured_ns - first.captured_ns >= again_first.pts_ns - first.pts_ns

    after = next(watch(capture(path, rings.mark(), realtime=True, repeat_seconds=0.1), rings))
    assert (number(after.pixels), after.frame.seq) == (0, 15), "after a crash it begins anew"
    assert after.frame.pts_ns > seen[-1].frame.pts_ns


def test_realtime_gives_no_frame_before_its_time(tmp_path: Path, capture: Open, rings: Rings) -> None:
    one = capture(film(tmp_path / "clip.mp4", frames=6), realtime=True)
    answers = list(one)
    frames = [frame for frame in answers if frame is not None]
    assert [frame.seq for frame in frames] == list(range(6))
    assert None in answers
    first = frames[0]
    for frame in frames:
        assert frame.captured_ns - first.captured_ns >= frame.pts_ns - first.pts_ns


@pytest.mark.parametrize("threads", [1, 3])
def test_decoder_threads_change_nothing(threads: int, tmp_path: Path, capture: Open, rings: Rings) -> None:
    one = capture(film(tmp_path / "clip.mp4"), threads=threads)
    assert [number(frame.pixels) for frame in watch(one, rings)] == list(range(40))


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_phone_held_upright(rotation: int, tmp_path: Path, capture: Open, rings: Rings) -> None:
    turned = next(watch(capture(film(tmp_path / "clip.mp4", frames=3, rotation=rotation, first=5)), rings))
    flat = next(watch(capture(film(tmp_path / "flat.mp4", frames=3, first=5)), rings))
    assert np.array_equal(turned.pixels, np.rot90(flat.pixels, rotation // 90))
    assert (turned.frame.width, turned.frame.height) == (turned.pixels.shape[1], turned.pixels.shape[0])


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path, capture: Open, rings: Rings) -> None:
    wide, mistaken = (
        next(watch(capture(film(tmp_path / f"{aspect.numerator}.mp4", size=(144, 96), first=5, aspect=aspect)), rings))
        for aspect in (Fraction(4, 3), Fraction(300))
    )
    assert (wide.frame.width, wide.frame.height, wide.pixels.shape, number(wide.pixels)) == (192, 96, (96, 192, 3), 5)
    assert mistaken.pixels.shape == (96, 144, 3)


def test_odd_sizes(tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = tmp_path / "odd.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 101, 75, "bgr0"
        container.mux(
            stream.encode(av.VideoFrame.from_ndarray(picture(77, 101, 75), format="bgr24").reformat(format="bgr0"))
        )
        container.mux(stream.encode())
    (seen,) = watch(capture(path), rings)
    assert np.array_equal(seen.pixels, picture(77, 101, 75))


def test_a_change_of_resolution_makes_a_new_ring_only_when_it_must(tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = tmp_path / "two.h264"
    sizes = [(160, 96), (96, 64), (320, 192)]
    parts = [film(tmp_path / f"{index}.h264", frames=10, size=size) for index, size in enumerate(sizes)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    seen = list(watch(capture(path), rings))
    assert [(one.frame.width, one.frame.height) for one in seen] == [size for size in sizes for _ in range(10)]
    assert [number(one.pixels) for one in seen] == [*range(10)] * 3
    assert [one.frame.seq for one in seen] == list(range(30))
    assert len(rings.infos) == 2


@pytest.mark.parametrize(
    ("matrix", "full", "height", "red_blue"),
    [
        (1, False, 96, (0.2126, 0.0722)),
        (1, True, 96, (0.2126, 0.0722)),
        (5, False, 96, (0.299, 0.114)),
        (9, False, 96, (0.2627, 0.0593)),
        (2, False, 480, (0.299, 0.114)),  # untagged: BT.601 for SD
        (2, False, 720, (0.2126, 0.0722)),  # untagged: BT.709 for HD
    ],
)
def test_colours_are_what_the_stream_says(
    matrix: int, full: bool, height: int, red_blue: tuple[float, float], tmp_path: Path, capture: Open, rings: Rings
) -> None:
    path = tmp_path / "colour.mkv"
    levels = (110, 160, 90)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, height, "yuv420p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame(64, height, "yuv420p")
        for plane, level in zip(frame.planes, levels, strict=True):
            plane.update(bytes([level]) * plane.buffer_size)
        frame.colorspace, frame.color_range = matrix, 2 if full else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (seen,) = watch(capture(path), rings)
    assert np.abs(seen.pixels - expected_bgr(levels, full, *red_blue)).max() < 3


def expected_bgr(levels: tuple[int, int, int], full: bool, red: float, blue: float) -> np.ndarray:
    """ITU-T H.273, equations 38 to 60: R'G'B' of 8 bits from Y'CbCr."""
    low, luma, chroma = (0, 255, 255) if full else (16, 219, 224)
    y, cb, cr = (levels[0] - low) / luma, (levels[1] - 128) / chroma, (levels[2] - 128) / chroma
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    return 255 * np.array([b, (y - red * r - blue * b) / (1 - red - blue), r])


def test_a_folder_in_natural_order(tmp_path: Path, capture: Open, rings: Rings) -> None:
    for index in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"img{index}.png"), picture(index))
    (tmp_path / "labels.txt").write_text("not an image")
    seen = list(watch(capture(tmp_path), rings))
    assert [number(one.pixels) for one in seen] == [1, 2, 10]
    assert [one.frame.seq for one in seen] == [0, 1, 2]
    rest = list(watch(capture(tmp_path, after=seen[0].mark), rings))
    assert [one.told for one in rest] == [one.told for one in seen[1:]]


@pytest.mark.parametrize("kind", ["gray", "alpha", "16 bits", "16 bits gray"])
def test_images_of_other_kinds(kind: str, tmp_path: Path, capture: Open, rings: Rings) -> None:
    plain = picture(9)
    image = {
        "gray": plain[..., 0],
        "alpha": np.dstack([plain, np.full(plain.shape[:2], 255, np.uint8)]),
        "16 bits": plain.astype(np.uint16) * 257,
        "16 bits gray": plain[..., 0].astype(np.uint16) * 257,
    }[kind]
    cv2.imwrite(str(tmp_path / "one.png"), image)
    (seen,) = watch(capture(tmp_path / "one.png"), rings)
    want = np.repeat(plain[..., :1], 3, axis=2) if "gray" in kind else plain
    assert np.array_equal(seen.pixels, want)


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"no file or folder .*nowhere\.mp4: check the path"):
        parse_sources([str(tmp_path / "nowhere.mp4")])
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(Failed, match=r"empty\.mp4 is empty \(zero bytes\)"):
        parse_sources([str(tmp_path / "empty.mp4")])


@pytest.mark.parametrize("name", ["notes.mp4", "notes.txt"])
def test_text_is_no_video(name: str, tmp_path: Path, capture: Open) -> None:
    (tmp_path / name).write_text("Dear diary\n" * 400)
    with pytest.raises(Failed, match=r"is not a video|has no video"):
        capture(tmp_path / name)


def test_sound_is_no_video(tmp_path: Path, capture: Open) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(Failed, match="has no video"):
        capture(path)


def test_a_video_without_its_index(tmp_path: Path, capture: Open) -> None:
    path = film(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Failed, match="its beginning is damaged"):
        capture(path)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "gif"])
def test_a_truncated_video_fails_after_its_good_frames(
    suffix: str, tmp_path: Path, capture: Open, rings: Rings
) -> None:
    path = film(tmp_path / f"clip.{suffix}", frames=100, faststart=suffix == "mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seen, sentence = failure(capture(path), rings)
    assert 10 < len(seen) < 90
    assert [number(one.pixels) for one in seen[:-2]] == list(range(len(seen) - 2))
    assert f"the {len(seen)} frames that could be read are done" in sentence
    assert "\n" not in sentence


def test_a_corrupt_video_fails_after_all_that_decodes(tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = film(tmp_path / "clip.mp4", frames=100)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        sizes = [
            (packet.pos, packet.size) for packet in container.demux(video=0) if packet.pos is not None and packet.size
        ]
    for position, size in sizes[30:36]:
        data[position : position + size] = random.Random(1).randbytes(size)
    path.write_bytes(data)
    seen, sentence = failure(capture(path), rings)
    assert len(seen) > 80
    assert number(seen[-1].pixels) == 99
    assert "is damaged in" in sentence
    for stopped in (seen[-20], seen[-1]):
        rest, again = failure(capture(path, after=stopped.mark), rings)
        assert [one.frame.seq for one in rest] == list(range(stopped.frame.seq + 1, seen[-1].frame.seq + 1))
        assert again == sentence, "a restart behind the damage knows of it"


def test_damage_in_one_place_is_told_of_one(tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = film(tmp_path / "clip.mp4", frames=40)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        last = max((packet for packet in container.demux(video=0) if packet.size), key=lambda packet: packet.pos or 0)
    data[(last.pos or 0) : (last.pos or 0) + last.size] = bytes([255]) * last.size
    path.write_bytes(data)
    _, sentence = failure(capture(path), rings)
    assert "is damaged in 1 place: the" in sentence


def test_files_joined_without_one_clock_are_seen_and_told_of(tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = tmp_path / "both's.ts"
    path.write_bytes(b"".join(film(tmp_path / f"{part}.ts", frames=60).read_bytes() for part in "ab"))
    seen, sentence = failure(capture(path), rings)
    assert [number(one.pixels) for one in seen] == [*range(60), *range(60)]
    assert "both's.ts is set back at" in sentence
    command = shlex.split(sentence.partition("with ")[2])  # as a shell reads it
    assert command == ["ffmpeg", "-i", str(path), "-c", "copy", "NEW.mkv"]
    subprocess.run([*command[:-1], tmp_path / command[-1]], check=True, capture_output=True)
    assert [one.frame.seq for one in watch(capture(tmp_path / command[-1]), rings)] == list(range(120))
    rest, again = failure(capture(path, after=seen[-20].mark), rings)
    assert (len(rest), again) == (19, sentence)


def test_where_no_command_mends_the_clock_none_is_told(tmp_path: Path, capture: Open, rings: Rings) -> None:
    path = tmp_path / "both.mkv"
    path.write_bytes(film(tmp_path / "a.mkv", frames=60).read_bytes() * 2)
    _, sentence = failure(capture(path), rings)
    assert sentence.endswith("what comes then has no times: join its parts again, with one clock")


def test_an_image_that_goes_away(tmp_path: Path, capture: Open, rings: Rings) -> None:
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture(index))
    one = capture(tmp_path)
    (tmp_path / "2.png").unlink()
    seen, sentence = failure(one, rings)
    assert [frame.frame.seq for frame in seen] == [0, 1]
    assert "2.png cannot be read any more" in sentence


def test_an_image_of_many_pictures(tmp_path: Path, capture: Open) -> None:
    cv2.imwritemulti(str(tmp_path / "pages.tiff"), [picture(1), picture(2)])
    with pytest.raises(Failed, match=r"pages\.tiff holds 2 images"):
        capture(tmp_path)


def test_a_name_that_is_not_utf_8(tmp_path: Path, capture: Open) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), picture(1))
    os.rename(tmp_path / "1.png", os.fsencode(tmp_path) + b"/\xff.png")
    with pytest.raises(Usage, match="is not UTF-8: rename it"):
        capture(tmp_path)


def test_folders_that_cannot_be_read(tmp_path: Path, capture: Open, rings: Rings) -> None:
    with pytest.raises(Failed, match="holds no images"):
        capture(tmp_path)
    cv2.imwrite(str(tmp_path / "1.png"), picture(1))
    (tmp_path / "2.png").touch()
    with pytest.raises(Failed, match=r"2\.png is empty \(zero bytes\)"):
        capture(tmp_path)
    (tmp_path / "2.png").write_text("no image")
    with pytest.raises(Failed, match=r"2\.png is not an image"):
        capture(tmp_path)


def test_a_damaged_image_fails_when_it_is_its_turn(tmp_path: Path, capture: Open, rings: Rings) -> None:
    cv2.imwrite(str(tmp_path / "1.webp"), picture(1))
    data = (tmp_path / "1.webp").read_bytes()
    (tmp_path / "2.webp").write_bytes(data[: len(data) // 2])
    seen, sentence = failure(capture(tmp_path), rings)
    assert len(seen) == 1
    assert "2.webp is a damaged image" in sentence


READ = """
import sys
from pathlib import Path
from pipeline.errors import Failed
from stages.sources.images import Images
try: list(Images(Path(sys.argv[1]), None))
except Failed as error: print(error)
"""


def test_a_small_file_that_would_be_a_huge_image_is_not_unpacked(tmp_path: Path) -> None:
    """In a process of the graph, which gets the limit with its environment."""
    (tmp_path / "1.png").write_bytes(vast_png())
    command = [sys.executable, "-c", READ, str(tmp_path)]
    limits = environment(1)
    done = subprocess.run(command, env=limits, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "1.png is a damaged image" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"protocol_whitelist": "file"}, "is not allowed"),
        ({"headers": "X: y"}, "is not allowed"),
        ({"user_agent": "a\r\nb"}, "cannot be"),
    ],
)
def test_options_pass_an_allow_list(options: dict[str, str], what: str, tmp_path: Path, capture: Open) -> None:
    with pytest.raises(Usage, match=what):
        capture(film(tmp_path / "clip.mp4", frames=2), options=options)


def test_a_config_of_the_wrong_type() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.threads"):
        msgspec.convert({"threads": 0}, CaptureConfig)
