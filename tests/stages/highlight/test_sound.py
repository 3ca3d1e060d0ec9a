from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import Failed
from pipeline.graph import Source
from stages.highlight.acoustics import HOP_NS, Floats
from stages.highlight.sound import Sound, SoundConfig
from stages.highlight.store import Store

LOUDNESS, ONSETS, CROWD, SPEECH = range(4)
CLIPS = "videos/short_hamilton_clip.mp4"


def sound(path: Path, store: Path) -> Sound:
    return Sound(SoundConfig(store=str(store)), Source("clip", str(path), False))


def listen(path: Path, store: Path) -> tuple[NDArray[np.int64], Floats]:
    """What is in the track once the file has been heard to its end."""
    heard = sound(path, store)
    assert heard.state == "running"
    for _ in heard:
        pass
    assert heard.state == "ended"
    heard.close()
    return read(store)


def read(store: Path) -> tuple[NDArray[np.int64], Floats]:
    kept = Store(store)
    found = kept.track("sound", SoundConfig().key).read(4)
    kept.close()
    return found


def film(
    path: Path,
    samples: NDArray[np.floating],
    rate: int = 44_100,
    codec: str = "aac",
    layout: str = "stereo",
    late_s: float = 0.0,
    gap: tuple[float, float] = (0.0, 0.0),
) -> Path:
    """A video with (C, N) samples that begin `late_s` after its first frame; the last is how long a gap when has."""
    with av.open(path, "w") as container:
        video = container.add_stream("mpeg4", 10)
        video.width = video.height = 32
        audio = container.add_stream(codec, rate, layout=layout)
        for number in range(10 * samples.shape[1] // rate):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "bgr24")
            frame.pts = number
            container.mux(video.encode(frame))
        size = audio.codec_context.frame_size or 1024
        for first in range(0, samples.shape[1] - size + 1, size):
            piece = np.ascontiguousarray(samples[:, first : first + size], np.float32)
            frame = av.AudioFrame.from_ndarray(piece, "fltp", layout)
            frame.sample_rate = rate
            frame.pts = first + round((late_s + (gap[1] if first >= gap[0] * rate > 0 else 0)) * rate)
            container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def beeps(rate: int, channels: int, at: tuple[float, ...], seconds: float = 4) -> NDArray[np.float64]:
    """Silence with bursts of 100 ms of 997 Hz at -20 dBFS."""
    time = np.arange(round(seconds * rate)) / rate
    on = np.any([(time >= each) & (time < each + 0.1) for each in at], axis=0)
    return np.tile(0.1 * np.sin(2 * np.pi * 997 * time) * on, (channels, 1))


def began_s(times_ns: NDArray[np.int64], rows: Floats) -> list[float]:
    """Where the hops with onsets begin, to 0.1 s."""
    return [round(float(each), 1) for each in times_ns[rows[:, ONSETS] > 0] / 1e9]


def test_stereo_aac_in_mp4_stands_at_its_own_time(tmp_path: Path) -> None:
    path = film(tmp_path / 'it\'s a "clip".mp4', beeps(44_100, 2, (1.02, 2.52)))
    times_ns, rows = listen(path, tmp_path / "store")
    assert times_ns[0] == 0  # the encoder's priming is cut off by an edit list
    assert (np.diff(times_ns) == HOP_NS).all()
    assert began_s(times_ns, rows) == [1.0, 2.5]
    assert rows[[10, 25], LOUDNESS] == pytest.approx(-20 - 10 * np.log10(10 / 8), abs=0.3)  # 80 ms of each hop's 100
    assert (rows[:9, LOUDNESS] < -60).all()


def test_sound_that_begins_after_the_picture(tmp_path: Path) -> None:
    path = film(tmp_path / "late.mp4", beeps(48_000, 1, (1.02,)), 48_000, layout="mono", late_s=0.5)
    times_ns, rows = listen(path, tmp_path / "store")
    assert abs(times_ns[0] - 500_000_000) <= 22_000_000  # the muxer may write the priming into the edit list
    assert began_s(times_ns, rows) == pytest.approx([1.5], abs=0.1)


def test_a_gap_is_silence(tmp_path: Path) -> None:
    tone = np.tile(0.1 * np.sin(2 * np.pi * 997 * np.arange(4 * 16_000) / 16_000), (1, 1))
    path = film(tmp_path / "gap.mkv", tone, 16_000, "pcm_s16le", "mono", gap=(2.0, 1.5))
    times_ns, rows = listen(path, tmp_path / "store")
    assert len(rows) == 55
    assert rows[:20, LOUDNESS] == pytest.approx(-23.01, abs=0.3)
    assert (rows[22:35, LOUDNESS] < -60).all()
    assert rows[37:54, LOUDNESS] == pytest.approx(-23.01, abs=0.3)
    assert times_ns[-1] == 54 * HOP_NS


def test_surround_is_heard_in_all_its_channels_but_the_lowest(tmp_path: Path) -> None:
    silence = np.zeros((6, 3 * 48_000))
    tone = beeps(48_000, 1, (1.02,), 3)[0]
    for channel in range(6):  # front left and right, centre, low frequencies, back left and right
        samples = silence.copy()
        samples[channel] = tone
        path = film(tmp_path / f"{channel}.mkv", samples, 48_000, "flac", "5.1")
        rows = listen(path, tmp_path / f"store{channel}")[1]
        assert (rows[10, LOUDNESS] > -40) == (channel != 3)


def test_a_video_without_sound_has_no_rows(shared: Path, tmp_path: Path) -> None:
    assert len(listen(shared / "videos/bottle-detection.mp4", tmp_path / "store")[0]) == 0
    assert len(listen(shared / "videos/classroom.gif", tmp_path / "store2")[0]) == 0


def test_broken_samples_stay_where_they_are(tmp_path: Path) -> None:
    samples = beeps(16_000, 1, (1.02, 3.02))
    samples[0, 32_000:32_100] = np.nan
    samples[0, 33_000:33_100] = 1e30
    rows = listen(film(tmp_path / "x.mkv", samples, 16_000, "pcm_f32le", "mono"), tmp_path / "store")[1]
    assert np.isfinite(rows).all()
    assert rows[[10, 30], LOUDNESS] == pytest.approx(-24, abs=0.5)


@pytest.mark.parametrize("kills", [(0,), (1,), (2, 1)])
def test_a_killed_one_goes_on_with_the_same_rows(kills: tuple[int, ...], tmp_path: Path) -> None:
    swells = np.repeat(np.random.default_rng(2).random(230), 1600)
    noise = np.random.default_rng(1).normal(size=(1, 23 * 16_000)) * swells
    path = film(tmp_path / "x.mkv", 0.1 * noise, 16_000, "pcm_s16le", "mono")
    whole = listen(path, tmp_path / "whole")
    for pieces in kills:
        killed = sound(path, tmp_path / "killed")
        assert len(list(islice(killed, pieces))) == pieces
        del killed  # not closed
    before = len(read(tmp_path / "killed")[0])
    assert before == 100 * max(kills)
    found = listen(path, tmp_path / "killed")
    assert len(found[0]) == len(whole[0]) > before
    np.testing.assert_array_equal(found[0], whole[0])
    np.testing.assert_array_equal(found[1], whole[1])


def test_a_truncated_file_has_the_rows_up_to_there(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mkv", beeps(44_100, 2, (1.02, 3.02), 8))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    rows = listen(whole, tmp_path / "store")[1]
    some = listen(cut, tmp_path / "store2")[1]
    assert 20 < len(some) < len(rows) - 10
    np.testing.assert_allclose(some[:10, LOUDNESS], rows[:10, LOUDNESS], atol=0.01)


def test_damage_is_skipped(tmp_path: Path) -> None:
    path = film(tmp_path / "x.ts", 0.1 * np.random.default_rng(1).normal(size=(2, 8 * 44_100)))
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(damaged)
    rows = listen(path, tmp_path / "store")[1]
    assert 70 <= len(rows) <= 82
    assert np.isfinite(rows).all()
    assert np.median(rows[-20:, LOUDNESS]) > -30  # it goes on behind


def test_what_is_no_video_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"nothing that could be heard")
    with pytest.raises(Failed, match="not a video that can be read"):
        sound(path, tmp_path / "store")
    with pytest.raises(Failed, match="check the path"):
        sound(tmp_path / "nowhere.mp4", tmp_path / "store")


def test_the_rap_is_speech_and_the_laughter_behind_it_is_less(shared: Path, tmp_path: Path) -> None:
    times_ns, rows = listen(shared / CLIPS, tmp_path / "store")
    assert times_ns[0] == 353 * 1_000_000_000 // 44_100  # what the edit list says
    assert len(rows) == 101
    assert rows[:90, SPEECH].mean() > 0.5
    assert rows[93:, SPEECH].mean() < rows[:90, SPEECH].mean() - 0.2


def test_a_street_is_neither_speech_nor_a_crowd(shared: Path, tmp_path: Path) -> None:
    rows = listen(shared / "videos/facenet_pytorch_video.mp4", tmp_path / "store")[1]
    assert rows[:, SPEECH].max() < 0.1
    assert rows[:, CROWD].max() < 0.2
