"""Is it a live face: MiniFASNet's real weights, our network learning, ISO 30107-3 rates, the stage's crops."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export import feed, parity
from export.chips import read_image
from export.detector import Detector
from export.feed import FINDER
from export.liveness.live_folders import FRAMES, context, faces, pictures, presentations, presented, stacked
from export.liveness.passive import Passive, liveness_to_onnx, minifasnet_to_onnx
from export.liveness.presentation import rate, rates, report, score_folder, threshold_at
from export.liveness.simulate import MARK, simulate
from export.liveness.train_liveness import fit, is_held_out, read, scores, split
from export.models.liveness import CONTEXTS, Live, Liveness
from export.models.minifasnet import minifasnet
from export.packages import Failed
from export.run import Plan
from export.to_onnx import save
from stages import liveness as stage

Image = NDArray[np.uint8]
CLIP = Path(__file__).resolve().parents[2] / "samples" / "gate.mp4"
WEIGHTS = ("2.7_80x80_MiniFASNetV2.pth", "4_0_0_80x80_MiniFASNetV1SE.pth")
SPOOF = {"image_T1.jpg": True, "image_F1.jpg": False, "image_F2.jpg": False}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def minifasnets(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("minifasnet")
    files = [folder / f"{Path(name).stem}.onnx" for name in WEIGHTS]
    for name, file in zip(WEIGHTS, files, strict=True):
        save(minifasnet_to_onnx(shared / "weights" / name), file)
    return files


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(FINDER, 384, 640)


@pytest.mark.parametrize("index", [0, 1])
def test_minifasnet_is_the_same_in_torch_and_onnx_runtime(
    index: int, shared: Path, minifasnets: list[Path], astronaut: Image
) -> None:
    module, times = minifasnet(torch.load(shared / "weights" / WEIGHTS[index], map_location="cpu", weights_only=True))
    assert times == Passive(minifasnets[index]).contexts[0]
    parts = [cv2.resize(astronaut[y : y + 200, x : x + 200], (80, 80)) for x in (0, 150, 300) for y in (0, 150, 300)]
    images = np.ascontiguousarray(np.stack(parts).transpose(0, 3, 1, 2), np.float32)
    found = parity.check(module, minifasnets[index], images)
    assert found.max_abs <= 1e-4
    assert found.cosine >= 0.99999


def test_minifasnet_tells_the_real_live_face_from_the_real_attacks(
    shared: Path, minifasnets: list[Path], detector: Detector
) -> None:
    """In export's own code and in the stage, which agree."""
    passive = stage.Passive(stage.PassiveConfig(models=tuple(map(str, minifasnets)), provider="cpu"))
    assert passive.threshold == 0.5
    for name, is_live in SPOOF.items():
        image = read_image(shared / "photos" / "spoof" / name)
        face = faces(image, detector)[0]
        (score,) = passive(image, face.box[None])
        assert (score >= 0.5) == is_live
        assert score > 0.99 or score < 0.4
        assert score == pytest.approx(np.mean([Passive(file)(image, face.box) for file in minifasnets]), abs=1e-5)


def test_other_weights_are_no_minifasnet(tmp_path: Path) -> None:
    torch.save(Liveness().state_dict(), tmp_path / "ours.pth")
    with pytest.raises(Failed, match=r"ours\.pth is no state dict of MiniFASNetV2 or V1SE"):
        minifasnet_to_onnx(tmp_path / "ours.pth")
    with pytest.raises(Failed, match=r"missing\.pth is no state dict"):
        minifasnet_to_onnx(tmp_path / "missing.pth")


def test_a_file_that_is_no_liveness_network() -> None:
    with pytest.raises(Failed, match="layout 'centerface', not liveness or minifasnet"):
        Passive(FINDER)


@pytest.mark.parametrize("times", CONTEXTS)
def test_training_and_the_stage_cut_the_same_crops(times: float, astronaut: Image) -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        corner, size = random.uniform(-20, 400, 2), random.uniform(20, 300, 2)
        box = np.concatenate([corner, corner + size]).astype(np.float32)
        np.testing.assert_array_equal(context(astronaut, box, times), stage.context(astronaut, box, times))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Liveness, Path]:
    torch.manual_seed(4)
    module, file = Liveness(8).eval(), tmp_path_factory.mktemp("untrained") / "liveness.onnx"
    save(liveness_to_onnx(module, 0.25, "nowhere", "CC0-1.0"), file)
    return module, file


def test_our_file_says_what_the_module_says_and_the_stage_reads_it(
    untrained: tuple[Liveness, Path], astronaut: Image, detector: Detector
) -> None:
    module, file = untrained
    images = np.random.default_rng(0).uniform(-1, 1, (5, 3, 160, 80)).astype(np.float32)
    assert parity.check(Live(module).eval(), file, images).max_abs <= 1e-5
    passive = stage.Passive(stage.PassiveConfig(models=(str(file),), provider="cpu"))
    assert passive.threshold == 0.25
    box = faces(astronaut, detector)[0].box
    assert passive(astronaut, box[None])[0] == pytest.approx(Passive(file)(astronaut, box), abs=1e-5)


def test_exact_bounds_are_those_of_the_tables() -> None:
    """Clopper and Pearson at 95%: from the quantiles of the beta distribution."""
    for wrong, count, low, high in ((0, 10, 0, 0.3085), (2, 2, 0.1581, 1), (5, 20, 0.0866, 0.4910), (0, 2, 0, 0.8419)):
        found = rate(wrong, count)
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert rate(3, 3000).high == pytest.approx(0.00292, abs=1e-4)


def test_rates_by_species_and_the_worst_one_is_the_headline() -> None:
    given = np.array([0.9, 0.8, 0.3, np.nan, 0.6, 0.1, 0.1, 0.2, 0.7, 0.6, 0.1, np.nan])
    species = ["live"] * 4 + ["print"] * 4 + ["replay"] * 4
    found = rates(given, species, 0.5)
    assert found.bpcer.value == pytest.approx(1 / 3)
    assert {name: one.value for name, one in found.apcer.items()} == {"print": 0.25, "replay": pytest.approx(2 / 3)}
    assert found.worst == "replay"
    assert found.unanswered == {"live": 1, "print": 0, "replay": 1}
    assert found.acer is not None
    assert found.acer.value == pytest.approx(0.5)
    assert found.acer.low < (found.apcer["replay"].low + found.bpcer.low) / 2  # wider, for both hold together


def test_a_score_at_the_threshold_passes() -> None:
    found = rates(np.array([0.5, 0.5]), ["live", "print"], 0.5)
    assert (found.bpcer.value, found.apcer["print"].value) == (0, 1)


def test_only_live_faces_have_a_bpcer_and_no_acer() -> None:
    found = rates(np.array([0.9, 0.1]), ["live", "live"], 0.5)
    assert (found.bpcer.value, found.acer, found.worst) == (0.5, None, "")


def test_a_species_without_a_face_is_not_rated_as_safe() -> None:
    with pytest.raises(Failed, match="no face was found in any presentation of print"):
        rates(np.array([0.9, np.nan]), ["live", "print"], 0.5)


@pytest.mark.parametrize("bpcer", [0.0, 0.05, 0.2])
def test_the_threshold_turns_away_no_more_than_it_may(bpcer: float) -> None:
    live = np.random.default_rng(0).uniform(size=100)
    threshold = threshold_at(live, bpcer)
    assert (live < threshold).mean() <= bpcer
    assert (live <= threshold).mean() > bpcer  # and a higher one would turn away more
    assert threshold_at(live, 1.0) == live.max()  # whoever lets all be turned away still gets a threshold


def test_real_attacks_are_reported_as_real(shared: Path, minifasnets: list[Path], tmp_path: Path) -> None:
    for name, is_live in SPOOF.items():
        folder = tmp_path / ("live" if is_live else "attack")
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes((shared / "photos" / "spoof" / name).read_bytes())
    text, figures = report(minifasnets[0], tmp_path, also=minifasnets[1:])
    assert figures["kind"] == "presentations before a camera"
    assert "3 presentations before a camera" in text
    assert "| APCER attack (worst) | 0.000 [0.000, 0.842] (0 of 2) |" in text
    assert figures["worst"] == "attack"


def folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir()
    return root


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="nowhere is no folder"):
        presentations(tmp_path / "nowhere")
    with pytest.raises(Failed, match="has no folder live/; put photos or videos of live faces there"):
        presentations(folders(tmp_path, "print"))
    with pytest.raises(Failed, match="live has no photo and no video in it"):
        presentations(folders(tmp_path, "live"))


def test_only_live_faces_teach_nothing(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="has only live/; put attacks into print/"):
        presentations(folders(tmp_path, "live"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name, sentence in (("a.jpg", "is not an image"), ("a.mp4", "is not a video")):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(Failed, match=rf"{name} {sentence} that OpenCV can read"):
            pictures(tmp_path / name)


def test_quantizing_shows_a_network_the_crops_that_it_is_for(portraits: Path) -> None:
    model = liveness_to_onnx(Liveness(4).eval(), 0.5, "a test", "none")
    photo = portraits / "astronaut.png"
    (crop,) = feed.pictures(model, [photo], 160, 80)
    (face,) = faces(read_image(photo), Detector(feed.FINDER, 384, 640))
    np.testing.assert_array_equal(crop, stacked(face.image, face.box, CONTEXTS))
    with pytest.raises(Failed, match="there is no face of 36 px or more in these photos"):
        feed.pictures(model, [portraits / "gravel.png"], 160, 80)


def test_a_photo_without_a_face_is_named(tmp_path: Path) -> None:
    folders(tmp_path, "live", "print")
    for folder in ("live", "print"):
        cv2.imwrite(str(tmp_path / folder / "wall.png"), np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(Failed, match=r"take them out of the folder:\n.*live/wall\.png\n.*print/wall\.png"):
        read(presentations(tmp_path), 1, 0)
    with pytest.raises(Failed, match="too few different people"):
        split(presentations(tmp_path))


def test_a_video_is_one_presentation_of_several_pictures(detector: Detector) -> None:
    """Nobody is in view where the clip begins and where it ends."""
    assert len(pictures(CLIP)) == FRAMES
    assert 0 < len(list(presented(CLIP, detector))) < FRAMES


@pytest.fixture(scope="module")
def simulated(portraits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Up to 20 of each species, of two women, of whom one is held out."""
    folder = tmp_path_factory.mktemp("simulated") / "data"
    simulate(portraits, folder, 20, 1)
    return folder


def test_simulated_attacks_are_reported_as_simulated(
    simulated: Path, untrained: tuple[Liveness, Path], tmp_path: Path
) -> None:
    for species in ("live", "print"):
        (tmp_path / species).mkdir()
        file = min((simulated / species).iterdir())
        (tmp_path / species / file.name).write_bytes(file.read_bytes())
    (tmp_path / MARK).write_bytes((simulated / MARK).read_bytes())
    text, figures = report(untrained[1], tmp_path, threshold=0.0)
    assert "2 simulated presentations" in text
    assert figures["acer"]["value"] == 0.5  # all pass


def test_no_group_is_on_both_sides(simulated: Path) -> None:
    kept, held = split(presentations(simulated))
    assert {one.group for one in kept}.isdisjoint(one.group for one in held)
    assert all(is_held_out(one.group) for one in held)
    assert {one.species for one in held} == {"live", "print", "replay", "cutout"}


def test_training_learns_to_tell_simulated_attacks_that_it_never_saw(
    simulated: Path, portraits: Path, tmp_path: Path
) -> None:
    """Of people whom it saw: to tell those of others takes more people and more steps than a test has."""
    plan = Plan(80, 3e-3, warmup=10, ema=0.95)
    module, found = fit(simulated, tmp_path, plan, 0.2, 8)
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    losses = [float(row[rows[0].index("entropy")]) for row in rows[1:]]
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])
    simulate(portraits, tmp_path / "others", 12, 2)
    seen = {one.group for one in split(presentations(simulated))[0]}
    others = read([one for one in presentations(tmp_path / "others") if one.group in seen], 1, 0)
    right = scores(module, others.crops[:, 0])
    live = others.species == "live"
    assert (right[live][:, None] > right[~live]).mean() > 0.8  # of pairs of a live one and an attack; chance is a half
    file = tmp_path / "liveness.onnx"
    save(liveness_to_onnx(module, found.threshold, "a test", "CC0-1.0"), file)
    found_scores, species, files = score_folder(file, simulated)
    assert len(found_scores) == len(files) == len(list(simulated.rglob("*.jpg")))
    live = np.array(species) == "live"
    assert found_scores[live].mean() > found_scores[~live].mean() + 0.1
