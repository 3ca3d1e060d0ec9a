"""The YOLO family: CenterFace's weights in it, what its heads learn, the same boxes in the graph as outside."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export import networks, parity
from export.checkpoint import read_checkpoint, save_checkpoint
from export.chips import read_image
from export.decode import IOU, TOP, DecodedYolo
from export.detection import labels_xml, yolo_loss, yolo_weights
from export.detection.augment import Augmented, Batch, Sample, flipped, mosaic, pasted, warped
from export.detection.detection_data import FACE, load
from export.detection.held_out import HEIGHT, WIDTH, HeldOut
from export.detection.labels_xml import Labelled
from export.detection.prune import surgeon
from export.detection.train_yolo import (
    Lessons,
    Start,
    built,
    centerface,
    check_classes,
    repeat,
    shape_for,
    trained,
    wide_one,
)
from export.detection.warm_start import slim
from export.detection.witness import level, witnessed
from export.detection.yolo_weights import from_checkpoint, from_onnx
from export.detector import Detector, chosen, greedy_nms, letterbox, overlap
from export.evaluate import average_precision
from export.model_file import session
from export.models.yolo import STRIDES, Raw, Shape, Yolo, boxes_of, places, presence
from export.networks import yolo_to_onnx
from export.packages import Failed
from export.run import Plan
from export.to_onnx import save
from pipeline.types import Candidates
from stages.detect import Detect, DetectConfig
from tests.fakes import MemoryFrames

MODELS = Path(__file__).resolve().parents[2] / "models"
PORTRAIT = MODELS.parent / "samples" / "enrol" / "Eileen Collins.jpg"
pytestmark = pytest.mark.timeout(400)  # training and exporting take their time on a busy machine

ANCHORS = (((10.0, 12.0), (16.0, 20.0)), ((30.0, 36.0), (48.0, 60.0)), ((90.0, 110.0), (150.0, 180.0)))
SHAPES = {
    "free": Shape("nano"),
    "anchors": Shape("nano", anchors=ANCHORS),
    "two classes, no landmarks": Shape("nano", ("person", "face"), landmarks=False),
    "two classes, anchors": Shape("nano", ("person", "face"), anchors=ANCHORS),
}


@pytest.fixture(scope="module")
def sample(astronaut: NDArray[np.uint8]) -> Sample:
    """The astronaut and her one face."""
    points = [[[207.0, 112.0], [243.0, 106.0], [230.0, 133.0], [214.0, 153.0], [248.0, 148.0]]]
    return Sample(
        astronaut,
        np.array([[178, 66, 272, 180]], np.float32),
        np.array(points, np.float32),
        np.zeros(1, np.int64),
        np.zeros(1, bool),
    )


@pytest.fixture(scope="module")
def make(sample: Sample, photos: list[NDArray[np.uint8]]) -> Augmented:
    """Training pictures out of two samples: the astronaut, and gravel with nothing on it."""
    from skimage import data

    empty = Sample(
        np.ascontiguousarray(np.repeat(data.gravel()[..., None], 3, 2)),
        np.zeros((0, 4), np.float32),
        np.zeros((0, 5, 2), np.float32),
        np.zeros(0, np.int64),
        np.zeros(0, bool),
    )
    return Augmented([sample, empty], np.array([3, 1], np.float32), (128,), 8)


def a_yolo(shape: Shape, seed: int = 0) -> Yolo:
    """A network with weights that nobody trained, and norms that do something."""
    torch.manual_seed(seed)
    yolo = Yolo(shape)
    with torch.no_grad():
        yolo.train()
        for _ in range(2):
            yolo(torch.rand(2, 3, 128, 160) * 255)
        for parameter in yolo.parameters():  # no two alike, as after training: the exporter keeps equal ones once
            parameter.add_(torch.randn_like(parameter) * 0.02)
        yolo.eval()
        images = torch.rand(2, 3, 128, 160) * 255
        spread = yolo(images).logits.std()
        for name, parameter in yolo.named_parameters():
            if name.endswith(("score.weight", "out.weight")):  # scores that differ
                parameter.mul_(1.5 / spread)
        middle = yolo(images).logits.mean((0, 1))
        for name, parameter in yolo.named_parameters():
            if name.endswith("score.bias"):  # half of them high, of each class
                parameter.sub_(middle)
    return yolo.eval()


def centerface_maps(images: torch.Tensor) -> list[torch.Tensor]:
    """CenterFace's own map at 1/4, and its pyramid at 1/8, 1/16 and 1/32."""
    network = networks.centerface((MODELS / "centerface.onnx").read_bytes())
    x, maps = network.stem(images), []
    for stage in network.stages:
        x = stage(x)
        maps.append(x)
    levels = [network.top(x)]
    for up, tap in zip(network.neck, (maps[4], maps[2]), strict=False):
        levels.insert(0, up(levels[0], tap))
    return [maps[1], *levels]


def test_the_tiny_one_starts_with_what_centerface_computes(batch: NDArray[np.float32]) -> None:
    yolo, images = wide_one(Shape("tiny"), "centerface"), torch.from_numpy(batch[:2])
    with torch.inference_mode():
        for ours, theirs in zip(yolo.features(images), centerface_maps(images), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-3 * float(theirs.std()))


def test_a_slim_one_starts_near_the_wide_one_it_was_pruned_from(make: Augmented) -> None:
    wide, pictures = wide_one(Shape("tiny"), "centerface"), make(np.random.default_rng(0)).images.float()
    with torch.no_grad():
        for head in wide.heads:
            head.score.bias.fill_(-3.0)
    yolo = Yolo(Shape("nano"))
    slim(yolo, wide, pictures)
    images = make(np.random.default_rng(1)).images.float()
    with torch.inference_mode():
        for ours, theirs in zip(yolo.features(images), wide.features(images), strict=True):
            assert float((ours - theirs).square().mean() / theirs.var()) < 0.6  # a network that says nothing has 1
        near, far = yolo.read(wide.features(images)), wide.read(wide.features(images))
    np.testing.assert_allclose(near.logits, far.logits, atol=1e-3)  # the heads are the wide one's


def test_a_slim_one_with_landmarks_is_pruned_out_of_a_wide_one_without(make: Augmented) -> None:
    wide = wide_one(Shape("tiny", landmarks=False), "centerface")
    yolo = Yolo(Shape("nano"))
    before = {name: value.clone() for name, value in yolo.heads.state_dict().items() if ".points." in name}
    slim(yolo, wide, make(np.random.default_rng(0)).images[:2].float())
    assert all(torch.equal(yolo.heads.state_dict()[name], value) for name, value in before.items())
    ours, theirs = (network.heads[0].box.weight for network in (yolo, wide))
    assert torch.equal(ours, theirs)


def test_the_surgeon_keeps_the_channels_that_say_most() -> None:
    generator = torch.Generator().manual_seed(0)
    useful = torch.randn(4000, 6, generator=generator)
    doubled = torch.cat([useful, useful @ torch.randn(6, 6, generator=generator)], 1)[
        :, torch.randperm(12, generator=generator)
    ]
    outputs = useful @ torch.randn(6, 5, generator=generator) + 3
    kept, weights, bias = surgeon(doubled, outputs, 6)
    assert len(set(kept.tolist())) == 6
    left = (doubled[:, kept] @ weights.T + bias - outputs).square().mean() / outputs.var()
    assert float(left) < 1e-4  # nothing is lost where the rest can say it


def test_the_surgeon_beats_the_largest_weights() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.relu(torch.randn(4000, 6, generator=generator) @ torch.randn(6, 24, generator=generator))
    matrix = torch.randn(24, 8, generator=generator)
    outputs = inputs @ matrix
    kept, weights, bias = surgeon(inputs, outputs, 10)
    ours = (inputs[:, kept] @ weights.T + bias - outputs).square().mean()
    largest = matrix.square().sum(1).argsort(descending=True)[:10]
    plain = inputs[:, largest] @ matrix[largest]
    theirs = (plain - plain.mean(0) + outputs.mean(0) - outputs).square().mean()
    assert float(ours) < 0.5 * float(theirs)


@pytest.mark.parametrize("name", SHAPES)
def test_boxes_in_the_graph_are_those_outside(name: str, batch: NDArray[np.float32]) -> None:
    yolo = a_yolo(SHAPES[name])
    with torch.inference_mode():
        raw = yolo(torch.from_numpy(batch))
        boxes, keypoints = yolo.boxes(raw)
    scores = raw.logits.sigmoid() * (1 if raw.objectness is None else raw.objectness.sigmoid()[..., None])
    best, classes = scores.max(-1)
    found = parity.run(yolo_to_onnx(yolo).SerializeToString(), batch)
    assert len(found) == (4 if SHAPES[name].landmarks else 3)
    assert found[2].dtype == np.int32
    for image in range(len(batch)):
        order = best[image].argsort(descending=True)[:TOP]
        np.testing.assert_allclose(found[1][image], best[image][order], atol=1e-4)
        for rank in range(0, TOP, 16):  # places of nearly the same score may change their ranks
            like = (best[image] - float(found[1][image, rank])).abs() < 1e-4
            apart = (boxes[image][like] - torch.from_numpy(found[0][image, rank])).abs().amax(1)
            place = like.nonzero()[int(apart.argmin()), 0]
            np.testing.assert_allclose(found[0][image, rank], boxes[image, place], rtol=1e-3, atol=0.01)
            assert found[2][image, rank] == classes[image, place]
            if keypoints is not None:
                np.testing.assert_allclose(found[3][image, rank], keypoints[image, place], rtol=1e-3, atol=0.01)


def test_an_input_with_fewer_places_than_candidates_is_filled_with_nothing() -> None:
    yolo = a_yolo(Shape("nano"))
    boxes, scores, _, _ = parity.run(yolo_to_onnx(yolo).SerializeToString(), np.full((1, 3, 64, 96), 90, np.float32))
    places = sum(64 // stride * (96 // stride) for stride in STRIDES)
    assert boxes.shape == (1, TOP, 4)
    assert (scores[0, :places] > 0).all()
    assert not scores[0, places:].any()


@pytest.mark.parametrize("name", ["free", "two classes, no landmarks"])
def test_nms_in_the_graph_gives_the_boxes_of_the_greedy_algorithm(name: str, batch: NDArray[np.float32]) -> None:
    yolo = a_yolo(SHAPES[name])
    with torch.no_grad():
        high = yolo(torch.tensor(batch)).logits.flatten(0, 1).quantile(0.9, 0)
        for head in yolo.heads:  # a tenth of the places is sure of each class
            head.score.bias -= high
    boxes, scores, classes, *_ = parity.run(yolo_to_onnx(yolo).SerializeToString(), batch)
    found, its_scores, *_, image = parity.run(yolo_to_onnx(yolo, nms=True).SerializeToString(), batch)
    assert len(found) > 0
    assert len(np.unique(classes)) == len(SHAPES[name].labels)
    for index in range(len(batch)):
        sure = scores[index] > 0.5
        apart = boxes[index][sure] + 1e4 * classes[index][sure, None]  # each class by itself
        keep = greedy_nms(apart.astype(np.float32), IOU)
        np.testing.assert_allclose(np.sort(its_scores[image == index]), np.sort(scores[index][sure][keep]), atol=1e-4)


@pytest.mark.parametrize("name", ["free", "two classes, anchors"])
def test_a_file_is_made_again_from_itself(name: str) -> None:
    model = yolo_to_onnx(a_yolo(SHAPES[name]))
    data = model.SerializeToString(deterministic=True)
    assert yolo_to_onnx(from_onnx(data)).SerializeToString(deterministic=True) == data


def test_a_file_of_another_network_is_refused() -> None:
    with pytest.raises(Failed, match="not a yolo"):
        from_onnx((MODELS / "centerface.onnx").read_bytes())


def test_float16_finds_nearly_the_same(batch: NDArray[np.float32]) -> None:
    plain, half = (
        parity.run(yolo_to_onnx(a_yolo(Shape("nano")), half=half).SerializeToString(), batch) for half in (False, True)
    )
    np.testing.assert_allclose(half[1], plain[1], atol=0.02)
    assert not np.array_equal(half[1], plain[1])


def test_the_stage_runs_it(astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    file = tmp_path / "two.onnx"
    save(yolo_to_onnx(a_yolo(SHAPES["two classes, no landmarks"])), file)
    frames = MemoryFrames()
    detect = Detect(DetectConfig(model=str(file), size=(128, 160), threshold=0.01, provider="cpu"), frames)
    (found,) = detect([frames.put(astronaut, seq=0)])
    assert isinstance(found, Candidates)
    assert found.labels == ("person", "face")
    assert found.keypoints is None
    again = Detector(file, 128, 160)
    assert again.labels == found.labels
    assert np.isnan(again(astronaut).keypoints).all()


def raw_of(shape: Shape, height: int, width: int) -> Raw:
    """What heads say that know nothing: boxes of two strides in each cell, or the anchors."""
    told = [
        torch.tensor(shape.anchors[i]) if shape.anchors else torch.full((1, 2), 2.0 * s) for i, s in enumerate(STRIDES)
    ]
    maps = [torch.zeros(1, 1, height // stride, width // stride) for stride in STRIDES]
    where = torch.cat([places(*of) for of in zip(maps, STRIDES, told, strict=True)])
    count = len(where)
    objectness = torch.full((1, count), -2.0) if shape.anchors else None
    return Raw(torch.full((1, count, len(shape.labels)), -2.0), objectness, torch.zeros(1, count, 14), where)


def answered(boxes: list[list[float]], shape: Shape, height: int, width: int) -> tuple[yolo_loss.Answer, Raw]:
    """Who is to answer for the boxes of a picture."""
    raw = raw_of(shape, height, width)
    found, _ = boxes_of(raw.values, raw.places, anchors=bool(shape.anchors))
    return yolo_loss.answers(raw, found, batch_of(boxes, [False] * len(boxes), height, width), shape), raw


def batch_of(boxes: list[list[float]], ignored: list[bool], height: int, width: int) -> Batch:
    """One picture with these boxes."""
    count = len(boxes)
    return Batch(
        torch.zeros(1, 3, height, width, dtype=torch.uint8),
        [torch.tensor(boxes).reshape(-1, 4)],
        [torch.full((count, 5, 2), torch.nan)],
        [torch.zeros(count, dtype=torch.long)],
        [torch.tensor(ignored)],
        [torch.full((count,), torch.nan)],
    )


@pytest.mark.parametrize(("side", "level"), [(16, 0), (60, 1), (180, 2)])
def test_the_level_of_a_faces_size_answers_for_it(side: int, level: int) -> None:
    shape = Shape("nano")
    answer, raw = answered([[40.0, 40.0, 40.0 + side, 40.0 + side]], shape, 256, 256)
    assert len(answer.cell) >= 1
    assert STRIDES[level] in raw.places[answer.cell, 2].tolist()
    assert (answer.quality > 0).all()


def test_a_witness_says_what_scores_are_to_be_and_where_nothing_is_taught(sample: Sample) -> None:
    picture = np.full((128, 256, 3), 90, np.uint8)
    picture[:, :128] = cv2.resize(sample.pixels, (128, 128), interpolation=cv2.INTER_AREA)
    picture[:, 128:] = picture[:, 127::-1]  # a second face, which nobody labelled
    face = (sample.boxes[0] / 4).tolist()
    batch = batch_of([face, [60.0, 90.0, 80.0, 112.0]], [False, False], *picture.shape[:2])  # and one that is none
    batch.images = torch.from_numpy(np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1))[None])
    said = witnessed(centerface().eval(), batch)
    assert said.ignored[0][:2].tolist() == [False, True]
    assert said.ignored[0][2:].all()
    points = torch.from_numpy(sample.keypoints[0] / 4)  # what it sees takes the place of what was not labelled
    assert float((said.keypoints[0][0] - points).norm(dim=1).max()) < 0.15 * (face[2] - face[0])
    assert said.keypoints[0][1:].isnan().all()
    mirrored = torch.tensor([[256 - face[2], face[1], 256 - face[0], face[3]]])
    assert float(yolo_loss.pairwise_iou(said.boxes[0][2:], mirrored).max()) > 0.5
    shape, score = Shape("nano"), float(said.scores[0][0])
    assert score > 0.5
    for heads in (shape, replace(shape, anchors=ANCHORS)):
        raw = raw_of(heads, *picture.shape[:2])
        found, _ = boxes_of(raw.values, raw.places, anchors=bool(heads.anchors))
        answer = yolo_loss.answers(raw, found, said, heads)
        assert float(answer.quality.max()) == pytest.approx(score)


@pytest.mark.parametrize("head", ["free", "anchors"])
def test_scores_are_levelled_to_the_witnesss(head: str, make: Augmented) -> None:
    torch.manual_seed(0)
    yolo, network, batch = Yolo(SHAPES[head]).eval(), centerface().eval(), make(np.random.default_rng(3))
    first = level(yolo, network, [batch])
    yolo.shift_scores(first)
    assert level(yolo, network, [batch]) == pytest.approx(0, abs=1e-4)
    yolo.shift_scores(-2)
    assert level(yolo, network, [batch]) == pytest.approx(2, abs=1e-4)


def test_one_anchor_answers_for_a_box_and_it_is_the_one_most_like_it() -> None:
    shape = Shape("nano", anchors=ANCHORS)
    answer, raw = answered([[100.0, 100.0, 148.0, 160.0]], shape, 256, 256)
    assert len(answer.cell) == 1
    cell = int(answer.cell[0]) - 32 * 32 * 2  # of the second level
    assert divmod(cell // 2, 16) == (130 // 16, 124 // 16)
    assert cell % 2 == 1
    assert len(raw.places) == (32 * 32 + 16 * 16 + 8 * 8) * 2


def test_what_an_anchor_head_says_at_last_is_the_witnesss_score() -> None:
    shape = Shape("nano", anchors=ANCHORS)
    batch = batch_of([[100.0, 100.0, 148.0, 160.0]], [False], 256, 256)
    batch.scores = [torch.tensor([0.6])]
    raw = raw_of(shape, 256, 256)
    said = [raw.logits.requires_grad_(), raw.objectness.requires_grad_()]
    optimizer = torch.optim.Adam(said, 0.2)
    for _ in range(150):
        optimizer.zero_grad()
        sum(yolo_loss.losses(raw, batch, shape).values()).backward()
        optimizer.step()
    product = raw.logits[0, :, 0].sigmoid() * raw.objectness[0].sigmoid()  # as DecodedYolo scores
    assert float(product.detach().max()) == pytest.approx(0.6, abs=0.02)


def test_an_ignored_face_is_neither_asked_for_nor_punished() -> None:
    shape = Shape("nano")
    box = [[100.0, 100.0, 140.0, 148.0]]
    losses = {}
    for ignored, sure in itertools.product((False, True), (False, True)):
        raw = raw_of(shape, 256, 256)
        raw.logits[0, 14 * 32 + 15] = 5.0 if sure else -5.0  # a cell within the box
        losses[ignored, sure] = float(yolo_loss.losses(raw, batch_of(box, [ignored], 256, 256), shape)["score"])
    assert losses[True, True] == losses[True, False]
    assert losses[False, True] != losses[False, False]


def test_ciou_is_one_for_the_same_box_and_falls_with_distance_and_shape() -> None:
    box = torch.tensor([[10.0, 10.0, 30.0, 50.0]])
    same, near, far, wide = (
        float(yolo_loss.ciou(box, torch.tensor([other])))
        for other in (
            [10.0, 10.0, 30.0, 50.0],
            [12.0, 10.0, 32.0, 50.0],
            [80.0, 80.0, 100.0, 120.0],
            [0.0, 20.0, 40.0, 40.0],
        )
    )
    assert same == pytest.approx(1)
    assert 1 > near > wide > far
    assert far < 0  # there is a way to go though nothing overlaps


def test_a_mirrored_face_has_its_left_eye_on_the_left(sample: Sample) -> None:
    mirrored = flipped(sample)
    assert mirrored.keypoints[0, 0, 0] < mirrored.keypoints[0, 1, 0]
    assert mirrored.keypoints[0, 3, 0] < mirrored.keypoints[0, 4, 0]
    again = flipped(mirrored)
    np.testing.assert_array_equal(again.pixels, sample.pixels)
    np.testing.assert_allclose(again.boxes, sample.boxes)
    np.testing.assert_allclose(again.keypoints, sample.keypoints)


def test_augmented_points_stay_on_their_faces(make: Augmented) -> None:
    seen = 0
    for seed in range(4):
        batch = make(np.random.default_rng(seed))
        for boxes, keypoints, ignored in zip(batch.boxes, batch.keypoints, batch.ignored, strict=True):
            for box, points in zip(boxes[~ignored], keypoints[~ignored], strict=True):
                sides = box[2:] - box[:2]
                assert ((points > box[:2] - 0.35 * sides) & (points < box[2:] + 0.35 * sides)).all()
                assert points[0, 0] < points[1, 0]
                seen += 1
    assert seen > 20


def squares() -> list[Sample]:
    """Four pictures, each with a square of its own colour on black, its points in its middle."""
    samples = []
    for index, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))):
        pixels = np.zeros((300, 300, 3), np.uint8)
        left, top = 60 + 20 * index, 90 - 10 * index
        pixels[top : top + 100, left : left + 100] = colour
        box, middle = np.array([[left, top, left + 100, top + 100]], np.float32), [left + 50.0, top + 50.0]
        points, nobody = np.full((1, 5, 2), middle, np.float32), np.zeros(1, bool)
        samples.append(Sample(pixels, box, points, np.array([index]), nobody))
    return samples


def on_its_colour(sample: Sample, row: int) -> bool:
    """Has the picture the colour of the box's class where its middle and its points are?"""
    colour = squares()[int(sample.classes[row])].pixels.max((0, 1)) > 128
    middle = (sample.boxes[row, :2] + sample.boxes[row, 2:]) / 2
    places = [middle, sample.keypoints[row, 0]]
    return all((sample.pixels[int(y), int(x)] > 128).tolist() == colour.tolist() for x, y in places)


def test_a_mosaics_labels_lie_on_its_four_pictures() -> None:
    seen = set()
    for seed in range(8):
        made = mosaic(squares(), np.zeros((256, 320, 3), np.uint8), np.random.default_rng(seed))
        for row in np.flatnonzero(~made.ignored & ((made.boxes[:, 2:] - made.boxes[:, :2]).min(1) > 12)):
            assert on_its_colour(made, row)
            seen.add(int(made.classes[row]))
    assert seen == {0, 1, 2, 3}


def test_what_is_pasted_hides_what_lies_below() -> None:
    onto, source = squares()[0], squares()[1]
    kinds = set()
    for seed in range(60):
        made = pasted(onto, source, np.random.default_rng(seed))
        assert onto.pixels.max() == 255  # not written over
        assert on_its_colour(made, len(made.boxes) - 1)
        new = (made.boxes[-1, :2] + made.boxes[-1, 2:]) / 2
        assert made.classes[-1] == 1
        assert not made.ignored[-1]
        if len(made.boxes) == 1:
            kinds.add("hidden")
            assert (np.abs(new - (onto.boxes[0, :2] + onto.boxes[0, 2:]) / 2) < 100).all()
        elif made.ignored[0]:
            kinds.add("larger")
        else:
            kinds.add("apart")
            assert on_its_colour(made, 0)
    assert kinds == {"hidden", "larger", "apart"}


@pytest.mark.parametrize("scale", [0.1, 0.3, 1.0, 2.0])
def test_labels_lie_on_the_pixels_they_are_of(scale: float) -> None:
    pixels = np.zeros((400, 400, 3), np.uint8)
    pixels[120:280, 80:240] = 255
    square = Sample(
        pixels,
        np.array([[80, 120, 240, 280]], np.float32),
        np.full((1, 5, 2), [160, 200], np.float32),
        np.zeros(1, np.int64),
        np.zeros(1, bool),
    )
    matrix = np.array([[scale, 0, 7.25], [0, scale, 3.5]])
    seen = warped(square, matrix, np.zeros((700, 700, 3), np.uint8))
    light = seen.pixels[..., 0].astype(float)
    rows, columns = np.indices(light.shape) + 0.5
    centre = [(columns * light).sum() / light.sum(), (rows * light).sum() / light.sum()]
    np.testing.assert_allclose((seen.boxes[0, :2] + seen.boxes[0, 2:]) / 2, centre, atol=0.1)
    np.testing.assert_allclose(seen.keypoints[0, 0], centre, atol=0.1)


def test_a_small_ignored_face_silences_the_cell_it_lies_in() -> None:
    shape = Shape("nano")
    raw = raw_of(shape, 256, 256)
    batch = batch_of([[0.0, 0.0, 3.0, 3.0]], [True], 256, 256)  # no cell has its middle there
    raw.logits[0, 0] = 5.0
    sure = float(yolo_loss.losses(raw, batch, shape)["score"])
    raw.logits[0, 0] = -5.0
    assert sure == float(yolo_loss.losses(raw, batch, shape)["score"])


@pytest.mark.parametrize("head", ["free", "anchors"])
def test_one_seed_gives_one_network_and_a_stop_changes_nothing(head: str, make: Augmented, tmp_path: Path) -> None:
    shape = replace(SHAPES[head], size="tiny")
    whole, again = (
        trained(shape, Start(frozen=True), make, Plan(4, 1e-3, warmup=1, save_every=2), tmp_path / name)
        for name in ("whole", "again")
    )
    stopped = Plan(2, 1e-3, warmup=1, save_every=2)
    trained(shape, Start(frozen=True), make, stopped, tmp_path / "stopped")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    resumed = trained(shape, Start(frozen=True), make, Plan(4, 1e-3, warmup=1, save_every=2), tmp_path / "stopped")
    log = (tmp_path / "stopped" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log[1:]] == ["1", "2", "3", "4"]
    assert all(value.isfinite().all() for value in resumed.state_dict().values())
    with pytest.raises(Failed, match="other layers"):
        trained(shape, Start(), make, Plan(5, 1e-3, warmup=1), tmp_path / "stopped")


def test_a_checkpoint_of_other_layers_is_refused(make: Augmented, tmp_path: Path) -> None:
    plan = Plan(1, 1e-3, warmup=1)
    trained(Shape("nano"), Start("nothing"), make, plan, tmp_path)
    file = tmp_path / "checkpoint.pt"
    state = read_checkpoint(file)
    assert "level" in state  # the witness looked on from nothing, too, as in every way that train transfer compares
    for kind in ("module", "averaged"):
        state[kind] = {name.replace("path.", "former."): value for name, value in state[kind].items()}
    save_checkpoint(file, state["architecture"], state)
    with pytest.raises(Failed, match="another version of this network"):
        from_checkpoint(file)
    with pytest.raises(Failed, match="another version of this network"):
        trained(Shape("nano"), Start("nothing"), make, plan, tmp_path)


def test_a_run_that_is_not_finished_is_no_model_yet(make: Augmented, tmp_path: Path) -> None:
    """Its scores are not levelled."""
    calls = 0

    def until_the_third(random: np.random.Generator) -> Batch:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise KeyboardInterrupt
        return make(random)

    stopped = cast(Augmented, until_the_third)
    with pytest.raises(KeyboardInterrupt):
        trained(Shape("nano"), Start("nothing"), stopped, Plan(9, 1e-3, warmup=1, save_every=1), tmp_path)
    file = tmp_path / "checkpoint.pt"
    done = read_checkpoint(file)["step"]
    with pytest.raises(Failed, match=rf"has done {done} steps; let it finish, or end it there with --steps {done}"):
        yolo_weights.of(file)
    from_checkpoint(file)  # but another run may begin with it
    trained(Shape("nano"), Start("nothing"), make, Plan(done, 1e-3, warmup=1), tmp_path)
    yolo_weights.of(file)


def test_a_file_that_takes_pictures_gives_its_weights_back(batch: NDArray[np.float32]) -> None:
    shipped = MODELS / "yolo_face.onnx"
    pictures = np.ascontiguousarray(batch.round().astype(np.uint8).transpose(0, 2, 3, 1)[..., ::-1])
    wanted = session(shipped).run(["scores"], {"images": pictures})[0]
    planes = torch.from_numpy(np.ascontiguousarray(pictures[..., ::-1].transpose(0, 3, 1, 2), np.float32))
    with torch.inference_mode():
        scores = DecodedYolo(yolo_weights.of(shipped))(planes)[1]
    np.testing.assert_allclose(scores.numpy(), wanted, atol=1e-4)


def test_a_box_that_is_none_spoils_no_other() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [-np.inf, 0, np.inf, 9], [0, 0, np.nan, 9]], np.float32)
    scores, classes = np.array([0.9, 0.8, 0.0, 0.95], np.float32), np.array([0, 1, 0, 0], np.int32)
    assert chosen(boxes, scores, classes, 0.02).tolist() == [0, 1]
    assert chosen(boxes, scores, classes, -1).tolist() == [0, 1]


def test_the_held_out_figure_is_what_the_evaluation_says(astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    """On the astronaut, once as large and once in a small picture's corner."""
    small = np.zeros((300, 500, 3), np.uint8)
    small[:80, :80] = cv2.resize(astronaut, (80, 80), interpolation=cv2.INTER_AREA)
    box = np.array([[178, 66, 272, 180]], np.float32)
    rows = []
    for name, pixels, boxes in (("large.png", astronaut, box), ("small.png", small, box * 80 / 512)):
        cv2.imwrite(str(tmp_path / name), pixels)
        rows.append(Labelled(tmp_path / name, boxes, np.full((1, 5, 2), np.nan, np.float32), np.zeros(1, bool)))
    labels_xml.write(tmp_path / "labels.xml", rows)
    samples, _ = load([tmp_path / "labels.xml"], FACE)
    figure = HeldOut(samples, FACE)(yolo_weights.of(MODELS / "yolo_face.onnx"))
    evaluated = average_precision(MODELS / "yolo_face.onnx", [tmp_path / "labels.xml"], HEIGHT, WIDTH)
    assert figure == {"held-out AP50": pytest.approx(evaluated["AP50"], abs=1e-4)}
    assert 0.4 < evaluated["AP50"] <= 1
    with pytest.raises(Failed, match="no box of 16 px or more"):
        HeldOut([replace(samples[1], boxes=samples[1].boxes / 2)], FACE)


def test_what_cannot_begin_says_so(make: Augmented, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="leave one out"):
        built(Shape("nano"), Start("nothing", frozen=True), make, 0, False)
    trained(Shape("nano"), Start("nothing"), make, Plan(1, 1e-3, warmup=1), tmp_path / "slim")
    with pytest.raises(Failed, match="start from a larger"):
        built(Shape("tiny"), Start(tmp_path / "slim" / "checkpoint.pt"), make, 0, False)
    with pytest.raises(Failed, match="name all of them"):
        check_classes([replace(make.samples[0], classes=np.array([3]))], ("face",))
    with pytest.raises(Failed, match="name all of them"):
        shape_for([replace(make.samples[0], classes=np.array([3]))], "nano", ("face",))


def test_pictures_are_the_same_for_the_same_seed(make: Augmented) -> None:
    first, again, other = (make(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("head", ["free", "anchors"])
def test_a_short_training_learns_to_find_a_face(head: str, make: Augmented, sample: Sample, tmp_path: Path) -> None:
    shape, start = replace(SHAPES[head], size="tiny"), Start(frozen=True)
    before, teacher = built(shape, start, make, 0, False)
    lessons = Lessons(shape, teacher, False, centerface().eval())
    batch = make(np.random.default_rng(10_000))
    with torch.inference_mode():
        first = sum(lessons(before.eval(), batch).values())
    yolo = trained(shape, start, make, Plan(80, 4e-3, warmup=5, ema=0.95), tmp_path / "run")
    kept = from_checkpoint(tmp_path / "run" / "checkpoint.pt")
    shift = float(read_checkpoint(tmp_path / "run" / "checkpoint.pt")["level"])
    yolo.shift_scores(-shift)  # losses are of the network as it was trained
    with torch.inference_mode():
        last = sum(lessons(yolo, batch).values())
    yolo.shift_scores(shift)
    assert float(last) < 0.6 * float(first)
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert len(rows) == 81
    assert found_best(kept, sample.pixels, sample.boxes) > 0.4
    portrait = read_image(PORTRAIT)  # another photo of hers
    assert found_best(kept, portrait, Detector(MODELS / "centerface.onnx", 320, 320)(portrait, 0.5).boxes) > 0.4
    images = torch.from_numpy(np.ascontiguousarray(sample.pixels[::4, ::4, ::-1].transpose(2, 0, 1))[None]).float()
    with torch.inference_mode():
        assert torch.allclose(presence(yolo(images)), presence(kept(images)), atol=1e-3)


def found_best(yolo: Yolo, pixels: NDArray[np.uint8], face: NDArray[np.float32]) -> float:
    """The IoU of the surest box in a picture, seen at 128x128, with the one face (1, 4) in it."""
    picture, back = letterbox(pixels, 128, 128)
    images = torch.from_numpy(np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1)[None], np.float32))
    with torch.inference_mode():
        best = DecodedYolo(yolo)(images)[0][0, :1].numpy() * np.tile(back, 2)
    return float(overlap(best[0], face)[0])


def test_a_run_that_starts_from_another_repeats_what_that_one_says(make: Augmented, tmp_path: Path) -> None:
    shape = Shape("tiny")
    trained(shape, Start(frozen=True), make, Plan(6, 1e-3, warmup=1), tmp_path / "wide")
    checkpoint = tmp_path / "wide" / "checkpoint.pt"
    yolo, teacher = built(shape, Start(checkpoint), make, 0, False)
    assert teacher is not None
    images = make(np.random.default_rng(5)).images.float()
    with torch.no_grad():
        said = teacher(images)
        assert float(repeat(yolo.eval()(images), said)) < 1e-4
        for head in yolo.heads:
            head.score.bias.add_(1.0)
        assert float(repeat(yolo(images), said)) > 0.01
    trained(replace(shape, size="nano"), Start(checkpoint), make, Plan(2, 1e-3, warmup=1), tmp_path / "slim")
    assert "repeat" in (tmp_path / "slim" / "log.csv").read_text().splitlines()[0]


def test_what_was_frozen_is_as_it_was(make: Augmented, tmp_path: Path) -> None:
    shape = Shape("tiny")
    plan = Plan(2, 1e-3, warmup=1)
    before, _ = built(shape, Start(frozen=True), make, 0, False)
    after = trained(shape, Start(frozen=True), make, plan, tmp_path / "frozen")
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, after.state_dict()[name])}
    assert not [name for name in changed if name.startswith(("backbone.", "neck."))]
    assert "heads.0.score.weight" in changed


def test_the_model_file_says_what_it_is() -> None:
    model = yolo_to_onnx(a_yolo(SHAPES["anchors"]))
    said = {prop.key: prop.value for prop in model.metadata_props}
    assert said["framewire.layout"] == "decoded"
    assert "anchors" in said["framewire.shape"]
    assert [value.name for value in model.graph.output] == ["boxes", "scores", "classes", "keypoints"]
