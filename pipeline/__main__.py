"""One process of a graph: receive, call the stages, send, stop. The supervisor starts `python -m pipeline FD PID`."""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.control import EXIT_FAILED, Channel, Start, Trouble
from pipeline.errors import Failed
from pipeline.hearing import Hearing
from pipeline.logs import log_to
from pipeline.model import set_thread_budget
from pipeline.process import Node
from pipeline.reading import Reading

PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


def die_with(parent: int) -> None:
    """Die within the second in which the supervisor does, however it does (prctl(2), PR_SET_PDEATHSIG)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def main(arguments: Sequence[str]) -> int:
    """Run until the stream ends; returns the exit status."""
    faulthandler.enable()  # a crash in a library says where, too
    descriptor, parent = map(int, arguments)
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to hear
    channel = Channel(socket.socket(fileno=descriptor))
    start = channel.order(wait=True)
    if not isinstance(start, Start):
        return 0  # the supervisor changed its mind
    log_to(Path(start.log), start.name)
    set_thread_budget(start.threads)
    log.info("started", extra={"restarts": start.restarts})
    try:
        node = Node(channel, start)
        (Reading(node) if start.source else Hearing(node)).run()
        node.close()
    except Failed as error:
        log.error("failed", extra={"sentence": str(error)})
        channel.send(Trouble(str(error), error.code))
        return EXIT_FAILED
    log.info("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
