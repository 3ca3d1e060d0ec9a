"""From photos to names with real networks: chips, embeddings, and who is nearest."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import Failed, Usage
from pipeline.registry import SHIPPED
from pipeline.types import Candidates, Crops, Detections
from stages.crop import Align, Crop, CropConfig
from stages.detect import Detect, DetectConfig
from stages.embed import Embedder, EmbedderConfig
from stages.gallery.store import Store
from stages.match import Match, MatchConfig
from stages.nms import Nms, NmsConfig
from tests.fakes import MemoryFrames

DLIB = str(SHIPPED / "dlib_face.onnx")
PEOPLE = {
    "obama": ("obama.jpg", "train/obama/obama2.jpg", "test/obama1.jpg"),
    "biden": ("biden.jpg", "train/biden/biden2.jpg"),
    "alex": ("alex-lacamoire.png", "test/alex_lacamoire1.jpg", "train/alex_lacamoire/img1.jpg"),
    "kit": ("train/kit_harington/john1.jpeg", "train/kit_harington/john2.jpeg", "test/johnsnow_test1.jpg"),
    "rose": ("train/rose_leslie/img1.jpg", "train/rose_leslie/img2.jpg"),
    "lin": ("lin-manuel-miranda.png",),
}


class Faces:
    """Detect, Nms and Crop on single photos."""

    def __init__(self, align: Align) -> None:
        self.frames = MemoryFrames()
        config = DetectConfig(model=str(SHIPPED / "centerface.onnx"), provider="cpu")
        self.detect, self.nms = Detect(config, self.frames), Nms(NmsConfig())
        self.crop = Crop(CropConfig(align=align), self.frames)

    def __call__(self, path: Path, seq: int = 0) -> Crops:
        image = cv2.imread(str(path))
        assert image is not None
        (candidates,) = self.detect([self.frames.put(np.asarray(image, np.uint8), seq=seq)])
        assert isinstance(candidates, Candidates)
        return self.crop(self.nms(candidates))


def mobilefacenet(shared: Path, **keys: object) -> dict[str, object]:
    model = str(shared / "weights/mobilefacenet_foamliu.onnx")
    return {"model": model, "layout": "mobilefacenet", "provider": "cpu"} | keys


def embedder(**keys: object) -> Embedder:
    return Embedder(msgspec.convert({"provider": "cpu"} | keys, EmbedderConfig))


def noise(count: int, side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def crops(count: int, side: int, detections: int | None = None) -> Crops:
    """`count` chips of the last of so many detections."""
    n = count if detections is None else detections
    boxes = np.tile(np.array([0, 0, 30, 30], np.float32), (n, 1))
    frame = MemoryFrames().put(np.zeros((40, 40, 3), np.uint8))
    found = Detections(frame, boxes, np.ones(n, np.float32), np.zeros(n, np.int32), None, ("face",))
    return Crops(found, np.arange(n - count, n, dtype=np.int32), noise(count, side))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty gallery's folder, its keys beside it."""
    monkeypatch.setenv("FRAMEWIRE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("FRAMEWIRE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(("align", "margin"), [("arcface", 0.15), ("dlib", 0.08)])
def test_photos_of_one_person_are_nearer_than_photos_of_two(shared: Path, align: Align, margin: float) -> None:
    """Least similarity of one person, greatest of two: arcface 0.46 and 0.21, dlib 0.61 and 0.46."""
    embed = embedder(**mobilefacenet(shared)) if align == "arcface" else embedder(model=DLIB)
    faces = Faces(align)
    photos = [(name, path) for name, paths in PEOPLE.items() for path in paths]
    chips = [faces(shared / "photos/face_recognition_examples" / path).chips for _, path in photos]
    assert [len(chip) for chip in chips] == [1] * len(photos)
    similarity = (embeddings := embed(np.concatenate(chips))) @ embeddings.T
    np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-5)
    pairs = list(itertools.combinations(range(len(photos)), 2))
    same = [similarity[i, j] for i, j in pairs if photos[i][0] == photos[j][0]]
    different = [similarity[i, j] for i, j in pairs if photos[i][0] != photos[j][0]]
    assert min(same) - max(different) > margin
    assert max(different) < embed.threshold
    assert np.mean(np.array(same) >= embed.threshold) >= 0.9


@pytest.mark.parametrize("align", ["arcface", "dlib"])
def test_who_is_enrolled_is_named_and_others_are_not(shared: Path, home: Path, align: Align) -> None:
    keys = mobilefacenet(shared) if align == "arcface" else {"model": DLIB, "provider": "cpu"}
    embed, faces = embedder(**keys), Faces(align)
    folder = shared / "photos/face_recognition_examples"
    store = Store(home, home.parent / "keys")
    for name in ("obama", "biden"):
        store.add(name, embed.identity, embed(faces(folder / f"{name}.jpg").chips))
    match = Match(msgspec.convert(keys | {"gallery": str(home)}, MatchConfig))
    both, stranger = faces(folder / "test/obama_and_biden.jpg", 1), faces(folder / "lin-manuel-miranda.png", 2)
    first, second = match([both, stranger])
    assert sorted(name for name in first.names if name) == ["biden", "obama"]  # a third face is in the background
    named = np.array([bool(name) for name in first.names])
    assert (first.similarity[named] >= embed.threshold).all()
    assert (first.similarity[~named] < embed.threshold).all()
    assert second.names == ("",)
    assert second.similarity[0] < embed.threshold
    assert [first.found, second.found] == [both.found, stranger.found]


def test_messages_together_give_what_each_gives_alone(home: Path) -> None:
    embed = embedder(model=DLIB)
    Store(home, home.parent / "keys").add("noise", embed.identity, embed(noise(3, 150))[:1])
    match = Match(MatchConfig(model=DLIB, provider="cpu", threshold=0.99))
    messages = [crops(3, 150), crops(0, 150), crops(9, 150, detections=11), crops(0, 150, detections=2)]
    together = match(messages)
    for message, matches in zip(messages, together, strict=True):
        (alone,) = match([message])
        assert matches.names == alone.names
        np.testing.assert_allclose(matches.similarity, alone.similarity, atol=1e-5)
    assert together[0].names == ("noise", "", "")
    assert together[2].names == ("", "", "noise", *[""] * 8)  # two detections without a chip, then the chips
    assert np.isnan(together[2].similarity[:2]).all()
    assert not np.isnan(together[2].similarity[2:]).any()
    assert np.isnan(together[3].similarity).all()


def test_an_empty_gallery_names_nobody(home: Path) -> None:
    (matches,) = Match(MatchConfig(model=DLIB, provider="cpu"))([crops(2, 150)])
    assert matches.names == ("", "")
    assert np.isnan(matches.similarity).all()


def test_people_enrolled_with_another_embedder_are_not_compared_but_told_of(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Store(home, home.parent / "keys").add("ann", "another", np.eye(1, 128, dtype=np.float32))
    (matches,) = Match(MatchConfig(model=DLIB, provider="cpu"))([crops(1, 150)])
    assert matches.names == ("",)
    assert np.isnan(matches.similarity).all()
    assert "1 of 1 people" in caplog.text


@pytest.mark.parametrize("count", [0, 1, 8, 19])
def test_any_number_of_chips_is_embedded_to_unit_length(count: int) -> None:
    embed = embedder(model=DLIB)
    embeddings = embed(chips := noise(count, 150))
    assert embeddings.shape == (count, 128)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    for chip, embedding in zip(chips, embeddings, strict=True):
        np.testing.assert_allclose(embed(chip[None])[0], embedding, atol=1e-4)


def test_the_identity_is_of_the_weights_and_of_how_they_are_fed(shared: Path, tmp_path: Path) -> None:
    keys = mobilefacenet(shared)
    copy = tmp_path / "renamed.onnx"
    copy.write_bytes(Path(str(keys["model"])).read_bytes())
    identity = embedder(**keys).identity
    assert embedder(**keys | {"model": str(copy)}).identity == identity
    assert embedder(**keys | {"layout": "arcface"}).identity != identity
    assert embedder(model=DLIB).identity != identity


def test_chips_of_the_wrong_alignment_name_the_key_to_set(home: Path) -> None:
    match = Match(MatchConfig(model=DLIB, provider="cpu"))
    with pytest.raises(Usage, match=r"112x112 but dlib_face takes 150x150: set align = 'dlib' in"):
        match([crops(1, 112)])


@pytest.mark.parametrize("model", ["yolox_nano.onnx", "yunet_n_320_320.onnx", "FastestDet.onnx"])
def test_a_detector_is_no_embedder(shared: Path, home: Path, model: str) -> None:
    with pytest.raises(Failed, match="is no face embedder"):
        Match(MatchConfig(model=str(shared / "weights" / model), provider="cpu"))


def test_the_shipped_detector_is_no_embedder() -> None:
    with pytest.raises(Failed, match="is no face embedder"):
        embedder(model=str(SHIPPED / "centerface.onnx"))


def test_an_embedder_of_whole_people_takes_no_faces(shared: Path) -> None:
    with pytest.raises(Failed, match="256x128 pictures, not aligned faces"):
        embedder(model=str(shared / "weights/osnet_x0_25_msmt17.onnx"))


@pytest.mark.parametrize(("layout", "said"), [("", "nothing says how"), ("yolov8", "'yolov8' does not say how")])
def test_a_foreign_embedder_needs_to_be_told_how_it_is_fed(shared: Path, layout: str, said: str) -> None:
    with pytest.raises(Usage, match=said) as caught:
        embedder(**mobilefacenet(shared, layout=layout))
    assert "arcface, mobilefacenet, sface" in str(caught.value)
