"""Jobs of kind `judge`: the tests of a Python module that lives in another sandbox.

Runs inside the sandbox and imports the standard library alone (and pytest, where the tests lean on it).

The tests, and all that they expect, are in this job's processes alone. What they use of the module under test are
stand-ins that ask its process, over a socket, for values; those are rebuilt here and compared here (judge_peer.py).
A test counts when the judge has run it to its end itself; a pass needs all expected results, in order, the closing
message, and that the module's process was there until then.
"""

import base64
import contextlib
import json
import marshal
import os
import random
import signal
import socket
import sys
import tempfile
from collections.abc import Callable

import files
import python_plan
from judge_peer import Gone, JudgePeer, Names, Solution
from python_candidate import describe, kind_of, say
from python_program import BROKEN_SOURCE, new_module
from supervise import PEER, Supervisor, restore_streams

MESSAGE_LIMIT = 16 << 20  # bytes that a runner may send in all
DETAIL_LENGTH = 400
RECURSION_LIMIT = 8000  # callbacks between two processes take more frames than a call does
NO_TESTS = {
    "steps": base64.b64encode(marshal.dumps([])).decode(),
    "total": 0,
    "pytest": False,
    "wishes": [],
    "guarded": [],
}


def run(supervisor: Supervisor, job: dict) -> dict:
    """Run the `tests` of `entry_point` (or null) under `limits`, against the module at the job's peer socket.

    `prompt` is the task's, whose helper functions are the tests' where it is code. `plan`: None, or that of an earlier
    job with the same tests. Reports plan (what a later job may be given), broken_tests (None or a message), missing
    (None, or what the tests import in vain), results ([[kind, label, message]]; kind "pass", "wrong", "error" or
    "resource"), total (tests known of), complete (all evidence is there) and ended (as Supervisor.run tells it).
    """
    plan, broken = job["plan"], None
    if plan is None:
        try:
            plan = python_plan.plan(job["tests"], job["entry_point"], job["prompt"])
        except BROKEN_SOURCE as error:
            line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
            broken = f"{line}{type(error).__name__}: {getattr(error, 'msg', None) or error}"
            plan = NO_TESTS
    ledger = _Ledger(plan)
    run_items = getattr(sys.modules.get("python_items"), "run_items", None)
    ended = supervisor.run(
        lambda channel: _main(plan, job["entry_point"], run_items, channel),
        job["limits"],
        capture=False,
        listen=ledger.receive,
    )
    return {**ledger.report(ended), "broken_tests": broken, "ended": ended}


class _Ledger:
    """The supervisor's account of what the runner has said."""

    def __init__(self, plan: dict) -> None:
        self.plan = plan
        self.buffer = bytearray()
        self.received = 0
        self.missing: str | None = None
        self.results: list = []
        self.items: int | None = None
        self.closed = False

    def receive(self, data: bytes, _channel: int) -> None:
        """Take what came."""
        self.received += len(data)
        if self.received > MESSAGE_LIMIT:
            return
        self.buffer += data
        while (end := self.buffer.find(b"\n")) >= 0:
            line, self.buffer = bytes(self.buffer[:end]), self.buffer[end + 1 :]
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                self._message(json.loads(line))

    def _message(self, message: dict) -> None:
        if self.closed:
            return
        if "items" in message:
            self.items = int(message["items"])
        elif "missing" in message:
            self.missing = str(message["missing"])[:DETAIL_LENGTH]
        elif "end" in message:
            self.closed = message["end"] == len(self.results)
        else:
            self.results.append([str(part)[:DETAIL_LENGTH] for part in message["result"]])

    def report(self, ended: dict) -> dict:
        """The account, closed."""
        total = self.plan["total"] + (self.items or 0)
        wanted = self.items is not None or not self.plan["pytest"]
        complete = self.closed and wanted and len(self.results) == total and ended["exit"] == 0
        return {
            "plan": self.plan,
            "missing": self.missing,
            "results": self.results[:total],
            "total": total,
            "complete": complete,
        }


def _main(plan: dict, entry_point: str | None, run_items: Callable | None, channel: int) -> None:
    """The runner: meets the candidate, then runs the tests."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    steps = marshal.loads(base64.b64decode(plan["steps"]))
    connection = socket.socket(fileno=PEER)
    restore_streams()
    new_module("test_task")
    random.seed(0)
    sys.setrecursionlimit(RECURSION_LIMIT)
    results = _Results(channel)
    try:
        peer = JudgePeer(connection, tuple(plan["wishes"]), plan["guarded"], plan["assertions"])
        names = Names(peer, entry_point, {"__name__": "test_task"})
        sys.modules["solution"] = Solution(names)
        if "files" in plan["wishes"]:
            tempfile.tempdir = files.ROOT
        results.peer = peer
        _run_steps(results, steps, names, run_items)
    except Gone:
        pass
    os._exit(0)


class _Results:
    """What the runner tells the supervisor."""

    def __init__(self, channel: int) -> None:
        self.channel, self.count = channel, 0
        self.peer: JudgePeer | None = None

    def add(self, kind: str, label: str, message: str = "") -> None:
        """One test's result; none where the candidate has gone meanwhile."""
        if self.peer is not None and self.peer.gone:
            raise Gone
        if self.peer is not None and self.peer.failed:
            self.peer.failed.clear()
            if kind == "pass":
                kind, message = "wrong", "the solution kept an assertion from failing"
        self.count += 1
        say(self.channel, result=[kind, label, message])

    def say(self, **message: object) -> None:
        """A message that is no result."""
        say(self.channel, **message)


def _run_steps(results: _Results, steps: list, names: Names, run_items: Callable | None) -> None:
    """Every test is run, also after one has failed. A broken set-up step is told with the next test that fails."""
    trouble = ""
    for kind, label, code in steps:
        if kind == python_plan.PYTEST:
            if run_items is None:
                results.say(missing="pytest")
                continue
            run_items(marshal.loads(code), names, results)
            continue
        if kind == python_plan.BIND:
            names = names.child()
        is_test = kind in (python_plan.TEST, python_plan.FUNCTION)
        try:
            exec(marshal.loads(code), names)
        except Gone:
            raise
        except BaseException as error:
            found = kind_of(error), describe(error)
            if is_test:
                results.add(found[0], label, "" if found[0] == "wrong" else trouble or found[1])
            elif kind == python_plan.IMPORT and isinstance(error, ImportError) and error.name != "solution":
                results.say(missing=found[1])
            elif kind != python_plan.PRELUDE:
                trouble = trouble or found[1]
        else:
            if is_test:
                results.add("pass", label)
    if not results.peer.gone:
        results.say(end=results.count)
