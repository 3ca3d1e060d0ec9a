"""From a rate to a threshold: does it hold on faces that it has not seen, and does it know what it cannot know?"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Literal

import cv2
import msgspec
import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from stages.detect import DetectConfig
from stages.enrolment.commands import enroll
from stages.gallery.enrol import Enrol, EnrolConfig
from stages.gallery.store import Store
from stages.gate import calibration
from stages.gate.calibrate import calibrate, measure, roomless, told
from stages.gate.comparisons import Comparisons
from stages.gate.config import GateConfig
from stages.gate.curves import det
from stages.gate.settings import GateSettings, completed

MODEL = "embedder:0123"
DETECTOR = "detector:4567"
app = typer.Typer()
app.command()(calibrate)


def crowd(people: int, photos: int, spread: float, seed: int, size: int = 16) -> list[NDArray[np.float32]]:
    """Made-up people, (photos, size) of unit length each: a direction, and `spread` around it."""
    random = np.random.default_rng(seed)
    middles = random.normal(size=(people, 1, size))
    faces = middles / np.linalg.norm(middles, axis=-1, keepdims=True)
    faces = faces + spread * random.normal(size=(people, photos, size)) / np.sqrt(size)
    return list((faces / np.linalg.norm(faces, axis=-1, keepdims=True)).astype(np.float32))


def test_comparisons_are_those_of_a_plain_loop() -> None:
    people = [faces[:count] for faces, count in zip(crowd(5, 4, 0.5, 1), (4, 1, 2, 3, 1), strict=True)]
    found = Comparisons.of(people)
    genuine, impostor = [], []
    for one, mine in enumerate(people):
        for place, face in enumerate(mine):
            rest = np.delete(mine, place, axis=0)
            if len(rest):
                genuine.append(float((rest @ face).max()))
            impostor += [float(theirs @ face) for other in people[one + 1 :] for theirs in other]
    np.testing.assert_allclose(np.sort(found.genuine), np.sort(genuine), atol=1e-6)
    np.testing.assert_allclose(np.sort(found.impostor), np.sort(impostor), atol=1e-6)
    threshold = 0.3
    assert found.far(threshold).value == pytest.approx(np.mean(np.array(impostor) >= threshold))
    assert found.tar(threshold).value == pytest.approx(np.mean(np.array(genuine) >= threshold))


def test_the_same_photo_twice_of_a_person_is_no_true_accept() -> None:
    people = crowd(5, 2, 0.5, 1)
    assert len(Comparisons.of([np.concatenate([rows, rows]) for rows in people]).genuine) == 10
    np.testing.assert_array_equal(
        Comparisons.of([np.concatenate([rows, rows]) for rows in people]).impostor, Comparisons.of(people).impostor
    )


def test_the_most_alike_are_pairs_of_people_however_many_photos_they_have() -> None:
    alike = crowd(1, 20, 0.1, 1)[0]
    found = Comparisons.of([alike[:10], alike[10:], *crowd(4, 10, 0.1, 2)]).nearest(3)
    assert found == sorted(found, reverse=True)
    assert found[0][1:] == (0, 1)
    assert len({(one, other) for _, one, other in found}) == 3


@pytest.mark.parametrize("photos", [1, 3, 10, 20])
@pytest.mark.parametrize("strangers", [400, 60])
def test_a_passage_keeps_its_rate_however_many_photos_the_enrolled_have(photos: int, strangers: int) -> None:
    """Strangers of a photo or two each, which is what a site has, and none of them comes to the door."""
    gallery = crowd(5, photos, 0.7, 1, size=24)
    compared = Comparisons.of([*gallery, *crowd(strangers, 2, 0.7, 2, size=24)])
    far = max(0.05, 1.01 * compared.smallest_rate() * 8 / 2 * 5 * photos)
    found = measure(compared, 5 * photos, far, "1:N", 8, MODEL, DETECTOR)
    faces = np.concatenate(crowd(4000, 8, 0.7, 3, size=24))
    recognized = [((faces @ rows.T).max(axis=1) >= found.threshold).reshape(-1, 8).sum(axis=1) >= 2 for rows in gallery]
    assert np.any(recognized, axis=0).mean() <= far


@pytest.mark.parametrize("rate", [0.02, 0.002])
def test_a_threshold_keeps_its_rate_on_people_it_has_not_seen(rate: float) -> None:
    threshold = Comparisons.of(crowd(200, 2, 0.5, seed=1)).threshold(rate)
    seen, unseen = (Comparisons.of(crowd(200, 2, 0.5, seed)).far(threshold) for seed in (1, 2))
    assert seen.value <= rate
    assert unseen.value == pytest.approx(rate, rel=0.6)
    assert unseen.low <= rate <= 2 * unseen.high


def test_people_hang_together_and_the_bounds_know_it() -> None:
    """Ten of 60 people look alike: hundreds of comparisons, and all because of ten people."""
    faces = crowd(60, 2, 0.3, 3, size=64)
    alike = [(faces[0] + 0.4 * one).astype(np.float32) for one in faces[:10]]
    found = Comparisons.of([row / np.linalg.norm(row, axis=1, keepdims=True) for row in (*alike, *faces[10:])])
    rate = found.far(0.6)
    pairs = 1.96 * np.sqrt(rate.value * (1 - rate.value) / len(found.impostor))
    assert rate.high - rate.low > 4 * 2 * pairs


def test_what_the_data_cannot_support_is_refused_with_what_they_can() -> None:
    compared = Comparisons.of(crowd(40, 2, 0.5, 1))
    with pytest.raises(Failed, match="cannot support a false accept rate of 1e-06") as caught:
        measure(compared, 2, 1e-6, "1:N", 8, MODEL, DETECTOR)
    smallest = float(str(caught.value).split("the smallest rate that they support is ")[1].split(":")[0])
    assert measure(compared, 2, smallest * 1.1, "1:N", 8, MODEL, DETECTOR).far == smallest * 1.1


def test_a_pair_of_faces_is_one_comparison() -> None:
    """Whether the first is compared with the second or the second with the first."""
    compared = Comparisons.of(crowd(40, 1, 0.5, 1))
    assert len(compared.impostor) == 40 * 39 / 2
    assert compared.smallest_rate() == pytest.approx(3 / len(compared.impostor))


def test_a_bound_above_the_rate_that_was_asked_for_is_told() -> None:
    compared = Comparisons.of(crowd(40, 2, 0.5, 1))
    found = measure(compared, 2, 0.2, "1:N", 8, MODEL, DETECTOR)
    assert found.measured_far <= found.comparison_far < found.measured_far_span[1]
    (line,) = [line for line in told(found) if "upper bound" in line]
    assert f"a passage may come to {found.measured_far_span[1] * 8 / 2 * 2:.2g}" in line
    within = msgspec.structs.replace(found, measured_far_span=(0.0, found.comparison_far))
    assert not any("upper bound" in line for line in told(within))


def test_more_photos_and_more_faces_each_ask_for_a_higher_threshold() -> None:
    compared = Comparisons.of(crowd(200, 2, 0.5, 1))

    def threshold(photos: int = 2, most: int = 8) -> float:
        found = measure(compared, photos, 0.05, "1:N", most, MODEL, DETECTOR)
        assert found.comparison_far == pytest.approx(0.05 * 2 / (most * photos))
        return found.threshold

    assert threshold(photos=20) > threshold() > threshold(photos=1)
    assert threshold(most=16) > threshold()


@pytest.mark.parametrize(("far", "needs"), [(0.05, r"a threshold of 0\.\d{3}"), (0.0021, "photos of more people")])
def test_a_calibration_for_those_who_are_enrolled_says_what_room_for_more_would_need(far: float, needs: str) -> None:
    compared = Comparisons.of(crowd(200, 2, 0.5, 1))
    said = roomless(compared, measure(compared, 10, far, "1:N", 8, MODEL, DETECTOR))
    assert re.fullmatch(f"this leaves no room: .*; --photos 20 would need {needs}", said)
    if "threshold" in said:
        assert f"{measure(compared, 20, far, '1:N', 8, MODEL, DETECTOR).threshold:.3f}" in said


def test_too_few_people_and_nobody_twice() -> None:
    for people, said in ((9, "9 people say nothing"), (1, "1 person says nothing")):
        with pytest.raises(Failed, match=said):
            measure(Comparisons.of(crowd(people, 2, 0.5, 1)), 2, 0.01, "1:N", 8, MODEL, DETECTOR)
    with pytest.raises(Failed, match="nobody has two photos"):
        measure(Comparisons.of(crowd(20, 1, 0.5, 1)), 2, 0.01, "1:N", 8, MODEL, DETECTOR)


def test_where_nobody_was_rejected_the_bound_is_of_people() -> None:
    tar = Comparisons.of(crowd(30, 2, 0.1, 1)).tar(0.5)
    assert (tar.value, tar.low) == (1, pytest.approx(0.9))


def test_a_calibration_is_kept_and_says_when_it_does_not_hold(places: Path) -> None:
    assert calibration.load(home()) is None
    found = measure(Comparisons.of(crowd(200, 2, 0.5, 1)), 20, 0.05, "1:N", 8, MODEL, DETECTOR)
    calibration.store(home(), found)
    kept = calibration.load(home())
    assert kept == found
    holds = (MODEL, DETECTOR, "1:N", 0.05, found.threshold, [10, 9, 1], 8)
    assert kept
    assert kept.objection(*holds) == ""
    assert kept.objection(MODEL, DETECTOR, "1:N", 0.1, found.threshold + 0.1, [], 4) == ""
    for place, worse in enumerate(("other", "other", "1:1", 0.01, found.threshold - 0.1, [10, 9, 2], 9)):
        changed = [*holds[:place], worse, *holds[place + 1 :]]
        assert kept.objection(*changed), changed  # type: ignore[arg-type]
    assert "embedder" in kept.objection("other", *holds[1:])
    assert "detector" in kept.objection(MODEL, "other", *holds[2:])


@pytest.mark.parametrize(
    ("mode", "enough", "too_many", "said"),
    [
        ("1:N", [3, 3], [3, 4], "for 6 photos of all people together, and 7 are enrolled"),
        ("1:1", [6, 6, 1], [1, 7], "for 6 photos of one person, and 7 are enrolled"),
    ],
)
def test_photos_that_are_added_outgrow_a_calibration(
    mode: Literal["1:N", "1:1"], enough: list[int], too_many: list[int], said: str
) -> None:
    found = measure(Comparisons.of(crowd(200, 2, 0.5, 1)), 6, 0.05, mode, 8, MODEL, DETECTOR)
    assert found.outgrown(enough) == ""
    assert found.outgrown([]) == ""
    assert said in found.outgrown(too_many)


def test_the_curve_is_drawn(places: Path) -> None:
    found = measure(Comparisons.of(crowd(200, 2, 0.7, 1)), 2, 0.05, "1:N", 8, MODEL, DETECTOR)
    far, frr = ([getattr(point, name) for point in found.curve] for name in ("far", "frr"))
    assert far == sorted(far, reverse=True)
    assert frr == sorted(frr)
    picture = det(found)
    assert picture.shape == (900, 1200, 3)
    blue = (picture == (170, 92, 30)).all(axis=2)
    assert blue.any(axis=0).sum() > 300  # the curve goes over a good part of the width


def call(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def strangers(shared: Path, tmp_path: Path) -> Path:
    """People of the photos that are not enrolled: group photos, and folders of those who are there twice."""
    photos, folder = shared / "photos", tmp_path / "strangers"
    folder.mkdir()
    for name in ("000_5", "010_2", "011_3", "012_4", "013_4", "014_5", "015_6", "016_8"):
        shutil.copy(photos / "compreface_samples" / f"{name}.jpg", folder)
    for path in sorted((photos / "dlib_faces").glob("200*.jpg")):
        shutil.copy(path, folder)
    shutil.copy(photos / "facenet_pytorch" / "multiface.jpg", folder)
    for who in ("lennon", "clapton"):
        (folder / who).mkdir()
        for path in (photos / "openface_examples").glob(f"{who}-*.jpg"):
            shutil.copy(path, folder / who)
    return folder


def test_real_photos_support_five_in_a_hundred_and_not_one_in_ten_thousand(
    places: Path, shared: Path, strangers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = shared / "photos" / "face_recognition_examples"
    enrol = Enrol(EnrolConfig())
    store = Store(home(), keys())
    for name, paths in (("Obama", ["obama.jpg", "train/obama/obama2.jpg"]), ("Biden", ["train/biden/biden2.jpg"])):
        embeddings, portraits = enrol([examples / path for path in paths])
        store.add(name, enrol.identity, embeddings, portraits)
    with pytest.raises(Failed, match=r"cannot support a false accept rate of 0\.0001"):
        call("--far", "1e-4", "--impostors", strangers)
    assert calibration.load(home()) is None

    with pytest.raises(Usage, match="3 photos are enrolled: --photos"):
        call("--far", "0.05", "--impostors", strangers, "--photos", 2)

    assert "--photos 6 would need" in call("--far", "0.1", "--impostors", strangers).output

    done = call("--far", "0.05", "--impostors", strangers, "--photos", 4, "--plot", places / "det.png")

    assert "threshold 0." in done.output
    assert "leaves no room" not in done.output
    assert "people resampled" in done.output
    assert "optimistic" in done.output
    found = calibration.load(home())
    assert found
    assert (found.model, found.photos) == (enrol.identity, 4)
    settings = completed(GateSettings(gate=GateConfig(liveness="none")), [])
    assert found.detector == settings.gate.detector
    smaller = completed(msgspec.structs.replace(settings, detect=DetectConfig(size=(192, 320))), [])
    assert found.detector != smaller.gate.detector
    assert 0.4 < found.threshold < 0.7
    assert cv2.imread(str(places / "det.png")) is not None
    enroll("Alex Lacamoire", [examples / "alex-lacamoire.png"])
    assert not capsys.readouterr().err
    enroll("Alex Lacamoire", [examples / "train" / "alex_lacamoire" / "img1.jpg"])
    warned = capsys.readouterr().err
    assert "calibrated for 4 photos of all people together, and 5 are enrolled" in warned
    assert "until then a gate opens no real door" in warned


def test_calibrating_nothing(places: Path, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="nobody is enrolled"):
        call("--impostors", tmp_path)
    Store(home(), keys()).add("Ada", Enrol(EnrolConfig()).identity, crowd(1, 2, 0.1, 1, 128)[0])
    with pytest.raises(Usage, match="there is no folder"):
        call("--impostors", tmp_path / "nothing")
    strangers = tmp_path / "strangers"
    (strangers / "somebody").mkdir(parents=True)
    (strangers / "notes.txt").touch()
    with pytest.raises(Usage, match=f"there are no photos in {strangers}: "):
        call("--impostors", strangers)


@pytest.mark.parametrize("name", ["det.xyz", "det", ".png", "det.pn\udcffg"])
def test_a_curve_that_is_no_picture_is_refused_before_anything_is_measured(
    places: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(Usage, match=r"cannot be written as a picture: give|is not UTF-8"):
        call("--impostors", tmp_path, "--plot", tmp_path / name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a.file/det.png", r"cannot write .*: File exists; give --plot"),
        ("folder.png", r"cannot write .*: Is a directory; give --plot"),
        ("det.pgm", "cannot be written as a picture: give"),
    ],
)
def test_a_curve_that_cannot_be_written_leaves_the_calibration(
    places: Path, tmp_path: Path, name: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "a.file").touch()
    strangers = [(str(number), faces) for number, faces in enumerate(crowd(40, 2, 0.5, 1, 128))]
    monkeypatch.setattr("stages.gate.calibrate._strangers", lambda *_: strangers)
    Store(home(), keys()).add("Ada", Enrol(EnrolConfig()).identity, crowd(1, 2, 0.1, 2, 128)[0])
    with pytest.raises(Failed, match=why):
        call("--impostors", tmp_path, "--far", "0.1", "--plot", tmp_path / name)
    assert calibration.load(home())
