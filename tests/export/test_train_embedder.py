"""A whole training of an embedder: it learns, comes out the same again, goes on where it stopped, and is exported."""

import argparse
import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from export import train
from export.detector import Image
from export.embedding import embedder_mining, embedder_rating, face_folders, siamese, train_embedder, verification
from export.embedding.embedder_batches import Batches, small, varied
from export.embedding.embedder_lookalikes import SIDE, lookalikes
from export.embedding.embedder_mining import first_step
from export.embedding.embedder_rating import Rating
from export.embedding.face_folders import People
from export.models.embedder import SmallEmbedder, warm_start
from export.packages import Failed
from export.parity import compare
from export.parity import run as run_onnx
from export.run import LOG, Plan
from stages.embed import Embedder, EmbedderConfig

MODELS = Path(__file__).resolve().parents[2] / "models"


def arguments(out: Path, *more: str) -> argparse.Namespace:
    """Those of `train embedder`."""
    parser = argparse.ArgumentParser()
    train_embedder.add(parser.add_subparsers())
    return parser.parse_args(["embedder", "data", "-o", str(out), "--people", "10", "--photos", "3", *more])


def trained(folder: Path, steps: int, *more: str, save_every: int = 100) -> SmallEmbedder:
    """The network after a training on patterns, in eval mode."""
    kept, held = face_folders.split(lookalikes(24, 1, 5))
    chosen = arguments(folder, *more)
    module = train_embedder.build("small", "nothing", 0)
    assert isinstance(module, SmallEmbedder)
    torch.manual_seed(0)
    learner = siamese.Learner(module, siamese.head(chosen.loss, chosen.mining, 24 - 7))
    plan = Plan(steps, 2e-3, warmup=5, ema=0.9, save_every=save_every)
    train_embedder.fit(learner, kept, held, chosen, plan, folder)
    return module


def log(folder: Path) -> list[dict[str, str]]:
    with (folder / LOG).open(newline="") as stream:
        return list(csv.DictReader(stream))


def photo_folder(root: Path, astronaut: Image, photos: dict[str, int]) -> Path:
    """Folders of people with so many photos each; all are of one face, in other light, in frames of their own."""
    for who, (name, count) in enumerate(photos.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            picture = cv2.convertScaleAbs(astronaut[:300, 80:380], alpha=1 - 0.05 * index, beta=6 * who)
            cv2.imwrite(str(root / name / f"{index}.png"), picture)
    return root


def named(**photos: int) -> People:
    """People with so many photos each, all black."""
    names = np.repeat(list(photos), list(photos.values()))
    return People(np.zeros((len(names), 8, 8, 3), np.uint8), names)


@pytest.mark.parametrize("loss", siamese.LOSSES)
def test_the_loss_falls_and_people_it_never_saw_are_told_apart(tmp_path: Path, loss: str) -> None:
    _, held = face_folders.split(lookalikes(24, 1, 5))
    before = embedder_rating.rate(train_embedder.build("small", "nothing", 0).eval(), held)
    module = trained(tmp_path, 60, "--loss", loss)
    rows = log(tmp_path)
    column = next(name for name in ("triplet", "entropy", "arcface") if name in rows[0])
    losses = [float(row[column]) for row in rows]
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    after = embedder_rating.rate(module, held)
    assert embedder_rating.area(after.clear) > max(0.7, embedder_rating.area(before.clear))
    assert after.one_shot > 2 / 7  # chance is a seventh


def test_the_same_seed_gives_the_same_network_and_a_resumed_run_the_one_of_a_run_without_a_stop(tmp_path: Path) -> None:
    whole = trained(tmp_path / "a", 6, "--mining", "random").state_dict()
    again = trained(tmp_path / "b", 6, "--mining", "random").state_dict()
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "c")
    assert len(log(tmp_path / "c")) == 3
    resumed = trained(tmp_path / "c", 6, "--mining", "random").state_dict()
    for name, value in whole.items():
        assert torch.equal(value, again[name])
        assert torch.equal(value, resumed[name])


def stopped(folder: Path) -> None:
    """A run that is stopped behind its checkpoint of step 3."""
    seen = []

    def interrupted(module: torch.nn.Module, batch: object) -> train.Losses:
        seen.append(batch)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return plain(module, batch)  # type: ignore[arg-type]

    plain = siamese.loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(siamese, "loss", interrupted)
        trained(folder, 6, "--mining", "random", save_every=3)


def test_a_checkpoint_of_another_loss_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, 1)
    with pytest.raises(Failed, match=r"holds embedder .*triplet.* not embedder .*arcface"):
        trained(tmp_path, 1, "--loss", "arcface")


def test_the_runtime_loads_the_exported_file_and_computes_the_same(tmp_path: Path, astronaut: Image) -> None:
    module = SmallEmbedder().eval()
    file, chosen = tmp_path / "embedder.onnx", arguments(tmp_path, "--licence", "CC0-1.0", "--origin", "a test")
    held = People(np.random.default_rng(0).integers(0, 256, (8, 150, 150, 3), np.uint8), np.repeat([*"abcd"], 2))
    rating = embedder_rating.rate(module, held)
    sha256 = train_embedder.to_onnx(module, file, rating, chosen)
    assert sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    said = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert (said["framewire.layout"], said["framewire.align"], said["framewire.licence"]) == (
        "embedder",
        "dlib",
        "CC0-1.0",
    )
    embedder = Embedder(EmbedderConfig(model=str(file)))
    assert embedder.threshold == pytest.approx(embedder_rating.threshold(rating.clear))
    assert np.abs(embedder(held.chips) - embedder_rating.embedded(module, held.chips)).max() < 1e-4


def test_the_small_network_takes_both_sizes() -> None:
    module = SmallEmbedder().eval()
    for side in (112, 150):
        assert module(torch.zeros(2, 3, side, side)).shape == (2, 128)


def test_the_warm_start_is_the_network_that_ships() -> None:
    pixels = np.random.default_rng(0).normal(0, 0.3, (2, 3, 150, 150)).astype(np.float32)
    with torch.inference_mode():
        expected = warm_start(MODELS / "dlib_face.onnx")(torch.from_numpy(pixels)).numpy()
    assert compare([expected], run_onnx(MODELS / "dlib_face.onnx", pixels)).max_abs < 1e-3


@pytest.mark.parametrize(("content", "said"), [("centerface", "is not dlib's face network"), ("text", "ONNX")])
def test_another_file_is_no_warm_start(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "text.onnx").write_text("nothing of the sort")
    with pytest.raises(Failed, match=said):
        warm_start((MODELS if content == "centerface" else tmp_path) / f"{content}.onnx")


def test_freezing_leaves_the_last_layer_to_learn_and_a_low_rate_the_backbone() -> None:
    frozen = siamese.Learner(train_embedder.build("dlib_face", "backbone", 0), siamese.Triplets("random"))
    learning = [name for name, parameter in frozen.named_parameters() if parameter.requires_grad]
    assert learning == ["embedder.embedding.weight", "embedder.embedding.bias"]
    free = siamese.Learner(train_embedder.build("dlib_face", "nothing", 0), siamese.ArcFace(3))
    groups = train.groups(free, 1e-3, train_embedder.backbone(free), 0.1)
    fast = [parameter for group in groups if group["share"] == 1 for parameter in group["params"]]
    assert {id(p) for p in fast} == {id(p) for p in [*free.head.parameters(), *free.embedder.embedding.parameters()]}


@pytest.mark.parametrize("words", [["--freeze", "backbone"], ["--slow", "0.1"]], ids=["frozen", "low rate"])
def test_fine_tuning_learns_and_the_backbone_stays_or_moves_slowly(tmp_path: Path, words: list[str]) -> None:
    patterns = lookalikes(9, 1, 3, 5)
    people = People(np.stack([cv2.resize(chip, (150, 150)) for chip in patterns.chips]), patterns.names)
    kept, held = face_folders.split(people)
    chosen = arguments(tmp_path, "--network", "dlib_face", "--people", "6", "--photos", "2", *words)
    module = train_embedder.build("dlib_face", chosen.freeze, 0)
    learner = siamese.Learner(module, siamese.head(chosen.loss, chosen.mining, 6))
    fresh = Batches(kept, 6, 3)(np.random.default_rng(99))
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    with torch.no_grad():
        first = float(siamese.loss(learner, fresh)["triplet"])
    plan = Plan(8, 3e-5, warmup=1, ema=0.5)  # at 1e-3 patterns, which are no faces, soon all lie in one point
    train_embedder.fit(learner, kept, held, chosen, plan, tmp_path)
    with torch.no_grad():
        last = float(siamese.loss(learner, fresh)["triplet"])
    assert last < 0.9 * first
    moved = {name: float((value.detach() - before[name]).abs().mean()) for name, value in module.named_parameters()}
    assert moved["embedding.weight"] > 0
    backbone = {name: far for name, far in moved.items() if not name.startswith("embedding.")}
    if chosen.freeze == "backbone":
        assert all(torch.equal(value, before[name]) for name, value in module.named_parameters() if name in backbone)
    else:
        weights = [far for name, far in backbone.items() if name.endswith("weight")]
        assert 0 < min(weights) <= max(weights) < 0.3 * moved["embedding.weight"]


def test_freezing_a_network_from_scratch_is_refused() -> None:
    with pytest.raises(Failed, match="nothing to keep"):
        train_embedder.build("small", "backbone", 0)


def test_nobody_is_both_learnt_from_and_held_out_and_the_split_is_by_name() -> None:
    people = named(**{f"p{index}": 2 + index % 3 for index in range(10)}, **{f"s{index}": 1 for index in range(10)})
    kept, held = face_folders.split(people)
    assert len(set(kept.names)) == len(set(held.names)) + 8 == 14
    assert not set(kept.names) & set(held.names)
    assert len(held.with_pairs()) == 3
    order = np.random.default_rng(0).permutation(len(people.names))
    _, again = face_folders.split(People(people.chips[order], people.names[order]))
    assert set(again.names) == set(held.names)


@pytest.mark.parametrize(
    ("photos", "said"),
    [
        ({"a": 5}, "all photos are of one person, a;"),
        ({"a": 1, "b": 1, "c": 1}, "0 of 3 people have two photos or more"),
        ({"a": 2, "b": 2, "c": 1}, "which leaves 1 to learn from"),
    ],
)
def test_too_few_people_or_photos_is_said(photos: dict[str, int], said: str) -> None:
    with pytest.raises(Failed, match=said):
        face_folders.split(named(**photos))


def test_one_photo_a_person_is_enough_for_arcface_alone() -> None:
    kept, _ = face_folders.split(named(a=2, b=2, c=1, d=1, e=1))
    with pytest.raises(Failed, match=r"--loss triplet .* 0 of the 2 people .* --loss arcface"):
        face_folders.need_pairs(kept, "triplet")


@pytest.mark.parametrize("kind", ["missing", "empty", "folders"])
def test_a_folder_without_photos_is_said(tmp_path: Path, kind: str) -> None:
    data = tmp_path / kind
    if kind != "missing":
        (data / ("ann" if kind == "folders" else "")).mkdir(parents=True)
    with pytest.raises(Failed, match="give one that has a folder" if kind == "missing" else r"PERSON/PHOTO\.jpg"):
        face_folders.read(data)


def test_photos_that_cannot_be_used_are_named_and_counted(
    tmp_path: Path, astronaut: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    photo_folder(tmp_path, astronaut, {"ann": 1})
    (tmp_path / "ann" / "broken.jpg").write_bytes(b"no photo")
    cv2.imwrite(str(tmp_path / "ann" / "sky.png"), np.full((100, 100, 3), 200, np.uint8))
    found = face_folders.read(tmp_path)
    assert found.chips.shape == (1, 150, 150, 3)
    said = capsys.readouterr().out
    assert "2 of 3 photos are left out" in said
    assert "ann/broken.jpg: it cannot be read as an image" in said
    assert "ann/sky.png: no face is found in it" in said


def test_no_face_anywhere_is_said(tmp_path: Path) -> None:
    (tmp_path / "sky").mkdir()
    cv2.imwrite(str(tmp_path / "sky" / "1.png"), np.full((100, 100, 3), 200, np.uint8))
    with pytest.raises(Failed, match="no photo with a face"):
        face_folders.read(tmp_path)


def test_the_command_ends_with_a_model_and_a_report(
    tmp_path: Path, astronaut: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    data = photo_folder(tmp_path / "data", astronaut, {"ann": 2, "bob": 2, "cem": 2, "dan": 2})
    chosen = arguments(tmp_path / "out", "--steps", "2")
    chosen.data = data
    chosen.run(chosen)
    assert {"embedder.onnx", "report.md", "report.json", "roc.png", "log.csv", "checkpoint.pt"} == {
        file.name for file in (tmp_path / "out").iterdir()
    }
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| before | clear |" in text
    assert "TAR gained at FAR 0.01" in text
    *_, last = capsys.readouterr().out.splitlines()
    assert all(str(tmp_path / "out" / name) in last for name in ("embedder.onnx", "checkpoint.pt", "log.csv"))


def test_the_mining_report_compares_all_minings_from_the_same_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder_mining, "MADE_UP", (8, 2, 3))
    parser = argparse.ArgumentParser()
    embedder_mining.add(parser.add_subparsers())
    words = ["mining-report", "-o", str(tmp_path), "--steps", "10", "--seeds", "1", "--people", "4", "--photos", "3"]
    chosen = parser.parse_args(words)
    chosen.run(chosen)
    with (tmp_path / "mining.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["mining"] for row in rows} == set(siamese.MININGS)
    assert len(rows) == 3 * embedder_mining.POINTS
    assert (tmp_path / "mining.png").exists()
    assert "| random |" in (tmp_path / "report.md").read_text()
    chosen.steps = 15
    with pytest.raises(Failed, match="multiple"):
        chosen.run(chosen)


def test_batches_are_of_p_people_and_k_photos_and_follow_from_the_generator() -> None:
    people = lookalikes(5, 1, 3)
    batches = Batches(people, 4, 6)
    batch, again = (batches(np.random.default_rng(3)) for _ in range(2))
    assert batch.images.shape == (24, 3, SIDE, SIDE)
    assert sorted(torch.bincount(batch.people).tolist())[-4:] == [6] * 4
    assert torch.equal(batch.images, again.images)
    assert torch.equal(batch.lots, again.lots)
    assert not torch.equal(batch.images, batches(np.random.default_rng(4)).images)


def test_a_small_chip_has_lost_what_is_fine_and_kept_what_is_coarse() -> None:
    stripes = np.zeros((150, 150, 3), np.uint8)
    stripes[::2] = 200
    assert np.abs(small(stripes, 25).astype(int) - 100).max() <= 1
    halves = np.zeros((150, 150, 3), np.uint8)
    halves[75:] = 200
    assert small(halves, 25)[[10, 140], 75].tolist() == [[0] * 3, [200] * 3]
    assert varied(halves, np.random.default_rng(0)).shape == halves.shape


def test_what_is_gained_has_the_sign_of_a_gain() -> None:
    random, names = np.random.default_rng(0), [f"person {index // 3}" for index in range(60)]
    people = random.normal(size=(20, 16))[np.arange(60) // 3]
    noisy = (people + random.normal(size=(60, 16)) * 0.9).astype(np.float32)
    bad, good = (
        Rating(found, found, 0.5, 0.5)
        for found in (verification.pairs(names, one) for one in (noisy, (noisy + people).astype(np.float32)))
    )
    gained = embedder_rating.gained(bad, good).splitlines()
    assert gained[2].startswith("| clear | +0.")
    assert embedder_rating.gained(good, bad).splitlines()[2].startswith("| clear | -0.")


def test_one_shot_identification_counts_nearest_names() -> None:
    names = np.array(["a", "a", "b", "b"])
    unit: NDArray[np.float32] = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], np.float32)
    assert embedder_rating.one_shot(names, unit, unit) == 1
    assert embedder_rating.one_shot(names, unit, unit[::-1].copy()) == 0


def test_the_first_step_that_is_good_enough() -> None:
    steps, figures = np.array([10.0, 20.0, 30.0]), np.array([0.5, 0.7, 0.6])
    assert first_step(steps, figures, 0.6) == 20
    assert first_step(steps, figures, 0.8) is None


@pytest.mark.parametrize(
    ("loss", "size"),
    [("triplet", ["4", "1"]), ("siamese", ["1", "4"]), ("arcface", ["4", "0"]), ("triplet", ["0", "4"])],
)
def test_a_batch_without_pairs_is_refused_before_a_photo_is_read(tmp_path: Path, loss: str, size: list[str]) -> None:
    chosen = arguments(tmp_path, "--loss", loss, "--people", size[0], "--photos", size[1])
    with pytest.raises(Failed, match=rf"--people {size[0]} --photos {size[1]} makes no pairs; --loss {loss} needs"):
        chosen.run(chosen)
    assert not list(tmp_path.iterdir())
