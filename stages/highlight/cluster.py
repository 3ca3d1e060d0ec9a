"""Look at very many videos on the machines of a Ray cluster: each is a task that does what is done here otherwise."""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from pipeline.errors import Failed, Usage
from pipeline.home import home, keys
from stages.gallery.store import Store as Gallery
from stages.highlight.analyse import LOOK_S, alone, analyse
from stages.highlight.faces import FacesSeen, FacesSeenConfig
from stages.highlight.known import FOLDER, enrolled, forget_again, here
from stages.highlight.progress import Bars
from stages.highlight.store import Store, told
from stages.highlight.videos import State
from stages.highlight.work import CORES_EACH, Found, Looked, Work

PATIENCE_S = 5.0
FINISH_S = 60.0  # how long tasks have for what they have begun, once told to stop
ASK_S = 1.0  # how often a task asks whether it is to stop: very many of them ask one actor

log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """What comes back of a task."""

    signals: bytes  # a snapshot of the video's store
    notes: list[str]  # what was wrong with the video, a sentence each
    whole: bool  # all was seen that can be


def look_on_ray(
    work: Work, videos: Sequence[Found], address: str, bars: Bars, stopped: Sequence[object]
) -> Iterator[Looked]:
    """As `look_at`, on the cluster at `address` ("local": of this machine), where videos have the same paths as here.

    What is kept of a video goes along with its task, and what the task has seen comes back: also once something is in
    `stopped`, but no longer than FINISH_S, nor when more is in it. Raises Usage.
    """
    ray = _ray(address)
    try:
        task, bar = ray.remote(num_cpus=_cores_each(ray))(_task), bars.begin("videos", len(videos))
        stop = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Stop).remote()
        waiting: dict[Any, Found] = {}
        for video in videos:
            if stopped:
                break
            try:
                there = video._replace(path=video.path.absolute())  # a worker stands in a folder of its own
                waiting[task.remote(work, there, _kept(work, video), stop)] = video
            except Failed as error:
                yield Looked(video.path, "", [str(error)])
                bars.advance(bar)
        ends = float("inf")
        while waiting and len(stopped) < 2 and time.monotonic() < ends:
            if stopped:
                ends = min(ends, time.monotonic() + FINISH_S)
                stop.say.remote()
            for ready in ray.wait(list(waiting), timeout=LOOK_S)[0]:
                yield _looked(ray, work, waiting.pop(ready), ready)
                bars.advance(bar)
    finally:
        ray.shutdown()


def _cores_each(ray: Any) -> int:
    """CORES_EACH, as far as a machine of the cluster has them: for a task that asks for more Ray waits for ever."""
    most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    return min(CORES_EACH, max(1, int(most)))


def _kept(work: Work, video: Found) -> bytes:
    store = work.store(video.sha256)
    with alone(video.path, store), told(store), Store(store) as kept:
        return kept.snapshot()


def _looked(ray: Any, work: Work, video: Found, ready: Any) -> Looked:
    """What became of a task that has ended. One that Ray has lost, or a full disk, costs no other video."""
    try:
        seen = ray.get(ready)
        take_over(work, video, seen.signals)
    except ray.exceptions.RayError as error:
        log.error("lost", extra={"video": str(video.path)}, exc_info=True)
        why = f"Ray has not looked at {video.path} ({type(error).__name__}): see {work.log}, and say it again"
        return Looked(video.path, "", [why])
    except Failed as error:
        return Looked(video.path, "", [str(error)])
    return Looked(video.path, video.sha256 if seen.whole else "", seen.notes)


def take_over(work: Work, video: Found, signals: bytes) -> None:
    """Keep what a task has seen of a video, but for those who were forgotten meanwhile. Raises Failed."""
    store = work.store(video.sha256)
    with alone(video.path, store):
        with told(store), Store(store) as kept:
            kept.take_over(signals)
        forget_again(store, Gallery(home(), keys()))


def _ray(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise Usage("Ray is not installed here: pip install framewire[ray], or leave --ray out") from None
    if address not in ("auto", "local"):
        _check(address)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    except ConnectionError as error:
        raise Usage(
            f"no Ray cluster at {address} lets this machine in: start one with ray start, set RAY_AUTH_MODE=token if "
            "it asks for a token, or give --ray local"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray's own ends the process at once
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


class Stop:
    """An actor that the tasks ask whether to stop."""

    def __init__(self) -> None:
        self._said = False

    def say(self) -> None:
        """Stop."""
        self._said = True

    def said(self) -> bool:
        """Whether to stop."""
        return self._said


def _task(work: Work, video: Found, kept: bytes, stop: Any) -> Seen:
    import ray

    asked = float("-inf")

    def goes_on(_: int) -> bool:
        nonlocal asked
        if time.monotonic() - asked < ASK_S:
            return True
        asked = time.monotonic()
        return not ray.get(stop.said.remote())

    return look(work, video, kept, goes_on) if goes_on(0) else Seen(kept, [], whole=False)


def look(work: Work, video: Found, kept: bytes, goes_on: Callable[[int], bool]) -> Seen:
    """Look at one video of which so much is `kept`, on the machine that this is called on."""
    folder = here(home() / FOLDER)
    store, whole = folder / f"{video.sha256}.sqlite", False
    try:
        _check_people(work)
        with alone(video.path, store), told(store):
            with Store(store) as begun:
                begun.take_over(kept)
            notes, whole = _analysed(work, video, store, goes_on)
            with Store(store) as seen:
                kept = seen.snapshot()
            store.unlink()
    except Failed as error:
        notes = [str(error)]
    return Seen(kept, notes, whole)


def _analysed(work: Work, video: Found, store: Path, goes_on: Callable[[int], bool]) -> tuple[list[str], bool]:
    own = store.with_name("highlights.log")
    try:
        state = State.of(video.path)
        return analyse(work.graph, video.path, store, work.settings, work.engine, own, state, goes_on), True
    except Failed as error:
        return [str(error)], False


def _check_people(work: Work) -> None:
    """Raises Failed where others are enrolled: the faces would be taken for looked at, and not everybody looked for."""
    asked = cast(FacesSeenConfig, work.settings[FacesSeen.__name__])
    if enrolled(Gallery(home(), keys()).people()) != asked.enrolled:
        raise Failed(
            f"{socket.gethostname()} has other people enrolled than the machine that asks it: let them share "
            "$FRAMEWIRE_HOME and $FRAMEWIRE_KEYS, or say this again if somebody was enrolled or forgotten just now"
        )
