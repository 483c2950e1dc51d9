"""Jobs of kind `judge`: the tests of a Python module that lives in another sandbox.

Runs inside the sandbox and imports the standard library alone (and pytest, where the tests lean on it).

The tests, and all that they expect, are in this job's processes alone. What they use of the module under test are
stand-ins that ask its process, over a socket, for values; those are rebuilt here and compared here (judge_peer.py).
The verdict is what CPython would say of the tests' module: a step that is no test and raises ends it. A test counts
when the judge has run it to its end itself; a pass needs all expected results, in order, at least one assertion that
was evaluated (python_assertions.py), that the entry point was there and was used, the closing message, and that the
module's process was there until then (verifiers/ledger.py).
"""

import base64
import json
import marshal
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import files
import python_assertions
import python_plan
import remote
from confine import SET_DUMPABLE, libc
from judge_peer import MISSING, Builtins, Gone, JudgePeer, Names, Solution
from python_candidate import describe, kind_of
from python_collect import enter_module, functions, names_in, what_it_lacks
from supervise import PEER, write_all

DETAIL_LENGTH = 400
FIRST_NAME = re.compile(r"\w*")
TESTS_FILE = "/tmp/test_task.py"  # what tests take themselves for; it is not there
RECURSION_LIMIT = 8000  # callbacks between two processes take more frames than a call does
collectors: list[Callable] = []  # of pytest's items: python_items.run_items, where that has been loaded


def main(job: dict, channel: int) -> None:
    """Run the tests of `plan` (as python_plan.run reports it) against the module at the peer socket.

    `entry_point` is the task's, or null. Says to the host, in lines that begin with the job's `token`, which nothing
    that is written in this process's name can have, and hold JSON: `items` (how many tests pytest has
    collected), `missing` (what the tests import in vain, or lack otherwise), `result` ([kind, label, message]; kind
    "pass", "wrong", "error" or "resource") for each test, `trouble` (the same, of a step that is no test and ends the
    module), and `end`, the number of results. With `end` come `asserted` (how many assertions were evaluated once the
    solution had been asked for something), `exited` (whether the tests have ended the module themselves, as a
    success) and `unused` (the entry point, if it is there and the tests did not use it).
    """
    libc.prctl(SET_DUMPABLE, 0, 0, 0, 0)  # its memory is not to be read by way of /proc, not even from here
    plan = job["plan"]
    steps = marshal.loads(base64.b64decode(plan["steps"])) if plan["steps"] else []
    connection = socket.socket(fileno=PEER)
    sys.setrecursionlimit(RECURSION_LIMIT)
    results = _Results(channel, job["token"], plan["failures"])
    try:
        peer = JudgePeer(connection, tuple(plan["wishes"]), plan["guarded"], plan["assertions"])
        peer.classes = frozenset(plan["classes"])
        peer.entry_name = FIRST_NAME.match(job["entry_point"] or "")[0]
        results.peer = peer
        names = Names(
            peer, job["entry_point"], {"__name__": "test_task", "__file__": TESTS_FILE, **Assertions(results).names()}
        )
        if plan["bodies"]:
            names["__builtins__"] = Builtins(names)
        sys.modules["solution"] = Solution(names)
        enter_module(names)
        if "files" in plan["wishes"]:
            tempfile.tempdir = files.ROOT
        _run_steps(results, steps, names, collectors[0] if collectors else None)
    except Gone:
        pass
    os._exit(0)


class _Results:
    """What the host is told. `failures`: first and last lines of the statements by which the tests themselves fail."""

    def __init__(self, channel: int, token: str, failures: list[list[int]]) -> None:
        self.channel, self.token, self.count, self.asserted, self.failed = channel, token, 0, 0, False
        self.peer: JudgePeer | None = None
        self._failures = failures

    def add(self, kind: str, label: str, message: str = "") -> None:
        """One test's result; none where the candidate has gone meanwhile."""
        if self.peer is not None and self.peer.gone:
            raise Gone
        if self.peer is not None and self.peer.failed:
            self.peer.failed.clear()
            if kind == "pass":
                kind, message = "wrong", "an assertion failed and was swallowed"
        self.count += 1
        self.failed = self.failed or kind != "pass"
        self.say(result=[kind, label[:DETAIL_LENGTH], message[:DETAIL_LENGTH]])

    def trouble(self, kind: str, label: str, message: str) -> None:
        """What has ended the module."""
        if self.peer is not None and self.peer.gone:
            raise Gone
        self.failed = True
        self.say(trouble=[kind, label[:DETAIL_LENGTH], message[:DETAIL_LENGTH]])

    def say(self, **message: object) -> None:
        """A message that is no result."""
        write_all(self.channel, f"{self.token}{json.dumps(message)}\n".encode())

    def kind_of(self, error: BaseException) -> str:
        """Of a failure: "wrong" where the tests have failed by an assertion or another statement of theirs; "error" or
        "resource" for all that the solution raised, and for what its values led to."""
        if is_theirs(error):
            return "resource" if kind_of(error) == "resource" else "error"
        found = kind_of(error)
        return "wrong" if found == "error" and self._is_by_the_tests(error) else found

    def _is_by_the_tests(self, error: BaseException) -> bool:
        """Whether a `raise` or an exit of the tests' text has raised it."""
        trace = error.__traceback__
        line = 0
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "tests.py":
                line = trace.tb_lineno
            trace = trace.tb_next
        return any(first <= line <= last for first, last in self._failures)

    def is_good_end(self, error: BaseException) -> bool:
        """Whether the tests' own text has ended the script, with a status of success."""
        good = type(error) is SystemExit and (error.code is None or (isinstance(error.code, int) and error.code == 0))
        return good and not is_theirs(error)


def is_theirs(error: BaseException) -> bool:
    """Whether an exception is the solution's."""
    return remote.number_of(error) is not None


class Assertions:
    """What instrumented tests call; the names are those of python_assertions.py."""

    def __init__(self, results: _Results) -> None:
        self._results = results

    def names(self) -> dict[str, Callable]:
        """The global names that the tests find these by."""
        return {
            python_assertions.HELD: self.held,
            python_assertions.CHECKED: self.checked,
            python_assertions.ASSERTING: self.asserting,
            python_assertions.SWALLOWED: self.swallowed,
        }

    def held(self) -> None:
        """An assertion has held. Before the solution was asked for anything it says nothing of it."""
        if self._results.peer.found:
            self._results.asserted += 1

    def checked(self, value: Any) -> Any:
        """A condition was worked out that decides whether the tests fail."""
        self.held()
        return value

    def asserting(self, function: Any) -> Any:
        """The same function; it counts when it has ended well, unless it is the solution's."""
        if remote.number_of(function) is not None or isinstance(function, remote.Method):
            return function

        def call(*args: Any, **kwargs: Any) -> Any:
            found = function(*args, **kwargs)
            self.held()
            return found

        return call

    def swallowed(self) -> None:
        """A handler of the tests that does no more than report has caught an error: a failed assertion still fails."""
        error = sys.exception()
        if isinstance(error, AssertionError) and not is_theirs(error):
            self._results.peer.failed[id(error)] = error


def _run_steps(results: _Results, steps: list, names: Names, run_items: Callable | None) -> None:
    """Every test is run, also after one has failed, until a step that is no test raises or the tests exit."""
    for kind, label, code in steps:
        if kind == python_plan.COLLECT:
            _run_collected(results, marshal.loads(code), names, run_items)
            break
        if kind == python_plan.BIND:
            names = names.child()
        is_test = kind == python_plan.TEST
        try:
            exec(marshal.loads(code), names)
        except Gone:
            raise
        except BaseException as error:
            if _goes_on(results, kind, label, error):
                continue
            exited = results.is_good_end(error)
            if exited:  # what is in functions is run all the same: the text may have left that to a runner
                _run_collected(results, marshal.loads(steps[-1][2]), names, run_items)
            _end(results, exited)
            return
        else:
            if is_test:
                results.add("pass", label)
    _end(results, exited=False)


def _run_collected(results: _Results, told: dict, names: Names, run_items: Callable | None) -> None:
    """The tests in functions and classes of the text, as pytest collects them."""
    if told["pytest"]:
        if run_items is None:
            results.say(missing="pytest")
        else:
            run_items(names_in(names, told), names, results)
        return
    found = list(functions(names, told))
    results.say(items=len(found))
    for name, function in found:
        if lack := what_it_lacks(function):
            results.say(missing=f"{name}: {lack}")
            continue
        try:
            function()
        except Gone:
            raise
        except BaseException as error:
            _goes_on(results, python_plan.TEST, name, error)
        else:
            results.add("pass", name)


def _goes_on(results: _Results, kind: str, label: str, error: BaseException) -> bool:
    """Tell of a step that has raised; whether the next one is run."""
    is_test = kind == python_plan.TEST
    if kind == python_plan.PRELUDE:
        return True
    if is_lacking(error, kind == python_plan.IMPORT):
        results.say(missing=describe(error))
        return True
    if results.is_good_end(error):
        if is_test:
            results.add("pass", label)
        return False
    found = results.kind_of(error)
    if is_test:
        results.add(found, label, "" if found == "wrong" else describe(error))
    else:
        results.trouble(found, label, describe(error))
    return is_test


def is_lacking(error: BaseException, importing: bool = False) -> bool:
    """Whether the tests want a module that is not there, or (`importing`) something that a module does not hold; the
    module under test does not count."""
    kind = ImportError if importing else ModuleNotFoundError
    return isinstance(error, kind) and error.name != "solution" and not is_theirs(error)


def _end(results: _Results, exited: bool) -> None:
    """The closing message, when all that the tests' text holds has been run."""
    peer = results.peer
    if peer.gone:
        return
    if peer.failed:
        results.trouble("wrong", "", "an assertion failed and was swallowed")
    unused = None if results.failed else peer.unused_entry()
    if unused == MISSING:
        results.trouble("error", "", f"the solution defines no {peer.entry_name}")
        unused = None
    if not peer.gone:
        results.say(end=results.count, asserted=results.asserted, exited=exited, unused=unused)
