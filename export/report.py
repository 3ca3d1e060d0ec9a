"""What `evaluate` leaves behind: report.md to read, report.json to compute with, and what made them."""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from export.files import folder_at, write_whole

Facts = dict[str, object]


def described(model: Path) -> Facts:
    """A model file by its name and hash."""
    data = model.read_bytes()
    return {"file": model.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def machine() -> Facts:
    """What the times were measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": 1,
        "onnxruntime": onnxruntime.__version__,
    }


def short(words: Sequence[str]) -> list[str]:
    """A command line with file names in place of paths: where things lay is nobody's business."""
    return [Path(word).name if os.sep in word else word for word in words]


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; None is a dash."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join('-' if cell is None else str(cell) for cell in line)} |" for line in lines)


def folder_for(wanted: Path | None, kind: str, models: Sequence[Path], *more: str) -> Path:
    """The folder for the report, made if need be: the wanted one, or one named after what is measured."""
    name = "-".join([kind, *(model.stem for model in models), *more])
    return folder_at(wanted or Path("out", "evaluate", name))


def write(
    folder: Path, title: str, parts: Sequence[str], pictures: Sequence[str], models: Sequence[Path], facts: Facts
) -> None:
    """report.md of the title, the parts and the pictures, which lie in the folder; report.json of facts. Prints both.

    The first part is printed, and where everything lies.
    """
    command = short(["python", "-m", "export", *sys.argv[1:]])
    here = machine()
    made = f"Made by `{' '.join(command)}` on {here['cpu']}, one thread, ONNX Runtime {here['onnxruntime']}."
    listed = [f"- {one['file']}: {one['bytes']:,} bytes, sha256 {one['sha256']}" for one in map(described, models)]
    shown = [f"![{name}]({name})" for name in pictures]
    text = "\n\n".join([f"# {title}", *parts, *shown, made, "\n".join(listed)])
    whole: Facts = {"command": command, "models": [described(model) for model in models], "machine": here, **facts}
    write_whole(folder / "report.md", f"{text}\n".encode())
    write_whole(folder / "report.json", (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode())
    print(parts[0])
    print(f"\n{', '.join(['report.md', 'report.json', *pictures])} are in {folder}")
