from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.highlight.acoustics import FLOOR_DB, HOP, HOP_NS, MARGIN, RATE, Floats, measure, pauses

LOUDNESS, ONSETS, CROWD, SPEECH = range(4)
T = np.arange(10 * RATE) / RATE


def rows(samples: NDArray[np.floating]) -> Floats:
    """Of a sound that goes on before and after in the same way."""
    return measure(np.pad(samples.astype(np.float32), MARGIN * HOP, "symmetric"))


def noise(seconds: float = 10) -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(size=round(seconds * RATE))


def voice() -> NDArray[np.float64]:
    """Syllables, four a second, of a buzz whose pitch glides around 120 Hz; 1 s of silence after each 3 s."""
    pitch = 120 * (1 + 0.2 * np.sin(2 * np.pi * 1.3 * T))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    buzz = sum(np.sin(number * phase) / number for number in range(1, 25))
    syllable = np.sin(2 * np.pi * 2 * T) ** 2
    return 0.1 * buzz * syllable * (T % 4 < 3) + 1e-4 * noise()


def cheer() -> NDArray[np.float64]:
    """Noise that swells and falls by a few dB, as many people do."""
    return (
        0.1 * noise() * 10 ** (np.interp(T, np.arange(0, 10.1, 0.1), np.random.default_rng(2).normal(0, 2, 101)) / 20)
    )


@pytest.mark.parametrize(("hertz", "gain_db"), [(997, 0.691), (38.135, -6.02), (100, -1.18), (4000, 3.99), (7000, 4.0)])
def test_the_loudness_of_a_sine_is_that_of_the_standard(hertz: float, gain_db: float) -> None:
    """BS.1770-5: 997 Hz at full scale in one channel is -3.01 LKFS; the rest are the gains of its two filters."""
    found = rows(0.1 * np.sin(2 * np.pi * hertz * T))[10:-10, LOUDNESS]
    assert found.mean() == pytest.approx(-20 - 3.01 - 0.691 + gain_db, abs=0.1)


def test_silence_is_nothing() -> None:
    assert rows(np.zeros(5 * RATE)).round(3).tolist() == [[FLOOR_DB, 0, 0, 0]] * 50


def test_each_click_is_one_onset_in_its_hop_or_beside_it() -> None:
    at = np.array([0.55, 1.234, 2.0, 2.3, 4.95, 7.77])
    clicks = 1e-4 * noise()
    clicks[(at * RATE).astype(int)] += 0.5
    begun = np.repeat(np.arange(100), rows(clicks)[:, ONSETS].astype(int))
    assert len(begun) == len(at)
    assert np.abs(begun - (at * 10).astype(int)).max() <= 1


def test_each_note_is_an_onset_and_what_goes_on_is_none() -> None:
    notes = [0.1 * np.cos(2 * np.pi * hertz * T[: 2 * RATE]) for hertz in (220, 330, 440, 262, 392)]
    assert rows(np.concatenate(notes) + 1e-3 * noise())[:, ONSETS].sum() == 4  # the first has begun before
    assert rows(0.1 * np.cos(2 * np.pi * 220 * T) + 1e-3 * noise())[:, ONSETS].sum() == 0
    assert rows(0.1 * noise())[:, ONSETS].sum() <= 1


def test_a_voice_is_speech_and_its_pauses_are_none() -> None:
    said = rows(voice())[:, SPEECH]
    speaks = np.arange(100) % 40 < 29  # each hop of the last syllable's fall may be either
    assert said[speaks].mean() > 0.6
    assert (said[np.arange(100) % 40 >= 31] < 0.5).all()


@pytest.mark.parametrize(
    "sound",
    [
        0.1 * noise(),
        cheer(),
        0.1 * np.sin(2 * np.pi * 440 * T),
        0.05 * sum(np.sin(2 * np.pi * 150 * number * T) / number for number in range(1, 20)),
        0.1 * np.sin(2 * np.pi * 220 * T) * np.maximum(np.sin(2 * np.pi * 4 * T), 0),
        0.1 * noise() * np.exp(-(T % 0.25) * 30),
    ],
    ids=["noise", "cheer", "sine", "buzz", "beeps", "drum"],
)
def test_other_sounds_are_no_speech(sound: NDArray[np.float64]) -> None:
    assert rows(sound)[:, SPEECH].max() < 0.3


def test_a_crowd_is_loud_uneven_noise_without_a_pitch() -> None:
    assert rows(cheer())[:, CROWD].mean() > 0.8
    assert rows(0.01 * cheer())[:, CROWD].max() < 0.1  # far away
    for other in (voice(), 0.1 * np.sin(2 * np.pi * 440 * T), 0.1 * noise() * np.exp(-(T % 0.25) * 30), 0.1 * noise()):
        assert rows(other)[:, CROWD].mean() < 0.2


def test_a_row_depends_on_nothing_beyond_the_margins() -> None:
    sound = np.concatenate([voice(), cheer(), voice()]).astype(np.float32)
    near = measure(sound[5 * RATE : 15 * RATE])
    changed = sound.copy()
    changed[: 5 * RATE] = 0
    changed[15 * RATE :] = 0.5
    whole = measure(changed)[50 : 50 + len(near)]
    np.testing.assert_allclose(whole[:, LOUDNESS], near[:, LOUDNESS], atol=0.05)
    np.testing.assert_allclose(whole[:, ONSETS:], near[:, ONSETS:], atol=1e-3)


def test_pauses_are_what_nobody_speaks_in() -> None:
    speech = np.array([1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0], np.float32)
    rows_ = np.stack([np.zeros_like(speech)] * 3 + [speech], axis=1)
    times_ns = 500_000_000 + HOP_NS * np.arange(len(speech))  # the sound begins 0.5 s after the picture
    tenths = pauses(times_ns, rows_, 3_000_000_000) / HOP_NS
    assert tenths.tolist() == [[0, 5], [10, 13], [15, 30]]


def test_pauses_end_with_the_video() -> None:
    rows_ = np.ones((20, 4), np.float32)
    times_ns = HOP_NS * np.arange(20)
    assert pauses(times_ns, rows_, 1_000_000_000).tolist() == []
    assert pauses(times_ns[:0], rows_[:0], 1_000_000_000).tolist() == [[0, 1_000_000_000]]
    assert pauses(times_ns - 1_000_000_000, rows_, 2_000_000_000).tolist() == [[1_000_000_000, 2_000_000_000]]
