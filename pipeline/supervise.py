"""Start the processes of a graph, watch them, restart them within a budget, stop them."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from pipeline.briefing import Briefing, EngineConfig, environment
from pipeline.child import IN_SECONDS, STRIKES, Child
from pipeline.config import Config
from pipeline.control import (
    EXIT_FAILED,
    Abort,
    Channel,
    Ended,
    Finish,
    NeedRing,
    NoRing,
    Ready,
    Rings,
    Trouble,
    pair,
)
from pipeline.errors import Failed
from pipeline.frames import RingInfo, allocate
from pipeline.graph import Process, Source, expand
from pipeline.logs import rotate
from pipeline.metrics import Counter, State
from pipeline.rundir import RunDirectory

log = logging.getLogger(__name__)

ABORT_AFTER_S, KILL_AFTER_S = 5.0, 7.0  # but who closes files is not hurried: hours of video take minutes


class Supervisor:
    """One run of a graph. Use as a context: whatever happens, no process, socket or memory is left behind."""

    def __init__(
        self,
        graph: Sequence[Process],
        sources: Sequence[Source],
        settings: Mapping[str, Config],
        engine: EngineConfig,
        log_file: Path,
    ) -> None:
        """`settings` has the config of each stage under its class's name."""
        self.sources = list(sources)
        self.failures: list[str] = []
        self.code = 0
        self._engine = engine
        self._log_file = log_file
        self._rings: dict[str, int] = {}  # source -> the descriptor of its ring
        self._told: list[RingInfo] = []  # all rings there ever were: a ticket of an old one is late, not false
        self._stopping_since: float | None = None  # or since when nothing has got on
        self._progress: list[tuple[int, int]] = []
        self.aborted = False  # what was read may not be done
        self.run = RunDirectory()
        self._briefing = Briefing(self.sources, settings, engine, self.run.path, log_file)
        processes = expand(graph, self.sources)
        self.children = [
            Child(process, n, len(self.sources), self.run.path, engine.crashes) for n, process in enumerate(processes)
        ]

    def __enter__(self) -> Supervisor:
        try:
            for child in reversed(self.children):  # those who hear take longest to load, and are waited for
                self._spawn(child)
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean()

    def step(self, seconds: float) -> bool:
        """See to the processes for at most so long; returns whether any still runs."""
        waiting = [child.channel for child in self.children if child.channel and not child.channel.over]
        ready, _, _ = select.select(waiting, [], [], seconds)
        for child in self.children:
            if child.channel in ready:
                self._listen(child)
            if child.running and child.running.poll() is not None:
                self._gone(child)
            self._watch(child)
        self._hasten()
        rotate(self._log_file)
        return any(child.running for child in self.children)

    def is_under_way(self) -> bool:
        """Whether all processes have loaded, and any source has given a frame."""
        read = any(child.page.get(Counter.SENT) for child in self.children if child.process.source)
        return read and all(child.ready or child.ended for child in self.children)

    def finish(self) -> None:
        """Stop reading; what was read is finished, and the files are closed."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            for child in self.children:
                if child.process.source:
                    child.send(Finish())

    def abort(self) -> None:
        """Stop now: what was written is closed, the rest is given up. To say it again does not put off the end."""
        if self.aborted:
            return
        self.finish()
        self.aborted = True
        self._stopping_since = time.monotonic()
        for child in self.children:
            child.send(Abort())
            if child.running and not child.ready and not child.process.source:
                child.running.kill()  # it is still loading: it has nothing to close, and does not listen

    def _spawn(self, child: Child) -> None:
        ours, theirs = pair()
        start = self._briefing.start(child, self.children, self._told)
        with theirs, child.errors.open("wb") as errors:
            child.running = subprocess.Popen(
                # -P: a folder called pipeline where the user happens to be is not ours
                [sys.executable, "-P", "-m", "pipeline", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[theirs.fileno(), child.page_fd],
                env=environment(start.threads),
                process_group=0,  # a Ctrl-C at the terminal is ours alone
            )
        os.setpriority(os.PRIO_PROCESS, child.running.pid, os.getpriority(os.PRIO_PROCESS, 0) + child.process.nice)
        child.channel = Channel(ours)
        child.ready = child.told_to_abort = False
        child.page.set(Counter.BUSY_SINCE, 0)
        child.page.set(Counter.STATE, State.STARTING)
        child.send(start)
        for other in self.children:
            if other.ended and child.hears(other):
                child.send(self._ended(other))
        if self._stopping_since is not None and child.process.source:
            child.send(Finish())
        if self.aborted:
            child.send(Abort())

    def _listen(self, child: Child) -> None:
        while child.channel and (report := child.channel.report()) is not None:
            match report:
                case Ready():
                    child.ready = True
                    log.info("ready", extra={"child": child.name, "number": child.running and child.running.pid})
                case NeedRing(width, height):
                    self._make_ring(child, width, height)
                case Trouble(sentence, code):
                    self._failed(sentence, code)

    def _make_ring(self, child: Child, width: int, height: int) -> None:
        source = child.process.source
        if source is None:
            raise ValueError(f"{child.name} reads no source and asked for a ring")
        old = self._rings.pop(source.name, None)
        if old is not None:
            os.close(old)
        try:
            fd, info = allocate(source.name, width, height, self._engine.slots)
        except Failed as error:
            child.send(NoRing(str(error)))
            return
        self._rings[source.name] = fd
        self._told.append(info)
        for other in self.children:  # all others first: the first ticket must not be faster than the news
            if other is not child:
                other.send(Rings([info]))
        child.send(Rings([info]))

    def _gone(self, child: Child) -> None:
        self._listen(child)  # its last words
        status = child.running.returncode if child.running else 0
        child.close()
        if status in (0, EXIT_FAILED):
            nothing = all(seq < 0 for seq in child.page.last_sent())
            if status == EXIT_FAILED and not self.failures:
                self._failed(f"{child.name} has failed; see {self._log_file}", 1)
            if status == EXIT_FAILED and (child.process.source is None or nothing):
                self.abort()
            self._end(child)
            return
        self._crashed(child, status)

    def _end(self, child: Child) -> None:
        child.ended = True
        for other in self.children:
            if other.hears(child):
                other.send(self._ended(child))

    def _ended(self, child: Child) -> Ended:
        names = [source.name for source in self.sources]
        last = zip(names, child.page.last_sent(), strict=True)
        return Ended(child.name, {name: seq for name, seq in last if seq >= 0})

    def _crashed(self, child: Child, status: int) -> None:
        if self.aborted and not child.ready:
            self._end(child)
            return
        said = child.errors.read_text(errors="replace").strip() or f"nothing; it ended with {_status(status)}"
        log.error("crashed", extra={"child": child.name, "status": status, "stderr": said[-4000:]})
        for index, seq in child.strike():
            if child.strikes[index, seq] == STRIKES:
                name = self.sources[index].name
                self._failed(
                    f"frame {seq} of {name} killed {child.name} twice and was left out; see {self._log_file}",
                    1,
                )
        if self._stopping_since is not None and time.monotonic() - self._stopping_since > ABORT_AFTER_S:
            self._failed(f"{child.name} did not stop in time and was killed; see {self._log_file}", 1)
            self._end(child)
            return
        if not child.may_restart(time.monotonic()):
            self._failed(
                f"{child.name} crashed {self._engine.crashes} times in {IN_SECONDS:.0f} s; "
                f"the last time it said:\n{said}",
                1,
            )
            self._end(child)
            self.abort()
            return
        child.restarts += 1
        self._spawn(child)

    def _failed(self, sentence: str, code: int) -> None:
        self.failures.append(sentence)
        self.code = max(self.code, code)

    def _watch(self, child: Child) -> None:
        since = child.page.get(Counter.BUSY_SINCE)
        if child.running and child.ready and since and time.monotonic_ns() - since > self._engine.watchdog_s * 1e9:
            log.error("hangs", extra={"child": child.name})
            child.running.kill()
            child.page.set(Counter.BUSY_SINCE, 0)

    def _hasten(self) -> None:
        """Where all stand still when told to stop, work is given up, then killed; who closes files has more time."""
        if self._stopping_since is None:
            return
        progress = [(child.page.get(Counter.SENT), child.page.get(Counter.IN_FLIGHT)) for child in self.children]
        if progress != self._progress and not self.aborted:  # what was read is being finished
            self._progress = progress
            self._stopping_since = time.monotonic()
        late = time.monotonic() - self._stopping_since
        for child in self.children:
            if not child.running or child.page.get(Counter.STATE) == State.CLOSING:
                continue
            if late > KILL_AFTER_S:
                child.running.kill()
            elif late > ABORT_AFTER_S and not child.told_to_abort:
                child.told_to_abort = True
                child.send(Abort())

    def _clean(self) -> None:
        for child in self.children:
            if child.running:
                child.running.kill()
                child.running.wait()
            child.close()
            os.close(child.page_fd)
        for fd in self._rings.values():
            os.close(fd)
        self._rings.clear()
        self.run.remove()


def _status(status: int) -> str:
    """How a process has ended, as Popen's returncode has it."""
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
