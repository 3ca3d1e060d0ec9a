"""Look at very many videos on the machines of a Ray cluster: each is a task that does what is done here otherwise."""

from __future__ import annotations

import logging
import socket
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

PATIENCE_S = 5.0


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
    if address not in ("auto", "local"):
        _check(address)
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    except ConnectionError as error:
        raise Usage(f"no Ray cluster answers at {address}: start one with ray start, or give --ray local") from error
    return ray


def _check(address: str) -> None:
    """Raises Usage where nothing listens at HOST:PORT or ray://HOST:PORT: Ray itself tries for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), PATIENCE_S).close()
    except (OSError, ValueError):
        raise Usage(
            f"no Ray cluster answers at {address}: give its head's HOST:PORT, or --ray local for this machine alone"
        ) from None


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
