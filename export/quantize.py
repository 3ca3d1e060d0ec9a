"""`quantize`: the same network in float16, or in int8 by what photos, or clips, drive through it; with a report.

The int8 recipe is what measured best with ONNX Runtime on one x86 core with AVX512-VNNI: activations uint8 with a zero
point (int8 ones took twice the time, and symmetric ranges lose a bit to ReLU), weights int8 with a scale for each
output channel (one for all lost twice as much), ranges that hold all that the photos drive through (percentiles cut
off what small faces need; entropy came out the same), photos at full, half and quarter size, channels equalized
before; and in float the last convolutions, with all that comes after them, and a MobileNet's first two.
"""

import argparse
import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from export import feed
from export.before_after import Test, measure, write_report
from export.cli import Commands, command, size
from export.detector import scaled
from export.equalize import equalize
from export.graph import behind, folded, front
from export.half import FLOAT16, to_float16
from export.model_file import inputs, load, picture_size, pictures_input, properties
from export.packages import Failed
from export.to_onnx import IR_VERSION, save, weights_sha256
from export.verify import outputs

Batch = Mapping[str, NDArray[Any]]
INT8 = "int8: uint8 activations with zero points, int8 weights per channel, float heads"
PER_CHANNEL = 13  # the first opset whose DequantizeLinear has a scale for each channel
PARTS = (2, 4)  # of the size, that photos calibrate at, too
GRID = 32  # pixels: what a part of a size is rounded to
LEAST = 96 * 160  # pixels: with fewer, there may not be as many cells as a decoding graph takes the best of


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Batches one by one, as ONNX Runtime asks for them."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches: Iterator[Batch] = iter(batches)

    def get_next(self) -> Batch | None:
        return next(self.batches, None)


def to_int8(model: onnx.ModelProto, batches: Sequence[Batch]) -> onnx.ModelProto:
    """Static quantization by the recipe above; `batches` are inputs of the model."""
    whole = folded(model)
    if next(opset.version for opset in whole.opset_import if not opset.domain) < PER_CHANNEL:
        whole = onnx.version_converter.convert_version(whole, PER_CHANNEL)
    equalize(whole, batches)
    kept = [name for names in (*behind(whole.graph), front(whole.graph)) for name in names]
    helper.set_model_props(whole, {"onnx.quant.pre_process": "onnxruntime.quant"})  # or it asks for what was done
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "int8.onnx"
        quantize_static(
            whole,
            file,
            Reader(batches),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
        )
        return onnx.load(file)


def described(made: onnx.ModelProto, source: onnx.ModelProto, recipe: str) -> onnx.ModelProto:
    """The quantized model with the metadata, names and sizes of its source, and without traces of the tools."""
    result = copy.deepcopy(made)
    result.ir_version = max(IR_VERSION, source.ir_version)
    result.producer_name, result.producer_version = source.producer_name, source.producer_version
    result.graph.name = source.graph.name
    result.graph.ClearField("value_info")
    for kind, values in (("input", inputs(source)), ("output", source.graph.output)):  # tools rename free sizes
        result.graph.ClearField(kind)
        getattr(result.graph, kind).extend(values)
    used = {node.domain for node in result.graph.node}
    kept = [opset for opset in result.opset_import if opset.domain in used | {""}]
    result.ClearField("opset_import")
    result.opset_import.extend(kept)
    said = {prop.key: prop.value for prop in source.metadata_props}
    said |= {"framewire.quantized": recipe, "framewire.weights_sha256": weights_sha256(result)}
    helper.set_model_props(result, said)
    onnx.checker.check_model(result, full_check=True)
    return result


def batches_of(model: onnx.ModelProto, file: Path, photos: Sequence[Path], height: int, width: int) -> list[Batch]:
    """What calibrates: the photos at this size and, where sizes are free, at parts of it: faces of more sizes."""
    taken = pictures_input(model, file)
    sizes = [(height, width)]
    for part in PARTS if taken.size == (None, None) else ():
        smaller = height // part // GRID * GRID, width // part // GRID * GRID
        if smaller[0] * smaller[1] >= LEAST:
            sizes.append(smaller)
    return [
        {taken.name: scaled(image, properties(model))}
        for rows, columns in sizes
        for image in feed.pictures(model, photos, rows, columns)
    ]


def run(arguments: argparse.Namespace) -> None:
    """`quantize`: write the model, measure it beside its source, write the report, and say the verdict."""
    model = load(arguments.model)
    height, width = picture_size(model, arguments.model, arguments.size)
    outputs(model, arguments.model, [feed.blank(model, height, width)])  # or it fails here, with a sentence
    if arguments.to == "int8":
        if not arguments.calibration:
            raise Failed("int8 needs the ranges that real photos drive; give a folder of some with --calibration")
        kind = "windows" if feed.takes_windows(model) else "pictures"
        photos = feed.files_in(model, arguments.calibration)
        batches = batches_of(model, arguments.model, photos, height, width)
        made = to_int8(model, batches)
        recipe = f"{INT8}{' and front' if front(model.graph) else ''}; calibrated on {len(batches)} {kind}"
    else:
        made, recipe = to_float16(model), FLOAT16
    places = arguments.photos or arguments.calibration
    if not places:
        raise Failed("nothing to measure on; give photos with --photos")
    out = arguments.out or arguments.model.with_suffix(f".{arguments.to}.onnx")
    test = Test(feed.files_in(model, places), arguments.labels, arguments.faces, (height, width), not arguments.photos)
    save(described(made, model, recipe), out)
    folder = arguments.report or out.with_suffix(".report")
    files = arguments.model, out
    write_report(measure(files, recipe, test), files, folder)
    print(f"the model is {out}")


def add(commands: Commands) -> None:
    """The command `quantize`."""
    sub = command(commands, "quantize", run, "a smaller file of the same network, and what that costs")
    sub.add_argument("model", type=Path, metavar="MODEL.onnx")
    sub.add_argument("--to", choices=("fp16", "int8"), required=True)
    for name, text in (
        ("--calibration", "folders of photos that set the ranges of int8; for a network of shots, of clips"),
        ("--photos", "what to compare on; without it, the calibration's, which flatters"),
    ):
        sub.add_argument(name, type=Path, nargs="+", metavar="PHOTOS", help=text)
    sub.add_argument("--labels", type=Path, nargs="+", default=[], metavar="XML", help="labelled photos, for AP50")
    sub.add_argument(
        "--faces", type=Path, nargs=2, metavar=("LIST", "PHOTOS"), help="lines of NAME<TAB>PHOTO, and their folder"
    )
    sub.add_argument("--size", type=size, metavar="HxW", help="of the input; by default what the file says of itself")
    sub.add_argument("--out", type=Path, metavar="FILE", help="by default MODEL.fp16.onnx or MODEL.int8.onnx")
    sub.add_argument("-o", "--report", type=Path, metavar="FOLDER", help="for report.md and report.json")
