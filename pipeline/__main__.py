"""`python -m pipeline FD PID`: one process of a graph, as its supervisor PID starts it."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Die within the second in which the supervisor does, however it does (prctl(2), PR_SET_PDEATHSIG)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    descriptor, supervisor = map(int, sys.argv[1:])
    die_with(supervisor)
    for number in (signal.SIGINT, signal.SIGTERM):  # the supervisor's to hear: it says when to end
        signal.signal(number, signal.SIG_IGN)
    from pipeline.entry import main  # loading it takes seconds on a busy machine, in which the supervisor may die

    sys.exit(main(descriptor))
