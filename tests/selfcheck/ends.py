"""Checks that end in each way that there is, for the process that they run in to be told of."""

import os
import signal
import sys
import time

from toolbox.checks.results import Result


def fine(full: bool) -> Result:
    return Result(1, "fine", "pass", "full" if full else "quick", figures={"process": os.getpid()})


def two(full: bool) -> list[Result]:
    return [Result(1, "one", "pass", "a"), Result(1, "other", "fail", "b")]


def raises(full: bool) -> Result:
    raise RuntimeError("HIP error: invalid device function\nand more lines")


def crashes(full: bool) -> Result:
    print("Memory access fault by GPU node-1 on address 0x7f00. Reason: Page not present.", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
    return fine(full)


def hangs(full: bool) -> Result:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:  # as a worker does that holds what was inherited open
        time.sleep(600)
    print("loading data with workers 2, pinned", flush=True)
    time.sleep(600)
    return fine(full)


def leaves(full: bool) -> Result:
    sys.exit(3)
