"""Read the network in a dlib `.dat` file: dlib's serialization of a nested add_layer type, innermost layer first.

An integer is a control byte (bit 7: negative; bits 0..3: how many bytes follow) and its absolute value, little-endian.
A real is an integer mantissa and an integer exponent of two. A tensor is a version (2), four sizes and raw float32.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


class NotADlibNetwork(ValueError):
    """The bytes are not a serialized network of the layers that are known here."""


@dataclass(frozen=True)
class Layer:
    """One layer as the file has it: its kind ("con_4"), its sizes in the order of the file, its parameters (flat)."""

    kind: str
    sizes: tuple[int, ...] = ()
    parameters: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True)
class Network:
    """What the file holds: mean colour (RGB, 0..255), side of the square input in pixels, the layers in order."""

    mean: tuple[float, float, float]
    side: int
    layers: tuple[Layer, ...]


class Reader:
    """A place in the bytes; each method reads one value there and moves on."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes; NotADlibNetwork if there are fewer."""
        if size > len(self.data) - self.at:
            raise NotADlibNetwork(f"ends at byte {len(self.data)}, in the middle of a value")
        self.at += size
        return self.data[self.at - size : self.at]

    def integer(self) -> int:
        """A signed integer of any width."""
        control = self.take(1)[0]
        value = int.from_bytes(self.take(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def integers(self, count: int) -> tuple[int, ...]:
        """`count` integers."""
        return tuple(self.integer() for _ in range(count))

    def real(self) -> float:
        """A floating-point number."""
        mantissa, exponent = self.integers(2)
        return math.ldexp(mantissa, exponent)

    def text(self, length: int) -> str:
        """`length` ASCII characters."""
        return self.take(length).decode("ascii", "replace")

    def tensor(self) -> NDArray[np.float32]:
        """A tensor, flat."""
        if (version := self.integer()) != 2:
            raise NotADlibNetwork(f"has a tensor of version {version} at byte {self.at}, and only version 2 is known")
        return np.frombuffer(self.take(4 * math.prod(self.integers(4))), "<f4")


ALIAS = 5  # integers of an alias_tensor: version and four sizes
MULTIPLIERS = 4  # reals: learning rate and weight decay, of the weights and of the bias


def read_details(reader: Reader) -> Layer:
    """One layer's own part of the file."""
    kind = reader.text(reader.integer())
    match kind:
        case "con_4":  # sizes: filters, rows, columns, stride (y, x), padding (y, x)
            parameters, sizes = reader.tensor(), reader.integers(7)
            reader.integers(2 * ALIAS)
        case "affine_":  # sizes: none; parameters: gamma, then beta
            parameters, sizes = reader.tensor(), ()
            reader.integers(2 * ALIAS + 1)
        case "fc_2":  # sizes: outputs, inputs; parameters: a row for each input
            sizes, parameters = reader.integers(2), reader.tensor()
            reader.integers(2 * ALIAS + 1)
        case "max_pool_2" | "avg_pool_2":  # sizes: rows, columns (0: all), stride (y, x), padding (y, x)
            return Layer(kind, reader.integers(6))
        case "relu_" | "add_prev_":
            return Layer(kind)
        case _:
            raise NotADlibNetwork(f"has an unknown layer {kind!r} at byte {reader.at}")
    if kind != "affine_":
        for _ in range(MULTIPLIERS):
            reader.real()
    return Layer(kind, sizes, parameters)


def read_network(data: bytes) -> Network:
    """The network in the bytes of a `.dat` file; NotADlibNetwork, with the place, where they are something else."""
    reader = Reader(data)
    version, length = reader.integers(2)
    loss = reader.text(length)
    if version != 1 or loss != "loss_metric_2":
        raise NotADlibNetwork(f"begins with {loss!r}, not with a metric loss")
    reader.real(), reader.real()  # margin and distance of the loss
    while (number := reader.integer()) <= 3:  # the versions (1, 2 or 3) of all the nested types, then a length
        pass
    name = reader.text(number)
    if name != "input_rgb_image_sized":
        raise NotADlibNetwork(f"has {name!r} for its input")
    mean = (reader.real(), reader.real(), reader.real())
    rows, columns = reader.integers(2)
    if rows != columns:
        raise NotADlibNetwork(f"takes images of {rows}x{columns}, not square ones")
    layers: list[Layer] = []
    while reader.at < len(data):
        layers.append(read_details(reader))
        reader.take(3)  # flags of a training in progress, then its tensors (empty in a finished network)
        for _ in range(3):
            reader.tensor()
        if len(layers) == 1:
            reader.integer()  # the innermost layer has the number of samples an image is expanded to
    return Network(mean, rows, tuple(layers))
