"""highlights evaluate: small files in the datasets' formats, and figures that were worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat
from scipy.stats import kendalltau, spearmanr
from typer.testing import CliRunner, Result

from pipeline.errors import Usage
from stages.highlight.evaluate import evaluate
from stages.highlight.qvhighlights import average_precision, by_clip
from stages.highlight.scored import Scored
from stages.highlight.summaries import begins, f1, knapsack, selected
from stages.highlight.tvsum import correlations

RATE = 10  # frames a second
app = typer.Typer()
app.command()(evaluate)
some_ranks = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=2, max_size=40)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def measures(*arguments: object) -> dict[str, Any]:
    """What --json says of the one dataset."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.stdout)["reports"]
    found: dict[str, Any] = report["measures"]
    return found


def complaint(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, Usage)
    return str(result.exception)


def ours(path: Path, scores: dict[str, Sequence[float]], cuts: Sequence[float] = ()) -> Path:
    """The JSON of `highlights`, with some of what nobody asks for."""
    videos = [
        {"path": f"/clips/{name}.mp4", "sha256": "0", "duration": len(score), "score": [*score], "cuts": [*cuts]}
        for name, score in scores.items()
    ]
    path.write_text(json.dumps({"preset": "sports", "videos": videos, "moments": []}))
    return path


def tvsum(path: Path, rows: Sequence[tuple[str, Sequence[int]]]) -> Path:
    """A line for each annotator of a video, out of the level of each second."""
    lines = [f"{name}\tVT\t{','.join(str(level) for level in levels for _ in range(RATE))}" for name, levels in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def query(vid: str, clips: dict[int, tuple[int, int, int]], duration: float = 10) -> str:
    scores = {"relevant_clip_ids": [*clips], "saliency_scores": [*clips.values()]}
    return json.dumps({"qid": 1, "query": "a\u2028goal", "vid": vid, "duration": duration, **scores})


def test_correlations_with_ties_worked_out_by_hand() -> None:
    one, other = np.array([0, 1, 1, 2]), np.array([0, 2, 1, 2])
    assert correlations(one, other) == pytest.approx([4 / 5, 3.75 / 4.5])  # 4 concordant, a tie in each
    assert correlations(one, 2 - other) == pytest.approx([-4 / 5, -3.75 / 4.5])
    assert correlations(one, np.array([1, 1, 1, 1])).tolist() == [0, 0]


@given(some_ranks)
def test_correlations_are_those_of_scipy(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs).T
    if len(set(one)) > 1 and len(set(other)) > 1:
        expected = kendalltau(one, other).statistic, spearmanr(one, other).statistic
        assert correlations(one, other) == pytest.approx(expected)


def test_average_precision_worked_out_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    labels = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool).T
    assert average_precision(scores, labels) == pytest.approx([(1 + 0.6 + 0.6) / 3, 0.5, 0, 1])
    tied = np.array([0.9, 0.5, 0.5, 0.1])  # hits 0 of 1, 2 of 3, 3 of 4: recall rises twice
    assert average_precision(tied, np.array([[0, 1, 1, 1]], bool).T) == pytest.approx([0.75])


def test_clips_are_means_of_two_seconds_and_nothing_after_the_end() -> None:
    assert by_clip(np.array([[1.0, 0, 0.5, 0.5, 0.25]]), 4).tolist() == [[0.5, 0.5, 0.25, 0]]
    assert by_clip(np.array([[1.0, 0, 0.5, 0.5, 0.25]]), 1).tolist() == [[0.5]]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 6)), min_size=1, max_size=7), st.integers(0, 20))
def test_knapsack_finds_the_best_of_all_choices(things: list[tuple[int, int]], capacity: int) -> None:
    values, sizes = np.array(things).T
    chosen = knapsack(values.astype(float), sizes, capacity)
    every = chain.from_iterable(combinations(things, count) for count in range(len(things) + 1))
    fitting = [sum(value for value, _ in some) for some in every if sum(size for _, size in some) <= capacity]
    assert (chosen @ values, chosen @ sizes <= capacity) == (max(fitting), True)


def test_a_summary_has_15_percent_of_the_frames_at_most() -> None:
    chosen = selected(np.random.default_rng(0).random((20, 50)), np.arange(0, 50, 2))
    assert set(chosen.sum(axis=1)) == {6}  # 7.5 fit


def test_f1_of_known_sets() -> None:
    mine, theirs = np.array([[2, 0, 1, 0], [0, 0, 0, 0]]), np.array([[1, 2, 1, 0], [0, 3, 0, 0], [0, 0, 0, 0]])
    assert f1(mine, theirs) == pytest.approx(np.array([[2 * 2 / 7, 0, 0], [0, 0, 0]]))


def test_segments_are_of_two_seconds_or_our_shots() -> None:
    video = Scored("clip.mp4", 5.0, [0, 0, 0, 0, 1], [1.24, 1.25, 4.96])
    assert begins(video, 50, shots=False).tolist() == [0, 20, 40]
    assert begins(video, 50, shots=True).tolist() == [0, 13]  # a shot without a frame of its own is none
    chosen = selected(np.arange(50.0)[None], np.array([0, 20, 45]))
    assert chosen.tolist() == [[0, 0, 5]]  # 7 frames fit


def test_who_scores_as_people_do_has_correlations_of_1(tmp_path: Path) -> None:
    levels = {"a b": [1, 1, 5, 5, 2, 2, 3, 3, 4, 4, 4, 4, 1, 1, 2], "c": [3, 3, 1, 1, 5, 5, 1, 1, 1, 1, 2, 2, 2, 2]}
    file = tvsum(tmp_path / "anno.tsv", [(name, row) for name, row in levels.items() for _ in range(3)])
    scores = ours(tmp_path / "ours.json", {name: [level / 10 for level in row] for name, row in levels.items()})
    found = measures(scores, "--tvsum", file)
    for name in ("Kendall tau-b", "Spearman rho"):
        assert [found[name][who]["value"] for who in ("ours", "people")] == pytest.approx([1, 1])
    assert found["F1"]["ours"] == pytest.approx({"value": 1, "low": 1, "high": 1})
    assert found["F1"]["random"]["value"] < 0.6


def test_correlations_are_means_over_annotators(tmp_path: Path) -> None:
    up, down, bump = [1, 2, 3, 4], [4, 3, 2, 1], [1, 3, 2, 3]
    file = tvsum(tmp_path / "anno.tsv", [("a", up), ("a", down), ("a", bump)])
    found = measures(ours(tmp_path / "ours.json", {"a": [0.1, 0.2, 0.3, 0.4]}), "--tvsum", file)["Kendall tau-b"]
    frames = [np.repeat(row, RATE) for row in (up, down, bump)]
    tau = kendalltau(frames[0], frames[2]).statistic
    assert found["ours"] == {"value": pytest.approx((1 - 1 + tau) / 3), "low": None, "high": None}
    assert found["people"]["value"] == pytest.approx((-1 + tau - tau) / 3)


def noise(count: int, seconds: int, levels: int) -> dict[str, list[int]]:
    rng = np.random.default_rng(5)
    return {f"v{number}": rng.integers(1, levels + 1, seconds // 2).repeat(2).tolist() for number in range(count)}


def test_random_scores_are_near_0_and_their_f1_is_that_of_chance(tmp_path: Path) -> None:
    rows = noise(12, 100, 5)
    file = tvsum(tmp_path / "anno.tsv", [*rows.items()])
    rng = np.random.default_rng(1)
    found = measures(ours(tmp_path / "ours.json", {name: rng.random(100).tolist() for name in rows}), "--tvsum", file)
    for name in ("Kendall tau-b", "Spearman rho"):
        assert found[name]["random"]["value"] == pytest.approx(0, abs=0.02)
        assert found[name]["people"] is None
    for name in found:
        assert found[name]["random"]["low"] < found[name]["ours"]["value"] < found[name]["random"]["high"]
        assert found[name]["ours"]["low"] < found[name]["ours"]["value"] < found[name]["ours"]["high"]
    assert found["F1"]["random"]["value"] == pytest.approx(0.15, abs=0.02)  # of a seventh against a seventh


def test_f1_is_the_mean_of_tvsum_and_the_best_of_summe(tmp_path: Path) -> None:
    best = {second: [5 if second <= at < second + 2 else 1 for at in range(20)] for second in (4, 10)}
    score = [0.9 if 4 <= at < 6 else 0.1 for at in range(20)]
    scores = ours(tmp_path / "ours.json", {"Base jumping": score}, cuts=[4, 6, 10])
    file = tvsum(tmp_path / "anno.tsv", [("Base jumping", best[4]), ("Base jumping", best[10])])
    folder = tmp_path / "GT"
    folder.mkdir()
    chosen = np.array([np.repeat(best[second], RATE) == 5 for second in best]).T * [7, 2]
    savemat(folder / "Base jumping.mat", {"user_score": chosen.astype(float), "nFrames": 200})
    savemat(folder / "Cooking.mat", {"user_score": chosen.astype(float)})
    assert measures(scores, "--tvsum", file)["F1"]["ours"]["value"] == pytest.approx(0.5)
    assert measures(scores, "--summe", folder)["F1"]["ours"]["value"] == pytest.approx(1)
    assert measures(scores, "--summe", folder, "--shots")["F1"]["ours"]["value"] == pytest.approx(1)
    assert measures(scores, "--tvsum", file, "--shots")["F1"]["random"]["value"] == pytest.approx(0.5)  # one shot fits
    assert "SumMe: 1 of 2 videos, 2 annotators each" in run(scores, "--summe", folder).stdout


def test_map_and_hit_at_1_of_a_small_ranking(tmp_path: Path) -> None:
    file = tmp_path / "val.jsonl"
    file.write_text(query("x_0.0_10.0", {1: (4, 2, 0), 3: (3, 3, 2)}) + "\n" + query("other", {}) + "\n")
    score = [0, 0, 0.9, 0.9, 0.8, 0.8, 0.7, 0.7, 0, 0]  # clips 1, 2, 3
    found = measures(ours(tmp_path / "ours.json", {"x_0.0_10.0": score}), "--qvhighlights", file)
    both, last = (1 + 2 / 3) / 2, 1 / 3
    expected = {
        "HL-min-Fair mAP": (both + both + last) / 3,
        "HL-min-Good mAP": (both + last + 0) / 3,
        "HL-min-VeryGood mAP": 1 / 3,
        **{f"HL-min-{name} HIT@1": 1 for name in ("Fair", "Good", "VeryGood")},
    }
    assert {name: one["ours"]["value"] for name, one in found.items()} == pytest.approx(expected)


def test_who_knows_the_highlights_has_map_and_hit_at_1_of_1(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    levels = {f"v{number}": rng.permutation([0, 0, 0, 0, 0, 0, 1, 2, 3, 4]).tolist() for number in range(3)}
    lines = [query(name, {at: (one, one, one) for at, one in enumerate(row)}, 20) for name, row in levels.items()]
    file = tmp_path / "val.jsonl"
    file.write_text("\n".join([*lines, lines[0]]))
    scores = ours(tmp_path / "ours.json", {name: np.repeat(row, 2) / 4 for name, row in levels.items()})
    for one in measures(scores, "--qvhighlights", file).values():
        assert one["ours"] == {"value": 1, "low": 1, "high": 1}
        assert one["random"]["low"] < one["random"]["value"] < one["random"]["high"] < 0.9
    assert "3 of 3 videos, 4 queries, 3 annotators each" in run(scores, "--qvhighlights", file).stdout


def test_the_table_never_has_f1_alone(tmp_path: Path) -> None:
    rows = noise(3, 40, 5)
    file = tvsum(tmp_path / "anno.tsv", [(name, row) for name, row in rows.items() for _ in range(2)])
    first = ours(tmp_path / "1.json", {"v0": np.linspace(0, 1, 40).tolist(), "unknown": [0.5]})
    second = ours(tmp_path / "2.json", {"v1": np.linspace(1, 0, 40).tolist()})
    printed = run(first, second, "--tvsum", file).stdout
    assert "TVSum: 2 of 3 videos, 2 annotators each" in printed
    (line,) = (line for line in printed.splitlines() if line.startswith("F1  "))
    assert line.count("[") == 2  # ours and random, each with its interval
    assert "random summaries reach the F1 of published methods" in printed
    assert max(map(len, printed.splitlines()[:5])) <= 80
    (report,) = json.loads(run(first, second, "--tvsum", file, "--json").stdout)["reports"]
    assert report["measures"]["F1"].keys() == {"ours", "random", "people"}
    assert "random summaries" in report["note"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a\tVT", "line 2: a video, a category and its scores"),
        ("a\tVT\t1,2,6", "line 2: the scores of a are to be whole numbers from 1 to 5"),
        ("a\tVT\t1,2,", "line 2: the scores of a"),
        ("a\tVT\t1,2,3", "line 2: 3 scores of a, and 40 in the first line about it"),
    ],
)
def test_a_wrong_line_of_tvsum_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tvsum(tmp_path / "anno.tsv", [("a", [1, 2, 3, 4])])
    file.write_text(file.read_text() + line)
    assert f"{file}, {said}" in complaint(ours(tmp_path / "ours.json", {"a": [0, 0, 0, 1]}), "--tvsum", file)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "no query"),
        ('{"vid": "a", "duration": 10}', "no query with relevant_clip_ids"),
        (query("a", {0: (5, 0, 0)}), "$.saliency_scores[0][0]"),
        (query("a", {5: (1, 1, 1)}), "clip 5 is not in a video of 10 seconds"),
        (query("a", {0: (1, 1, 1)}).replace("[0]", "[0, 1]"), "2 relevant_clip_ids and 1 saliency_scores"),
        (query("a", {0: (1, 1, 1)}, 20), "lasts 10 seconds, and 20 there: it is to be the same video"),
    ],
)
def test_a_wrong_line_of_qvhighlights_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "val.jsonl"
    file.write_text(f"{query('a', {0: (1, 1, 1)})}\n\n{line}\n")
    found = complaint(ours(tmp_path / "ours.json", {"a": [0.5] * 10}), "--qvhighlights", file)
    assert found.startswith(f"{file}, line 3: ")
    assert said in found
    assert "\n" not in found


def test_wrong_files_of_summe_are_named(tmp_path: Path) -> None:
    scores = ours(tmp_path / "ours.json", {"a": [0.5] * 10})
    assert f"no .mat file in {tmp_path / 'none'}" in complaint(scores, "--summe", tmp_path / "none")
    file = tmp_path / "a.mat"
    for content in (b"", b"MATLAB 5.0 MAT-file" * 9, b"\x89HDF\r\n\x1a\n" * 40):
        file.write_bytes(content)
        assert f"{file} is none of SumMe's files" in complaint(scores, "--summe", tmp_path)
    savemat(file, {"user_score": np.random.default_rng(0).integers(0, 9, (100, 15))}, do_compression=True)
    whole = file.read_bytes()
    for broken in (whole[:-40], whole[:250] + bytes(9) + whole[259:]):
        file.write_bytes(broken)
        assert f"{file} is none of SumMe's files" in complaint(scores, "--summe", tmp_path)
    for wrong in ({"gt_score": [1.0]}, {"user_score": "text"}, {"user_score": np.ones((20, 3))}):
        savemat(file, wrong)
        assert complaint(scores, "--summe", tmp_path).startswith(str(file))


def test_scores_that_are_none_are_named(tmp_path: Path) -> None:
    file = tvsum(tmp_path / "anno.tsv", [("a", [1, 2, 3, 4])])
    path = tmp_path / "ours.json"
    assert f"cannot read {path}" in complaint(path, "--tvsum", file)
    path.write_text('{"videos": [{"path": "a.mp4", "duration": 4, "score": ["x"], "cuts": []}]}')
    assert "$.videos[0].score[0]" in complaint(path, "--tvsum", file)
    path.write_text('{"videos": [{"path": "a.mp4", "duration": 4, "score": [0, 1], "cuts": []}]}')
    assert "2 scores for 4 seconds" in complaint(path, "--tvsum", file)
    ours(path, {"a": [0, 0, 0, 1]})
    assert "scores of a twice" in complaint(path, path, "--tvsum", file)
    assert "give --tvsum" in complaint(path)
    assert "none of the 1 videos of TVSum" in complaint(ours(path, {"b": [0, 0, 0, 1]}), "--tvsum", file)
    assert "there is to be one a frame" in complaint(ours(path, {"a": [0.5] * 40}), "--tvsum", file)
