"""Read a frozen TensorFlow graph: the GraphDef message in protocol buffers' wire format.

A field is a key (its number and three bits that say how it is written) and a value: a varint, 8 bytes, a length and as
many bytes, or 4 bytes. The numbers are those of graph.proto, node_def.proto, attr_value.proto and tensor.proto.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NODE = 1  # of a GraphDef
NAME, KIND, INPUT, ATTRIBUTE = 1, 2, 3, 5  # of a node
KEY, VALUE = 1, 2  # of an attribute
REAL, TENSOR = 4, 8  # of its value
SHAPE, CONTENT = 2, 4  # of a tensor; the content is raw little-endian
DIMENSION, SIZE = 2, 1  # of a shape


class NotAGraph(ValueError):
    """The bytes are no GraphDef."""


@dataclass(frozen=True)
class Node:
    """One operation: its kind ("Conv2D"), the nodes it takes, and its attributes as the file has them."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    attributes: dict[str, bytes]

    def real(self, name: str) -> float:
        """An attribute that is a number."""
        value: float = struct.unpack("<f", dict(fields(self.attributes[name]))[REAL])[0]
        return value

    def tensor(self) -> NDArray[np.float32]:
        """The value of a constant of float32."""
        tensor = dict(fields(dict(fields(self.attributes["value"]))[TENSOR]))
        sizes = (dict(fields(value)) for number, value in fields(tensor[SHAPE]) if number == DIMENSION)
        return np.frombuffer(tensor[CONTENT], "<f4").reshape([int.from_bytes(size[SIZE], "little") for size in sizes])


def fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and the bytes of each field, a varint's little-endian; NotAGraph where they are no message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        way = key & 7
        if way == 0:
            value, at = varint(data, at)
            yield key >> 3, value.to_bytes(8, "little")
            continue
        if way == 2:
            size, at = varint(data, at)
        elif way in (1, 5):
            size = 8 if way == 1 else 4
        else:
            raise NotAGraph(f"has a field of the unknown kind {way} before byte {at}")
        if size > len(data) - at:
            raise NotAGraph(f"ends at byte {len(data)}, in the middle of a value")
        yield key >> 3, data[at : at + size]
        at += size


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer at `at`, seven bits a byte, lowest first, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at == len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value % 2**64, at
    raise NotAGraph(f"has an integer without end before byte {at}")


def read_nodes(data: bytes) -> list[Node]:
    """The nodes of a graph, each behind those that it takes; NotAGraph where the bytes are none."""
    return [_node(value) for number, value in fields(data) if number == NODE]


def folded_weights(data: bytes) -> list[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
    """Weight (outputs, inputs, rows, columns) and bias of each convolution in order, batch norms folded into them."""
    nodes = read_nodes(data)
    constants = {node.name: node for node in nodes if node.kind == "Const"}
    weights: list[tuple[NDArray[np.float32], NDArray[np.float32] | None]] = []
    for node in nodes:
        if node.kind not in ("Conv2D", "DepthwiseConv2dNative", "FusedBatchNorm", "BiasAdd"):
            continue
        parameters = [constants[name.removesuffix("/read")].tensor() for name in node.inputs[1:]]
        if node.kind == "Conv2D":  # rows, columns, inputs, outputs
            weights.append((parameters[0].transpose(3, 2, 0, 1), None))
        elif node.kind == "DepthwiseConv2dNative":  # rows, columns, channels, 1
            weights.append((parameters[0].transpose(2, 3, 0, 1), None))
        elif node.kind == "BiasAdd":
            weights[-1] = weights[-1][0], parameters[0]
        else:
            gamma, beta, mean, variance = parameters
            gain = gamma / np.sqrt(variance + np.float32(node.real("epsilon")))
            weights[-1] = weights[-1][0] * gain[:, None, None, None], beta - mean * gain
    return weights


def _node(data: bytes) -> Node:
    said: dict[int, list[bytes]] = {}
    for number, value in fields(data):
        said.setdefault(number, []).append(value)
    attributes = (dict(fields(attribute)) for attribute in said.get(ATTRIBUTE, []))
    return Node(
        name=said[NAME][0].decode(),
        kind=said[KIND][0].decode(),
        inputs=tuple(name.decode() for name in said.get(INPUT, [])),
        attributes={one[KEY].decode(): one[VALUE] for one in attributes},
    )
