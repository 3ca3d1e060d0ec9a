"""The learned scorer of highlights, from marks to the stage that runs it: on videos whose good moments are known."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from export import parity
from export.__main__ import main
from export.highlights import ranks, train_highlights
from export.highlights.crops import Batch, Batches, cropped, inputs
from export.highlights.marked_videos import BLOCK, HALF, Marked, held_out, read, trained_on
from export.highlights.marks import read_marks
from export.highlights.scorer_onnx import from_checkpoint
from export.models.highlight_scorer import REACH, HighlightScorer, Scored
from export.packages import Failed
from export.run import Plan
from export.to_onnx import save
from pipeline.errors import Failed as PipelineFailed
from stages.highlight.learned import Learned
from stages.highlight.timeline import SECOND, SIGNALS, Timeline, Video

HEADER = "start,end,score\n"
CENTERFACE = Path(__file__).resolve().parents[2] / "models" / "centerface.onnx"


@dataclass(frozen=True)
class Synthetic:
    """Worth seeing are four seconds from a movement on that a sound follows after two: no weights of one second tell.

    Movements without such a sound, and sounds without such a movement, are worth nothing.
    """

    signals: dict[str, NDArray[np.float64]]
    worth: NDArray[np.float64]


def synthetic(seed: int, seconds: int) -> Synthetic:
    random = np.random.default_rng(seed)
    moves, sounds = (random.random(seconds) < 0.1 for _ in range(2))
    together = random.choice(seconds - 2, seconds // 30, replace=False)
    moves[together] = sounds[together + 2] = True
    begins = np.flatnonzero(moves[:-2] & sounds[2:])
    worth = np.isin(np.arange(seconds), begins[:, None] + np.arange(4)).astype(np.float64)
    signals = {
        "motion": np.where(moves, 0.15, 0.02) * random.uniform(0.7, 1.4, seconds),
        "onset": np.where(sounds, 6.0, 0.3) * random.uniform(0.7, 1.4, seconds),
        "people": random.integers(0, 4, seconds).astype(np.float64),
    }
    return Synthetic(signals, worth)


def weighted(made: Synthetic) -> NDArray[np.float64]:
    """The score of the weights that fit the marks best, the held-out ones among them."""
    rows = [values / (values + HALF[name]) for name, values in made.signals.items()]
    table = np.stack([*rows, np.ones(len(made.worth))], 1)
    return np.asarray(table @ np.linalg.lstsq(table, made.worth)[0])


def write(folder: Path, seed: int, seconds: int) -> tuple[Path, Path]:
    made = synthetic(seed, seconds)
    video = {
        "path": "match.mp4",
        "sha256": f"{seed:064x}",
        "duration": seconds,
        "signals": {name: values.tolist() for name, values in made.signals.items()} | {"speech": [None] * seconds},
        "score": weighted(made).tolist(),
    }
    scores, marks = folder / f"{seed}.json", folder / f"{seed}.csv"
    scores.write_text(json.dumps({"preset": "sports", "videos": [video], "moments": []}))
    good = np.flatnonzero(made.worth).tolist()
    marks.write_text(HEADER + "".join(f"{second // 60}:{second % 60:02d},{second + 1},1\n" for second in good))
    return scores, marks


def run(*words: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["export", *map(str, words)])
        return main()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on two videos of twenty minutes."""
    folder = tmp_path_factory.mktemp("highlights")
    files = [file for seed in (1, 2) for file in write(folder, seed, 1200)]
    assert run("train", "highlights", *files, "--out", folder / "run") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def scorer(trained: Path) -> Path:
    file = trained / "scorer.onnx"
    assert run("onnx", trained / "checkpoint.pt", "--out", file, "--licence", "CC0-1.0") == 0
    return file


def timeline(seed: int, seconds: int) -> Timeline:
    signals = dict.fromkeys(SIGNALS, np.full(seconds, np.nan, np.float32))
    signals |= {name: values.astype(np.float32) for name, values in synthetic(seed, seconds).signals.items()}
    nothing = np.zeros((0, 2), np.int64)
    blank = np.full(seconds, np.nan, np.float32)
    video = Video("match.mp4", "", 640, 360, 0, seconds * SECOND, 25 * seconds, True)
    return Timeline(video, signals, nothing[:, 0], nothing, blank, blank[:, None], {})


# What is learned


def test_it_learns_what_no_weights_can_say_and_says_how_well(trained: Path) -> None:
    figures = json.loads((trained / "report.json").read_text())
    learned, by_hand, most = (
        figures[name]["tau"] for name in ("learned", "by hand, sports", "best order without ties")
    )
    assert by_hand + 0.15 < learned <= most
    assert figures["learned"]["rho"] > figures["by hand, sports"]["rho"] + 0.1
    assert "| by hand, sports |" in (trained / "report.md").read_text()
    assert (trained / "tau.png").stat().st_size > 0


def test_a_video_that_it_never_saw_and_that_has_no_sound(scorer: Path) -> None:
    learned = Learned(scorer)
    new = timeline(3, 900)
    worth = synthetic(3, 900).worth
    assert ranks.kendall(learned(new).score, worth) > ranks.kendall(weighted(synthetic(3, 900)), worth) + 0.15
    new.signals["onset"][:] = np.nan
    assert ranks.kendall(learned(new).score, worth) > 0.1  # the movement alone says something


def test_a_resumed_run_ends_as_one_without_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = read([write(tmp_path, 1, 600)])
    plan = Plan(6, 1e-3, save_every=3)
    whole, _ = train_highlights.fit(videos, tmp_path / "whole", plan)
    true, seen = train_highlights.loss, list[object]()

    def stopping(module: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        seen.append(batch)
        if len(seen) > 4:
            raise KeyboardInterrupt
        return true(module, batch)

    with monkeypatch.context() as patch:
        patch.setattr(train_highlights, "loss", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_highlights.fit(videos, tmp_path / "parts", plan)
    with pytest.raises(Failed, match="has done 3 steps; let it finish, or end it there with --steps 3"):
        from_checkpoint(tmp_path / "parts" / "checkpoint.pt")
    parts, _ = train_highlights.fit(videos, tmp_path / "parts", plan)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_a_run_goes_on_with_the_marks_it_began_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, marks = write(tmp_path, 1, 600)
    words = ("train", "highlights", scores, marks, "--out", tmp_path / "run", "--steps", 1)
    assert run(*words) == 0
    marks.write_text(marks.read_text() + "0:00,0:05,1\n")
    assert run(*words) == 1
    assert "was started with options 'videos and marks" in capsys.readouterr().err


# What is held out


def video(worth: NDArray[np.float32], name: str = "") -> Marked:
    signals = np.random.default_rng(0).random((len(HALF), len(worth)), np.float32)
    return Marked(Path(name), name, signals, worth, worth, "sports")


def test_no_score_that_is_trained_depends_on_a_held_out_second() -> None:
    worth = np.repeat(np.linspace(0, 1, 20, dtype=np.float32), BLOCK)
    one = video(worth)
    (held,) = held_out([one])
    trains = trained_on(held)
    assert held.sum() == 4 * BLOCK
    module = HighlightScorer(len(HALF)).eval()
    torch.nn.init.ones_(module.judge.weight)
    before = module(torch.from_numpy(inputs(one))[None]).detach().numpy()[0]
    one.signals[:, held] = 0
    changed = before != module(torch.from_numpy(inputs(one))[None]).detach().numpy()[0]
    assert not changed[trains].any()
    assert changed[held].all()
    assert trains.sum() >= len(worth) - held.sum() - 4 * 2 * REACH


def test_of_five_videos_one_is_held_out_whatever_their_order() -> None:
    videos = [video(np.linspace(0, 1, 90, dtype=np.float32), name) for name in "abcde"]
    for order in (videos, videos[::-1]):
        held = held_out(order)
        assert [one.sha256 for one, seconds in zip(order, held, strict=True) if seconds.any()] == ["c"]
        assert sum(map(np.sum, held)) == 90


def test_what_is_too_little_is_said(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="last 4 minutes together; at least 5 are needed"):
        held_out([video(np.ones(200, np.float32))])
    nothing = video(np.zeros(600, np.float32))
    with pytest.raises(Failed, match="nothing marked is among what is held out"):
        train_highlights.fit([nothing], tmp_path, Plan(1, 1e-3))
    with pytest.raises(Failed, match="nothing marked is left to train on"):
        Batches([nothing], [np.ones(600, np.bool_)])


def test_crops_reach_over_the_ends_of_a_video() -> None:
    rows = np.arange(1, 201, dtype=np.float32)[None]
    assert cropped(rows, -3)[0, :5].tolist() == [0, 0, 0, 1, 2]
    assert cropped(rows, 198)[0, :4].tolist() == [199, 200, 0, 0]


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_rank_correlations_are_scipys(levels: int) -> None:
    random = np.random.default_rng(levels)
    a, b = random.integers(0, levels, 300).astype(np.float32), random.random(300).round(1)
    assert ranks.kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert ranks.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert np.isnan([ranks.kendall(a, np.ones(300)), ranks.spearman(np.ones(300), b)]).all()


# Marks


def test_marks_are_the_best_of_each_second_they_touch(tmp_path: Path) -> None:
    file = tmp_path / "marks.csv"
    file.write_text("\ufeffstart,end,score\r\n1.5,0:04,0.5\n\n0:00:03,5,1\n4,0:05,0.25\n", "utf-8")
    assert read_marks(file, 8).tolist() == [0, 0.5, 0.5, 1, 1, 0, 0, 0]
    file.write_text(HEADER + "1:00,1:02,5\n1:01,1:02.5,3\n0:10,0:11,1\n")
    worth = read_marks(file, 63)
    assert worth[59:].tolist() == [0, 1, 1, 0.5]
    assert worth[10] == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: the header has to be start,end,score"),
        ("0:10,0:20,1\n", "line 1: the header has to be start,end,score"),
        ("start;end;score\n1;2;1\n", "line 1: the header has to be start,end,score"),
        (HEADER + "1,2,1\n0:75,2:00,1\n", "line 3: '0:75' is no time; write seconds, M:SS or H:MM:SS"),
        (HEADER + "1:75:00,2:00:00,1\n", "line 2: '1:75:00' is no time"),
        (HEADER + "soon,5,1\n", "line 2: 'soon' is no time"),
        (HEADER + "-1,5,1\n", "line 2: '-1' is no time"),
        (HEADER + "\n0:20,0:10,1\n", "line 3: the end 0:10 is not after the start 0:20"),
        (HEADER + "0:20,1:40:00,1\n", "line 2: the end 1:40:00 is behind the video, which has 600 seconds"),
        (HEADER + "1,2,good\n", "line 2: the score 'good' is none; use 0..1 or 1..5"),
        (HEADER + "1,2,6\n", "line 2: the score '6' is none"),
        (HEADER + "1,2,nan\n", "line 2: the score 'nan' is none"),
        (HEADER + "1,2,0.5\n2,3,4\n", "line 2: the score 0.5 is below 1, and others are above"),
        (HEADER + "1,2,0,5\n", "line 2: 4 values in place of 3; a comma parts values, decimals have a point"),
    ],
)
def test_a_mark_that_is_none_is_told_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "marks.csv"
    file.write_text(text)
    with pytest.raises(Failed) as refusal:
        read_marks(file, 600)
    assert f"marks.csv, {sentence}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def spoil(document: dict[str, object], one: dict[str, object], how: str) -> object:
    if how == "two videos":
        return document | {"videos": [one, one]}
    if how == "no score":
        return document | {"videos": [{name: value for name, value in one.items() if name != "score"}]}
    if how == "short":
        return document | {"videos": [one | {"signals": {"motion": [0.5]}}]}
    return document | {"videos": [one | {"signals": {"smell": one["score"]}}]}


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("two videos", "is of 2 videos; marks are of one"),
        ("no score", r"is not what highlights writes \(.*`score` - at `\$\.videos\[0\]`\)"),
        ("short", "has no signals, or not a value of each for every second"),
        ("unknown signals", "has no signals, or not a value"),
    ],
)
def test_scores_that_are_none_are_refused(tmp_path: Path, how: str, sentence: str) -> None:
    scores, marks = write(tmp_path, 1, 100)
    document = json.loads(scores.read_text())
    scores.write_text(json.dumps(spoil(document, document["videos"][0], how)))
    with pytest.raises(Failed, match=rf"1\.json {sentence}"):
        read([(scores, marks)])


def test_a_video_is_given_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = write(tmp_path, 1, 100)
    with pytest.raises(Failed, match="are of the same video; put all of its marks into one file"):
        read([pair, pair])
    assert run("train", "highlights", *pair, pair[0], "--out", tmp_path / "run") == 1
    assert "the files come in pairs" in capsys.readouterr().err


# The file, and the stage that runs it


def test_the_halves_are_those_that_the_stage_measures_with() -> None:
    assert {name: signal.half for name, signal in SIGNALS.items()} == HALF


def test_the_file_computes_what_torch_computes_and_says_what_goes_in(trained: Path, scorer: Path) -> None:
    module, half = from_checkpoint(trained / "checkpoint.pt")
    signals = np.random.default_rng(1).random((3, len(HALF) + 1, 256), np.float32)
    signals[:, -1] = 1
    assert parity.check(Scored(module).eval(), scorer, signals).max_abs < 1e-5
    said = {prop.key: prop.value for prop in onnx.load(scorer).metadata_props}
    assert (said["framewire.task"], said["framewire.licence"]) == ("highlight", "CC0-1.0")
    assert json.loads(said["framewire.signals"]) == list(half) == list(HALF)
    assert json.loads(said["framewire.half"]) == list(HALF.values())


def test_only_a_scorers_own_options_are_taken(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("onnx", trained / "checkpoint.pt", "--decode", "--out", trained / "x.onnx") == 1
    assert "only --licence and --origin are for it" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", [1, 20, 196, 197, 700])
def test_windows_give_what_one_look_at_the_whole_video_gives(trained: Path, scorer: Path, seconds: int) -> None:
    module, _ = from_checkpoint(trained / "checkpoint.pt")
    given = timeline(4, max(seconds, 40))
    signals = {name: values[:seconds] for name, values in given.signals.items()}
    short = Timeline(given.video, signals, given.cuts_ns, given.pauses_ns, given.centre[:seconds], given.look, {})
    rows = np.zeros((len(HALF) + 1, seconds), np.float32)
    rows[-1] = 1
    for row, (name, half) in zip(rows, HALF.items(), strict=False):
        row[:] = np.nan_to_num(signals[name] / (signals[name] + half))
    with torch.inference_mode():
        whole = Scored(module).eval()(torch.from_numpy(rows)[None])[0].numpy()
    np.testing.assert_allclose(Learned(scorer)(short).score, whole, atol=1e-5)


def test_the_shares_add_up_and_are_of_the_signals_that_matter(scorer: Path) -> None:
    found = Learned(scorer)(timeline(5, 600))
    assert list(found.shares) == list(SIGNALS)
    np.testing.assert_allclose(sum(found.shares.values()), found.score, atol=1e-5)
    assert all((share >= 0).all() for share in found.shares.values())
    good = synthetic(5, 600).worth > 0
    means = {name: float(share[good].mean()) for name, share in found.shares.items()}
    assert set(sorted(means, key=lambda name: -means[name])[:2]) == {"motion", "onset"}
    assert means["speech"] < 0.01  # was not measured


def words(file: Path, **changed: str) -> Path:
    """The same file, saying something else of itself."""
    model = onnx.load(file)
    said = {prop.key: prop.value for prop in model.metadata_props}
    onnx.helper.set_model_props(model, said | {f"framewire.{key}": value for key, value in changed.items()})
    spoilt = file.with_name("spoilt.onnx")
    save(model, spoilt)
    return spoilt


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda file: CENTERFACE, "is no scorer of highlights: train one"),
        (lambda file: words(file, signals=json.dumps(["smell", *list(HALF)[1:]])), "'smell', which this version does"),
        (lambda file: words(file, half=json.dumps([9.0, *list(HALF.values())[1:]])), "'cuts' on another scale"),
    ],
    ids=["detector", "signal", "scale"],
)
def test_a_file_that_is_no_scorer_of_this_version(scorer: Path, change: Callable[[Path], Path], sentence: str) -> None:
    with pytest.raises(PipelineFailed, match=sentence):
        Learned(change(scorer))
