"""Look at very many videos on the machines of a Ray cluster: each is a task that does what is done here otherwise."""

from __future__ import annotations

import logging
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import Failed, Usage
from stages.highlight.analyse import LOOK_S, alone, analyse
from stages.highlight.progress import Bars
from stages.highlight.store import Store, told
from stages.highlight.videos import State
from stages.highlight.work import CORES_EACH, Found, Looked, Work

PATIENCE_S = 5.0


def look_on_ray(
    work: Work, videos: Sequence[Found], address: str, bars: Bars, stopped: Sequence[object]
) -> Iterator[Looked]:
    """As `look_at`, on the cluster at `address` ("local": of this machine), where videos have the same paths as here.

    What is kept of a video goes along with its task, and what the task has seen comes back. Raises Usage.
    """
    ray = _ray(address)
    try:
        task, bar = ray.remote(num_cpus=CORES_EACH)(_task), bars.begin("videos", len(videos))
        waiting: dict[Any, Found] = {}
        for video in videos:
            store = work.store(video.sha256)
            with alone(video.path, store), told(store), Store(store) as kept:
                waiting[task.remote(work, str(video.path), kept.snapshot())] = video
        while waiting and not stopped:
            for ready in ray.wait(list(waiting), timeout=LOOK_S)[0]:
                video, (signals, notes, whole) = waiting.pop(ready), ray.get(ready)
                store = work.store(video.sha256)
                with alone(video.path, store), told(store), Store(store) as kept:
                    kept.take_over(signals)
                yield Looked(video.path, video.sha256 if whole else "", notes)
                bars.advance(bar)
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


def _task(work: Work, path: str, kept: bytes) -> tuple[bytes, list[str], bool]:
    """Look at one video: what its store holds then, what was wrong, and whether all was seen that can be."""
    with tempfile.TemporaryDirectory() as folder:
        store, log = Path(folder) / "signals.sqlite", Path(folder) / "log"
        store.write_bytes(kept)
        try:
            state = State.of(Path(path))
            notes = analyse(work.graph, Path(path), store, work.settings, work.engine, log, state, lambda _: True)
        except Failed as error:
            notes, whole = [str(error)], False
        else:
            whole = True
        with Store(store) as seen:
            return seen.snapshot(), notes, whole
