"""Jobs of kind `judge`: the tests of a Python module that lives in another sandbox.

Runs inside the sandbox and imports the standard library alone (and pytest, where the tests lean on it).

The tests, and all that they expect, are in this job's processes alone. What they use of the module under test are
stand-ins that ask its process, over a socket, for values; those are rebuilt here and compared here (judge_peer.py).
A test counts when the judge has run it to its end itself; a pass needs all expected results, in order, the closing
message, and that the module's process was there until then (verifiers/ledger.py).
"""

import base64
import json
import marshal
import os
import socket
import sys
import tempfile
from collections.abc import Callable

import files
import python_plan
from confine import SET_DUMPABLE, libc
from judge_peer import Builtins, Gone, JudgePeer, Names, Solution
from python_candidate import describe, kind_of
from python_script import new_module
from supervise import PEER, write_all

DETAIL_LENGTH = 400
RECURSION_LIMIT = 8000  # callbacks between two processes take more frames than a call does
collectors: list[Callable] = []  # of pytest's items: python_items.run_items, where that has been loaded


def main(job: dict, channel: int) -> None:
    """Run the tests of `plan` (as python_plan.run reports it) against the module at the peer socket.

    `entry_point` is the task's, or null. Says to the host, in lines that begin with the job's `token`, which nothing
    that is written in this process's name can have, and hold JSON: `items` (how many tests pytest has
    collected), `missing` (what the tests import in vain), `result` ([kind, label, message]; kind "pass", "wrong",
    "error" or "resource") for each test, and `end`, the number of results.
    """
    libc.prctl(SET_DUMPABLE, 0, 0, 0, 0)  # its memory is not to be read by way of /proc, not even from here
    plan = job["plan"]
    steps = marshal.loads(base64.b64decode(plan["steps"])) if plan["steps"] else []
    connection = socket.socket(fileno=PEER)
    new_module("test_task")
    sys.setrecursionlimit(RECURSION_LIMIT)
    results = _Results(channel, job["token"])
    try:
        peer = JudgePeer(connection, tuple(plan["wishes"]), plan["guarded"], plan["assertions"])
        peer.classes = frozenset(plan["classes"])
        names = Names(peer, job["entry_point"], {"__name__": "test_task"})
        if plan["bodies"]:
            names["__builtins__"] = Builtins(names)
        sys.modules["solution"] = Solution(names)
        if "files" in plan["wishes"]:
            tempfile.tempdir = files.ROOT
        results.peer = peer
        _run_steps(results, steps, names, collectors[0] if collectors else None)
    except Gone:
        pass
    os._exit(0)


class _Results:
    """What the host is told."""

    def __init__(self, channel: int, token: str) -> None:
        self.channel, self.token, self.count = channel, token, 0
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
        self.say(result=[kind, label[:DETAIL_LENGTH], message[:DETAIL_LENGTH]])

    def say(self, **message: object) -> None:
        """A message that is no result."""
        write_all(self.channel, f"{self.token}{json.dumps(message)}\n".encode())


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
