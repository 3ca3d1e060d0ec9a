"""Writes ONNX files of one node, byte by byte, so that tests of loading need no exporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FLOAT, UINT8, INT64, FLOAT16 = 1, 2, 7, 10  # onnx.TensorProto.DataType

Value = tuple[str, int, Sequence[int | str]]  # name, type, sizes; "" is a size without a name


def tiny(
    op: str,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    metadata: Mapping[str, str],
    constant: Sequence[int] = (),
    elsewhere: str = "",
) -> bytes:
    """ModelProto of opset 18: one `op` from all inputs to all outputs.

    There may be an int64 constant more to go in, or one float that lies in the file `elsewhere`.
    """
    names = [name for name, _, _ in inputs] + ["constant"] * bool(constant) + ["weight"] * bool(elsewhere)
    node = b"".join(_text(1, name) for name in names)
    node += b"".join(_text(2, name) for name, _, _ in outputs) + _text(4, op)
    graph = _field(1, node) + _text(2, "tiny")
    if constant:
        shape = _number(1, len(constant)) + _number(2, INT64)
        graph += _field(
            5, shape + b"".join(_number(7, value & (1 << 64) - 1) for value in constant) + _text(8, "constant")
        )
    if elsewhere:
        where = _text(1, "location") + _text(2, elsewhere)
        graph += _field(5, _number(1, 1) + _number(2, FLOAT) + _text(8, "weight") + _field(13, where) + _number(14, 1))
    graph += b"".join(_field(11, _value(value)) for value in inputs)
    graph += b"".join(_field(12, _value(value)) for value in outputs)
    props = b"".join(_field(14, _text(1, key) + _text(2, value)) for key, value in metadata.items())
    return _number(1, 9) + _field(7, graph) + _field(8, _number(2, 18)) + props


def _value(value: Value) -> bytes:
    name, kind, sizes = value
    shape = b"".join(_field(1, _number(1, s) if isinstance(s, int) else _text(2, s) if s else b"") for s in sizes)
    return _text(1, name) + _field(2, _field(1, _number(1, kind) + _field(2, shape)))


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode())


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
