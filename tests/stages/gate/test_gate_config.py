"""docs/gate_config.md: it names all that the file may set, and what it shows loads."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from pipeline.config import DERIVED, load
from stages.act.output import OutputConfig
from stages.gate.settings import GateSettings, completed

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
REFERENCE = (DOCS / "gate_config.md").read_text()


def blocks(name: str) -> list[str]:
    return re.findall(r"```toml\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


def settable(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each key below a type, as the document writes it, and its default; msgspec.NODEFAULT where it is required."""
    match kind:
        case inspect.StructType(fields=fields, tag=tag):
            for field in fields:
                if isinstance(field.type, inspect.Metadata) and field.type.extra == DERIVED.extra:
                    continue
                own = (tag,) if tag and field.name not in OutputConfig.__struct_fields__ else path
                below = [*settable(field.type, (*own, field.name))]
                factory = field.default_factory
                default = field.default if factory is msgspec.NODEFAULT else factory()
                yield from below or [(".".join(map(str, (*own, field.name))), default)]
        case inspect.VarTupleType(item_type=inner):
            yield from settable(inner, path)
        case inspect.DictType(value_type=inner):
            yield from settable(inner, (*path, "NAME"))
        case inspect.UnionType(types=types):
            for one in types:
                yield from settable(one, path)


def test_every_key_is_in_the_reference_with_its_default() -> None:
    rows = [re.split(r" *\| *", line.strip("| ")) for line in REFERENCE.splitlines() if line.startswith("| `")]
    told = {".".join(re.findall("`([^`]+)`", row[0])): row[1].strip("`") for row in rows if len(row) == 4}
    keys = dict(settable(inspect.type_info(GateSettings)))
    assert keys.keys() == told.keys()
    for key, default in keys.items():
        if default is msgspec.NODEFAULT or default is None:
            assert told[key] == ("required" if default is msgspec.NODEFAULT else "none"), key
        else:
            assert tomllib.loads(f"value = {told[key]}")["value"] == msgspec.json.decode(
                msgspec.json.encode(default)
            ), key


def test_every_variable_is_in_the_reference() -> None:
    sources = [ROOT / "run_pipeline.py", *(ROOT / "stages").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")]
    read = {name for source in sources for name in re.findall(r"FRAMEWIRE_[A-Z_]*[A-Z]", source.read_text())}
    assert read <= set(re.findall(r"FRAMEWIRE_[A-Z_]*[A-Z]", REFERENCE))


@pytest.mark.parametrize("text", [*blocks("gate_config.md"), *blocks("gate.md")])
def test_the_files_that_are_shown_load(places: Path, text: str) -> None:
    for model in re.findall(r'[^"]+\.onnx', text):
        (places / Path(model).name).write_bytes(b"a network")
    (places / "gate.toml").write_text(re.sub(r'[^"]+/([^/"]+\.onnx)', rf"{places}/\1", text))
    given = load(places / "gate.toml", GateSettings)
    assert completed(given, ["cam0"]).act.doors == {"front": given.gate.doors[0].output}
