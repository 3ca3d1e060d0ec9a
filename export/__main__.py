"""`python -m export`: from weights in registry packages to ONNX files, and how good those are."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import torch

from export import chips, evaluate, inspect_model, packages, parity, preprocess, quantize, verify
from export.cli import Commands, command
from export.decode import IOU, SCORE
from export.detection import limits, teach, train_yolo, transfer_report, yolo_weights
from export.embedding import embedder_mining, embedder_tracks, train_embedder
from export.files import MODELS
from export.highlights import scorer_onnx, train_highlights
from export.liveness import passive, simulate, train_liveness
from export.model_file import load, properties
from export.networks import NETWORKS, dlib_face, to_onnx, yolo_to_onnx
from export.to_onnx import save


def from_file(file: Path, arguments: argparse.Namespace) -> onnx.ModelProto:
    """A YOLO out of its checkpoint or its ONNX file; a scorer of highlights out of its checkpoint.

    An embedder's ONNX file as it is, to get pre-processing.
    """
    said: dict[str, str] = {}
    if scorer_onnx.is_scorer(file):
        if arguments.decode or arguments.nms or arguments.half or arguments.preprocess:
            raise packages.Failed(f"{file} is of a scorer of highlights: only --licence and --origin are for it")
        return scorer_onnx.scorer_to_onnx(file, arguments.licence, arguments.origin)
    if file.suffix == ".onnx":
        model = load(file)
        said = properties(model)
        if said.get("layout") == "embedder":
            more = arguments.decode, arguments.nms, arguments.half, arguments.licence, arguments.origin
            if any(more) or not arguments.preprocess:
                raise packages.Failed(f"{file} is ONNX already, and an embedder: --preprocess alone can be added to it")
            return model
    yolo = yolo_weights.of(file)
    licence, origin = (getattr(arguments, key) or said.get(key, "") for key in ("licence", "origin"))
    return yolo_to_onnx(yolo, nms=arguments.nms, half=arguments.half, licence=licence, origin=origin)


def write(arguments: argparse.Namespace) -> None:
    """`import` and `onnx`: the ONNX file of a network, out of the weights in its package, or of a checkpoint."""
    if arguments.name in NETWORKS:
        if arguments.licence or arguments.origin:
            raise packages.Failed(f"{arguments.name} says where it is from by itself; leave --licence and --origin out")
        data = packages.weights(NETWORKS[arguments.name].package, arguments.package)
        model = to_onnx(arguments.name, data, decoded=arguments.decode, nms=arguments.nms, half=arguments.half)
    else:
        model = from_file(Path(arguments.name), arguments)
    if arguments.preprocess:
        preprocess.add(model)
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
    if network.interface.dynamic[0] is None:
        pixels = np.resize(pixels, network.interface.shape)  # a window of frames: the photos over and over
    print(json.dumps(asdict(parity.check(module, MODELS / f"{arguments.name}.onnx", pixels))))


def centre(arguments: argparse.Namespace) -> None:
    """`centre`: the mean descriptor of dlib_face over the faces of a list, for export/models/dlib_face_mean.py."""
    network = NETWORKS["dlib_face"]
    faces = chips.chips(arguments.faces, arguments.photos, MODELS / "centerface.onnx").faces
    module = dlib_face(packages.weights(network.package, arguments.package), mean=(0.0,) * 128)
    pixels = ((faces - network.metadata.mean) * network.metadata.scale).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        mean = module(torch.tensor(pixels, dtype=torch.float32)).mean(0).tolist()
    print(f"MEAN = {tuple(round(value, 4) for value in mean)}  # of {len(faces)} faces")


def add_weights(commands: Commands) -> None:
    """The commands that start from a package's weights."""
    sub = command(commands, "import", write, "make models/NAME.onnx again, bit for bit, and say its sha256")
    sub.add_argument("name", choices=NETWORKS)
    sub.set_defaults(decode=False, nms=False, half=False, preprocess=False, licence="", origin="", out=None)
    add_package(sub)
    sub = command(commands, "onnx", write, "write a network as ONNX, with boxes instead of maps if asked to")
    sub.add_argument(
        "name",
        help=f"{', '.join(NETWORKS)}; a finished checkpoint of train yolo or highlights; ONNX of a YOLO or an embedder",
    )
    kind = sub.add_mutually_exclusive_group()
    kind.add_argument(
        "--decode", action="store_true", help="boxes, scores, classes, keypoints of a fixed top-K, as a YOLO always has"
    )
    kind.add_argument(
        "--nms", action="store_true", help=f"the same after NMS (score {SCORE}, IoU {IOU}), as many as there are"
    )
    sub.add_argument("--half", action="store_true", help="the network computes in float16, for GPUs")
    sub.add_argument("--preprocess", action="store_true", help="uint8 pictures go in: mean, scale, order are inside")
    sub.add_argument(
        "--licence", default="", help="of a checkpoint or a YOLO: what the file says; by default what its ONNX said"
    )
    sub.add_argument("--origin", default="", help="the same")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE")
    add_package(sub)
    sub = command(commands, "parity", compare, "compare models/NAME.onnx with its torch module on photos")
    sub.add_argument("name", choices=NETWORKS)
    sub.add_argument("photos", type=Path, nargs="+")
    add_package(sub)
    sub = command(commands, "centre", centre, "compute the mean descriptor that dlib_face takes away")
    add_faces(sub)
    add_package(sub)


def add_package(sub: argparse.ArgumentParser) -> None:
    """Where the weights come from."""
    sub.add_argument("--package", type=Path, metavar="FILE", help="the package's file, where pip should not fetch it")


def add_faces(sub: argparse.ArgumentParser) -> None:
    """Whose faces, and where."""
    sub.add_argument("faces", type=Path, help="lines of NAME<TAB>PHOTO; the name - means strangers")
    sub.add_argument("photos", type=Path, help="the folder that the list's paths start from")


def main() -> int:
    """Run one command; 0, or 1 with a sentence on stderr, or 130 where Ctrl-C stopped it."""
    parser = argparse.ArgumentParser(
        "python -m export", description=__doc__, epilog="python -m export import centerface"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_weights(commands)
    for module in (evaluate, limits, quantize, verify, inspect_model, teach, simulate, passive):
        module.add(commands)
    trainings = commands.add_parser("train", help="train a network").add_subparsers(required=True, metavar="NETWORK")
    for module in (
        train_yolo,
        transfer_report,
        train_embedder,
        embedder_mining,
        embedder_tracks,
        train_liveness,
        train_highlights,
    ):
        module.add(trainings)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except packages.Failed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was finished is kept, and a training goes on from its last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
