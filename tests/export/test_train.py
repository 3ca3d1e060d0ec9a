"""How all networks are trained: resumed runs, losses that are no numbers, disks that are full, and what a log says."""

import csv
import json
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export import checkpoint, train
from export.__main__ import main
from export.files import write_whole
from export.packages import Failed
from export.run import LOG, Averaged, Plan

Pair = tuple[Tensor, Tensor]
WEIGHTS = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
PLAN = Plan(8, 0.05, warmup=2, ema=0.9, save_every=4)


def make(random: np.random.Generator) -> Pair:
    """(16, 4) and what a linear layer with WEIGHTS makes of it."""
    x = torch.from_numpy(random.normal(size=(16, 4)).astype(np.float32))
    return x, x @ WEIGHTS.T + 1


def error(module: nn.Module, batch: Pair) -> train.Losses:
    x, y = batch
    return {"square": (module(x) - y).square().mean()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "liveness", "data", "--out", "run", "--seed=-1"), "argument --seed: invalid seed value: '-1'"),
        (("train", "liveness", "data", "--out", "run", "--width=0"), "argument --width: invalid positive value"),
        (("train", "liveness", "data", "--out", "run", "--bpcer=-0.1"), "argument --bpcer: invalid share value"),
        (("train", "tracks", "a.mp4", "--out", "run", "--every=0"), "argument --every: invalid positive value"),
        (("train", "mining-report", "--out", "run", "--seeds=0"), "argument --seeds: invalid positive value"),
    ],
)
def test_numbers_that_mean_nothing_end_in_one_sentence(
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["export", *words])
    with pytest.raises(SystemExit):
        main()
    assert said in capsys.readouterr().err


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a letter")
    with pytest.raises(Failed, match=r"run cannot be a folder .*--out"):
        train.fit(network(), "linear", error, make, PLAN, tmp_path / "run")
    with pytest.raises(Failed, match=r"run cannot be a folder"):
        write_whole(tmp_path / "run" / "model.onnx", b"")
    write_whole(tmp_path / "new" / "deeper" / "model.onnx", b"1")
    assert (tmp_path / "new" / "deeper" / "model.onnx").read_bytes() == b"1"


def test_ctrl_c_ends_in_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.inspect_model.run", interrupted)
    monkeypatch.setattr("sys.argv", ["export", "inspect", "model.onnx"])
    assert main() == 130
    assert "goes on from its last checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["nan", "inf", "0", "-1", "fast"])
def test_a_rate_that_is_none_ends_in_one_sentence(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["export", "train", "embedder", "people", "--out", "run", f"--rate={text}"])
    with pytest.raises(SystemExit):
        main()
    assert f"argument --rate: invalid rate value: '{text}'" in capsys.readouterr().err


def network() -> nn.Module:
    """One with a batch norm, whose buffers have to be kept, too."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / LOG).open(newline="") as stream:
        return list(csv.DictReader(stream))


def stopping(step: int, value: float | None = None) -> train.Losses:
    """`error` until that step of a run; from then on `value` in its place, or an interruption."""
    seen: list[Pair] = []

    def loss(module: nn.Module, batch: Pair) -> train.Losses:
        seen.append(batch)
        if len(seen) <= step:
            return error(module, batch)
        if value is None:
            raise KeyboardInterrupt
        return {"fine": error(module, batch)["square"], "odd": error(module, batch)["square"] * value}

    return loss  # type: ignore[return-value]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file can be made larger than `size` bytes: writing fails as it does on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_loss_falls_and_the_log_has_a_row_a_step(tmp_path: Path) -> None:
    plan = Plan(80, 0.05, warmup=2, ema=0.9, save_every=40)
    trained = train.fit(network(), "linear", error, make, plan, tmp_path, check=lambda module: {"held out": 0.25})
    assert not trained.training
    losses = [float(row["square"]) for row in rows(tmp_path)]
    assert np.mean(losses[-5:]) < 0.2 * np.mean(losses[:5])
    assert [row["step"] for row in rows(tmp_path)] == [str(step) for step in range(1, 81)]
    assert [row["step"] for row in rows(tmp_path) if row["held out"]] == ["40", "80"]
    x, y = make(np.random.default_rng(99))
    assert (trained(x) - y).square().mean() < 0.2 * y.var()


def test_a_resumed_run_ends_as_one_without_a_stop(tmp_path: Path) -> None:
    whole = train.fit(network(), "linear", error, make, PLAN, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train.fit(network(), "linear", stopping(6), make, PLAN, tmp_path / "parts")  # type: ignore[arg-type]
    assert [row["step"] for row in rows(tmp_path / "parts")] == ["1", "2", "3", "4"]
    parts = train.fit(network(), "linear", error, make, PLAN, tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    without = [[{**row, "seconds": ""} for row in rows(tmp_path / run)] for run in ("whole", "parts")]
    assert without[0] == without[1]


def test_another_seed_gives_another_network(tmp_path: Path) -> None:
    first, second = (
        train.fit(network(), "linear", error, make, Plan(3, 0.05, seed=seed), tmp_path / str(seed)).state_dict()
        for seed in (0, 1)
    )
    assert not torch.equal(first["0.weight"], second["0.weight"])


def test_the_batches_do_not_depend_on_how_many_threads_make_them() -> None:
    one, four = (list(train.ahead(make, Plan(9, 0.1, workers=workers), 0)) for workers in (1, 4))
    late = list(train.ahead(make, Plan(9, 0.1), 5))
    assert len(one) == len(four) == 9
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one, four, strict=True))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one[5:], late, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_and_the_last_checkpoint_stays(tmp_path: Path, value: float) -> None:
    with pytest.raises(
        Failed, match=r"at step 5 the loss \(odd\) is not a number; .*checkpoint.pt is of step 4.*--rate"
    ):
        train.fit(network(), "linear", stopping(5, value), make, PLAN, tmp_path)  # type: ignore[arg-type]
    state = checkpoint.load_checkpoint(tmp_path / checkpoint.CHECKPOINT, "linear")
    assert state["step"] == 4
    assert all(torch.isfinite(weights).all() for weights in state["module"].values())
    assert len(rows(tmp_path)) == 4
    assert len(rows_after_going_on(tmp_path)) == 8


def rows_after_going_on(folder: Path) -> list[dict[str, str]]:
    train.fit(network(), "linear", error, make, PLAN, folder)
    return rows(folder)


def test_a_disk_that_is_full_during_a_checkpoint_leaves_the_old_one(tmp_path: Path) -> None:
    wide = nn.Linear(4, 1, bias=False)
    wide.register_buffer("ballast", torch.zeros(1_000_000))
    train.fit(wide, "wide", error, make, Plan(2, 0.1), tmp_path)
    before = (tmp_path / checkpoint.CHECKPOINT).read_bytes()
    with (
        largest_file(len(before) // 2),
        pytest.raises(Failed, match=r"checkpoint.pt could not be written .* make room"),
    ):
        train.fit(wide, "wide", error, make, Plan(4, 0.1), tmp_path)
    assert (tmp_path / checkpoint.CHECKPOINT).read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {checkpoint.CHECKPOINT, LOG}
    train.fit(wide, "wide", error, make, Plan(4, 0.1), tmp_path)
    assert checkpoint.load_checkpoint(tmp_path / checkpoint.CHECKPOINT, "wide")["step"] == 4


def test_a_disk_that_is_full_during_the_log_loses_no_row_of_it(tmp_path: Path) -> None:
    train.fit(network(), "linear", error, make, Plan(800, 0.01), tmp_path)  # a log that is larger than the checkpoint
    size = (tmp_path / LOG).stat().st_size
    assert size > (tmp_path / checkpoint.CHECKPOINT).stat().st_size
    with largest_file(size), pytest.raises(Failed, match=r"log\.csv could not be written"):
        train.fit(network(), "linear", error, make, Plan(900, 0.01), tmp_path)
    train.fit(network(), "linear", error, make, Plan(900, 0.01), tmp_path)
    assert [int(row["step"]) for row in rows(tmp_path)] == list(range(1, 901))


def test_a_checkpoint_of_another_architecture_is_refused_and_stays(tmp_path: Path) -> None:
    train.fit(network(), "linear", error, make, PLAN, tmp_path)
    before = (tmp_path / checkpoint.CHECKPOINT).read_bytes()
    with pytest.raises(Failed, match=r"holds linear, not wider; .* another folder"):
        train.fit(network(), "wider", error, make, PLAN, tmp_path)
    assert (tmp_path / checkpoint.CHECKPOINT).read_bytes() == before


def test_a_run_can_be_made_longer_but_not_another(tmp_path: Path) -> None:
    train.fit(network(), "linear", error, make, Plan(2, 0.05, warmup=1), tmp_path)
    with pytest.raises(Failed, match=r"was started with rate 0\.05; resume it with that"):
        train.fit(network(), "linear", error, make, Plan(4, 0.1, warmup=1), tmp_path)
    with pytest.raises(Failed, match=r"was started with options ''; resume"):
        train.fit(network(), "linear", error, make, Plan(4, 0.05, warmup=1, options="--batch 8"), tmp_path)
    train.fit(network(), "linear", error, make, Plan(4, 0.05, warmup=2), tmp_path)  # it may grow with the steps
    assert len(rows(tmp_path)) == 4


class Touch:
    """What a pickle that is read without care does: here it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.file), "w")


@pytest.mark.parametrize("kind", ["missing", "cut off", "text", "code", "nobody's"])
def test_what_is_no_checkpoint_is_said_and_runs_no_code(tmp_path: Path, kind: str) -> None:
    file, touched = tmp_path / "checkpoint.pt", tmp_path / "touched"
    checkpoint.save_checkpoint(file, "linear", {"step": 1})
    if kind == "missing":
        file.unlink()
    elif kind == "code":
        file.write_bytes(pickle.dumps(Touch(touched)))
    elif kind == "nobody's":
        torch.save({"step": 1}, file)
    else:
        file.write_bytes(file.read_bytes()[:-200] if kind == "cut off" else b"a letter")
    with pytest.raises(Failed, match="is not there; give" if kind == "missing" else "is no checkpoint of this program"):
        checkpoint.load_checkpoint(file, "linear")
    assert not touched.exists()


def test_the_rate_rises_to_its_height_and_falls_to_a_hundredth() -> None:
    plan = Plan(110, 1.0, warmup=10)
    shares = [plan.share(step) for step in range(111)]
    assert shares[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert shares[60] == pytest.approx((1 + 0.01) / 2)
    assert shares[110] == pytest.approx(0.01)
    assert all(a >= b for a, b in pairwise(shares[9:]))


def test_old_layers_learn_at_a_share_of_the_rate_and_frozen_ones_not_at_all(tmp_path: Path) -> None:
    module = network()
    for parameter in module[1].parameters():  # type: ignore[index]
        parameter.requires_grad = False
    groups = train.groups(module, 0.05, ["0."], slow=0.0)
    assert sorted((group["share"], "weight_decay" in group) for group in groups) == [
        (0.0, False),
        (0.0, True),
        (1.0, False),
        (1.0, True),
    ]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    after = train.fit(module, "linear", error, make, PLAN, tmp_path, parameters=groups).state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert not moved & {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert {"3.weight", "3.bias"} <= moved


def test_averaged_weights_are_those_that_come_back(tmp_path: Path) -> None:
    averaged = Averaged(module := nn.Linear(1, 1, bias=False), 0.9)
    with torch.no_grad():
        start = module.weight.item()
        module.weight.fill_(start + 1)
    averaged.update(module, 1000)
    assert averaged.state["weight"].item() == pytest.approx(start + 0.1, abs=1e-5)
    averaged.update(module, 0)  # the first steps count for more: nine tenths
    assert averaged.state["weight"].item() == pytest.approx(start + 0.1 + 0.9 * 0.9, abs=1e-5)
    trained = train.fit(network(), "linear", error, make, PLAN, tmp_path)
    state = checkpoint.load_checkpoint(tmp_path / checkpoint.CHECKPOINT, "linear")
    assert json.loads(state["plan"])["rate"] == PLAN.rate
    assert torch.equal(trained.state_dict()["0.weight"], state["averaged"]["0.weight"])
    assert not torch.equal(trained.state_dict()["0.weight"], state["module"]["0.weight"])


def test_a_gradient_that_is_no_number_stops_the_run_before_the_checkpoint_is_lost(tmp_path: Path) -> None:
    seen: list[Pair] = []

    def loss(module: nn.Module, batch: Pair) -> train.Losses:
        seen.append(batch)
        square = error(module, batch)["square"]
        return {"square": square + (0 * square).sqrt() if len(seen) == 8 else square}  # the root's slope at 0

    with pytest.raises(Failed, match=r"at step 7 the loss \(gradient\) is not a number; .* is of step 4"):
        train.fit(network(), "linear", loss, make, PLAN, tmp_path)
    state = checkpoint.load_checkpoint(tmp_path / checkpoint.CHECKPOINT, "linear")
    assert all(torch.isfinite(weights).all() for weights in state["module"].values())


def test_a_resumed_run_drops_out_what_one_without_a_stop_does(tmp_path: Path) -> None:
    def dropping() -> nn.Module:
        return nn.Sequential(network(), nn.Dropout(0.5), nn.Linear(1, 1))

    torch.manual_seed(2)
    whole, parts = dropping(), dropping()
    parts.load_state_dict(whole.state_dict())
    start = {name: value.clone() for name, value in whole.state_dict().items()}
    train.fit(whole, "dropping", error, make, PLAN, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train.fit(parts, "dropping", stopping(6), make, PLAN, tmp_path / "parts")  # type: ignore[arg-type]
    parts.load_state_dict(start)
    train.fit(parts, "dropping", error, make, PLAN, tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
