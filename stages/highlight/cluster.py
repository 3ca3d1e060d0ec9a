"""Look at very many videos on the machines of a Ray cluster: each is a task that does what is done here otherwise."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import Failed, Usage
from pipeline.files import replace_file
from stages.highlight.analyse import analyse
from stages.highlight.progress import Bars
from stages.highlight.videos import Hashes
from stages.highlight.work import CORES_EACH, Looked, Work


def look_on_ray(work: Work, paths: Sequence[Path], address: str, bars: Bars) -> Iterator[Looked]:
    """As `look_at`, on the cluster at `address` ("local": of this machine), where videos have the same paths as here.

    What is kept of a video goes along with its task, and what the task has seen comes back. Raises Usage.
    """
    ray = _ray(address)
    try:
        hashes, task = Hashes(work.folder), ray.remote(num_cpus=CORES_EACH)(_task)
        bar = bars.begin("videos", len(paths))
        waiting: dict[Any, tuple[Path, str]] = {}
        for path in paths:
            sha256 = hashes.sha256(path)
            store = work.store(sha256)
            waiting[task.remote(work, str(path), store.read_bytes() if store.exists() else b"")] = path, sha256
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting))
            path, sha256 = waiting.pop(ready)
            signals, notes = ray.get(ready)
            if signals:
                replace_file(work.store(sha256), signals, synced=True)
            bars.show(bar, len(paths) - len(waiting))
            yield Looked(path, sha256 if signals else "", notes)
    finally:
        ray.shutdown()


def _ray(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise Usage("Ray is not installed here: pip install framewire[ray], or leave --ray out") from None
    try:
        ray.init(address=None if address == "local" else address, log_to_driver=False, include_dashboard=False)
    except ConnectionError as error:
        raise Usage(f"no Ray cluster answers at {address} ({error}): start one, or give --ray local") from error
    return ray


def _task(work: Work, path: str, kept: bytes) -> tuple[bytes, list[str]]:
    """Look at one video: the content of its store, and what was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        store, log = Path(folder) / "signals.sqlite", Path(folder) / "log"
        if kept:
            store.write_bytes(kept)
        try:
            notes = analyse(work.graph, Path(path), store, work.settings, work.engine, log, lambda _: True)
        except Failed as error:
            notes = [str(error)]
        return store.read_bytes() if store.exists() else b"", notes
