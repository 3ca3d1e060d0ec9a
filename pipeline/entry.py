"""One process of a graph: receive, call the stages, send, stop."""

from __future__ import annotations

import faulthandler
import logging
import socket
from pathlib import Path

from pipeline.control import EXIT_FAILED, Channel, Start, Trouble
from pipeline.errors import Failed
from pipeline.hearing import Hearing
from pipeline.logs import log_to
from pipeline.model import set_thread_budget
from pipeline.process import Node
from pipeline.reading import Reading

log = logging.getLogger(__name__)


def main(descriptor: int) -> int:
    """Run until the stream ends, as the supervisor at the other end of `descriptor` orders; returns the exit status."""
    faulthandler.enable()  # a crash in a library says where, too
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
