"""Whenever the process that starts a sandbox is killed, the sandbox ends as well, also on its way up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The process that what is left behind becomes a child of. It kills what it starts, and says what has not ended.
WITNESS = """
import ctypes, json, subprocess, sys, time
import psutil

assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
for delay in json.loads(sys.argv[2]):
    host = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
    assert host.stdout.readline() == b"starting\\n"
    if delay is not None:
        time.sleep(delay)
        host.kill()
    assert host.wait() == -9, host.returncode
left, deadline = True, time.monotonic() + 20
while left and time.monotonic() < deadline:
    for child in psutil.Process().children():
        if child.status() == psutil.STATUS_ZOMBIE:
            child.wait(0)
    left = psutil.Process().children(recursive=True)
    time.sleep(0.02)
print(json.dumps([" ".join(process.cmdline()) for process in left]))
for process in left:
    process.kill()
"""
HOST = """
import os
from stages.sandbox import bubblewrap, host

{before}
print("starting", flush=True)
zygote = host._Zygote(bubblewrap.View(), True)
{after}
"""
GIVEN_UP = """
host.START_SECONDS = 0.001
try:
    host._Zygote(bubblewrap.View(), True)
except Exception:
    host.START_SECONDS = 60.0
else:
    raise AssertionError("it came up")
"""
DIES = "os.kill(os.getpid(), 9)"


def left_behind(before: str = "", after: str = "", delays: tuple[float | None, ...] = (None,)) -> list[str]:
    """Command lines of the processes that outlive a host, for each of `delays` (seconds; None: it ends itself)."""
    host = HOST.format(before=before, after=after)
    command = [sys.executable, "-c", WITNESS, host, json.dumps(delays)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "before",
    [
        f"bubblewrap._map_users = lambda info: {DIES}",  # bubblewrap waits for its users
        f"bubblewrap._map_users = lambda info: info.read(1) and {DIES}",  # the same, with a namespace made
        f"map_users = bubblewrap._map_users; bubblewrap._map_users = lambda info: map_users(info) and {DIES}",
    ],
)
@pytest.mark.skipif("os.geteuid() != 0", reason="only root gives a sandbox users of its own")
def test_a_host_that_dies_while_users_are_set_up(before: str) -> None:
    assert left_behind(before) == []


def test_a_host_that_dies_when_its_sandbox_is_up() -> None:
    assert left_behind(after=DIES) == []


def test_a_host_that_is_killed_at_any_time() -> None:
    delays = tuple(number / 100 for number in range(0, 30, 2))
    assert left_behind(after="import time; time.sleep(60)", delays=delays) == []


def test_a_sandbox_that_is_given_up_on_its_way_up() -> None:
    """As after a fault: closing it, however early, leaves nothing."""
    assert left_behind(GIVEN_UP, DIES) == []
