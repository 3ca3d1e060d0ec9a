"""dlib's face network: read right, the same descriptor as dlib's own, and good at telling people apart."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest
from numpy.typing import NDArray

from export import chips, networks, parity
from export.dlib_dat import NotADlibNetwork, Reader, read_network
from export.evaluate import embed, verification
from export.models.dlib_face_mean import MEAN

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "dlib_face.onnx"
FOLDER = "face_recognition_models-0.3.0/face_recognition_models/models"
NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
SHAPES = "shape_predictor_5_face_landmarks.dat"
Weights = Callable[[str], bytes]
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def dat(package_file: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("dat")
    with tarfile.open(package_file("dlib_face")) as archive:
        for name in (NETWORK, SHAPES):
            stream = archive.extractfile(f"{FOLDER}/{name}")
            assert stream is not None
            (folder / name).write_bytes(stream.read())
    return lambda name: str(folder / name)


def dlib_chips(images: list[Image], shapes: str) -> Image:
    """Every face that dlib finds in BGR images, of 600 px at most, cut out by dlib itself."""
    detect, predict = dlib.get_frontal_face_detector(), dlib.shape_predictor(shapes)
    found = []
    for image in images:
        shrink = min(1, 600 / max(image.shape))
        small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        rgb = np.ascontiguousarray(small[..., ::-1])
        found += [dlib.get_face_chip(rgb, predict(rgb, place), 150, 0.25) for place in detect(rgb, 1)]
    return np.stack(found)


def cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def assert_same_descriptors(dat: Callable[[str], str], faces: Image) -> None:
    model = dlib.face_recognition_model_v1(dat(NETWORK))
    expected = np.array([model.compute_face_descriptor(face) for face in faces])
    metadata = networks.NETWORKS["dlib_face"].metadata
    pixels = ((faces - np.array(metadata.mean)) * metadata.scale).transpose(0, 3, 1, 2)
    found = parity.run(MODEL, np.ascontiguousarray(pixels, np.float32))[0].astype(np.float64)
    assert cosines(expected, found + MEAN).min() >= 0.99999
    assert cosines(expected - MEAN, found).min() >= 0.999  # what is left when the mean is gone is right, too


def test_descriptor_is_dlibs_own_on_a_portrait(dat: Callable[[str], str], astronaut: Image) -> None:
    assert_same_descriptors(dat, dlib_chips([astronaut], dat(SHAPES)))


def test_descriptor_is_dlibs_own_on_fifty_faces(dat: Callable[[str], str], shared: Path) -> None:
    folders = ("dlib_faces", "compreface_samples")
    files = [file for folder in folders for file in sorted((shared / "photos" / folder).glob("*.jpg"))]
    faces = dlib_chips([chips.read_image(file) for file in files], dat(SHAPES))
    assert len(faces) >= 50
    assert_same_descriptors(dat, faces)


def test_torch_and_onnx_runtime_agree(weights: Weights, photos: list[Image]) -> None:
    metadata = networks.NETWORKS["dlib_face"].metadata
    images = np.stack([chips.squeezed(photo, 150, 150) for photo in photos])
    pixels = np.ascontiguousarray(((images - metadata.mean) * metadata.scale).transpose(0, 3, 1, 2), np.float32)
    found = parity.check(networks.dlib_face(weights("dlib_face")), MODEL, pixels)
    assert found.max_abs <= 1e-3  # the file keeps the weights as float16
    assert found.cosine >= 0.9999


def test_tells_people_apart(shared: Path) -> None:
    names, faces, _ = chips.chips(ROOT / "export" / "faces.tsv", shared / "photos", ROOT / "models" / "centerface.onnx")
    found = verification(names, embed(MODEL, faces))
    assert found["genuine_pairs"] >= 25
    assert found["impostor_pairs"] >= 1500
    assert found["TAR@FAR=0.001"] >= 0.95
    assert found["threshold@FAR=0.001"] <= 0.62


def test_the_network_in_the_file_is_the_one_that_is_built(weights: Weights) -> None:
    network = read_network(weights("dlib_face"))
    assert network.side == 150
    assert network.mean == pytest.approx(networks.NETWORKS["dlib_face"].metadata.mean, abs=1e-5)
    kinds = [layer.kind for layer in network.layers]
    assert (kinds.count("con_4"), kinds.count("affine_"), kinds.count("fc_2")) == (29, 29, 1)
    convolutions = [layer for layer in network.layers if layer.kind == "con_4"]
    assert [c.sizes[0] for c in convolutions[::6]] == [32, 32, 64, 128, 256]
    # dlib pads where the stride is 1 and nowhere else, as the torch module does.
    assert all(c.sizes[5:] == ((1, 1) if c.sizes[3] == 1 else (0, 0)) for c in convolutions)


def test_integers_and_reals_of_the_format() -> None:
    reader = Reader(bytes([1, 7, 0x81, 4, 2, 0x34, 0x12, 1, 0x10, 0x81, 4]))
    assert reader.integers(3) == (7, -4, 0x1234)
    assert reader.real() == 1.0


@pytest.mark.parametrize("cut", [0, 20, 300, 5000, -1])
def test_a_truncated_file_is_refused(weights: Weights, cut: int) -> None:
    with pytest.raises(NotADlibNetwork):
        read_network(weights("dlib_face")[:cut])


def test_another_kind_of_file_is_refused(dat: Callable[[str], str]) -> None:
    with pytest.raises(NotADlibNetwork):
        read_network(Path(dat(SHAPES)).read_bytes())


def test_in_float16_it_is_nearly_the_same(weights: Weights, photos: list[Image]) -> None:
    metadata = networks.NETWORKS["dlib_face"].metadata
    images = np.stack([chips.squeezed(photo, 150, 150) for photo in photos])
    pixels = np.ascontiguousarray(((images - metadata.mean) * metadata.scale).transpose(0, 3, 1, 2), np.float32)
    half = networks.to_onnx("dlib_face", weights("dlib_face"), half=True)
    assert parity.compare(parity.run(MODEL, pixels), parity.run(half.SerializeToString(), pixels)).cosine >= 0.9995
