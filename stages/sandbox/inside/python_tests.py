"""Jobs of kind `tests`: a Python module under test and the text of its tests.

Runs inside the sandbox and imports the standard library alone (and pytest, where the tests lean on it).

The supervisor plans the tests and starts the runner, a process of its own. The runner compiles and runs the code under
test; once that has ended normally, with no thread left behind, the supervisor hands over the planned tests and a
secret that was made outside. Each result carries the secret; results count only if all expected ones came, in order,
then the closing message, and the process ended by itself with exit code 0.

Covered: leaving early in any way (sys.exit, os._exit, signals, exec, threads, children), output that looks like
results, descriptors written to, files left for a later sample. Not covered: code that patches or inspects, from
inside the runner's interpreter, what the tests use (builtins, objects that claim equality, frames, the secret itself
while tests run): whoever needs that keeps tests and code in separate processes.
"""

import base64
import contextlib
import errno
import gc
import hmac
import json
import marshal
import os
import signal
import sys
import traceback
from collections.abc import Callable

import python_plan
from python_program import BROKEN_SOURCE, compile_source, new_module
from supervise import Supervisor, read_exactly, receive, restore_streams, write_all

MESSAGE_LIMIT = 1 << 20  # bytes that a runner may send in all
DETAIL_LENGTH = 400
NO_TESTS = {"steps": base64.b64encode(marshal.dumps([])).decode(), "total": 0, "pytest": False}
WRONG_ANSWERS = ("AssertionError", "Failed")  # Failed: pytest.fail and a missing exception
RESOURCE_ERRORS = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EAGAIN)


def run(supervisor: Supervisor, job: dict) -> dict:
    """Run `code` under `limits`, then the tests. What these are comes in a second message, which is read when the
    code's process has been started, so that nothing of it is in that process: `tests`, `entry_point`, `secret`, and
    `plan`, None or that of an earlier job with the same tests.

    Reports plan (what a later job may be given), broken_tests (None or a message), compile and load (None or a
    message: the code does not compile, does not run), load_kind ("error", "resource", "wrong"), loaded, missing (None,
    or what the tests import in vain), results ([[kind, label, message]]; kind "pass", "wrong", "error" or "resource"),
    total (tests known of), complete (all evidence is there) and ended (as Supervisor.run tells it).
    """
    ledger = _Ledger()
    run_items = getattr(sys.modules.get("python_items"), "run_items", None)
    source, limits = job["code"], job["limits"]
    ended = supervisor.run(
        lambda channel: _main(source, run_items, channel),
        limits,
        capture=False,
        listen=ledger.receive,
        started=lambda: ledger.open(receive(supervisor.host)),
    )
    return {**ledger.report(ended), "ended": ended}


class _Ledger:
    """The supervisor's account of what the runner has said."""

    def __init__(self) -> None:
        self.secret, self.plan = "", NO_TESTS
        self.buffer = bytearray()
        self.received = 0
        self.facts: dict = {"compile": None, "load": None, "load_kind": None, "loaded": False, "missing": None}
        self.results: list = []
        self.items: int | None = None
        self.closed = False

    def open(self, message: dict) -> None:
        """Take in what the tests are."""
        self.secret, self.plan, broken = message["secret"], message["plan"], None
        if self.plan is None:
            try:
                self.plan = python_plan.plan(message["tests"], message["entry_point"])
            except BROKEN_SOURCE as error:
                line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
                broken = f"{line}{type(error).__name__}: {getattr(error, 'msg', None) or error}"
                self.plan = NO_TESTS
        self.facts["broken_tests"] = broken

    def receive(self, data: bytes, channel: int) -> None:
        """Take what came; the tests go out when the module has loaded."""
        self.received += len(data)
        if self.received > MESSAGE_LIMIT:
            return
        self.buffer += data
        while (end := self.buffer.find(b"\n")) >= 0:
            line, self.buffer = bytes(self.buffer[:end]), self.buffer[end + 1 :]
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                self._message(json.loads(line), channel)

    def _message(self, message: dict, channel: int) -> None:
        if not self.facts["loaded"]:
            if message.get("loaded") is True:
                self.facts["loaded"] = True
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    os.set_blocking(channel, True)
                    tests = marshal.dumps((self.secret, base64.b64decode(self.plan["steps"])))
                    write_all(channel, len(tests).to_bytes(4, "big") + tests)
                    os.set_blocking(channel, False)
            else:
                for key in ("compile", "load", "load_kind"):
                    if key in message:
                        self.facts[key] = str(message[key])[:DETAIL_LENGTH]
        elif hmac.compare_digest(str(message["secret"]).encode(), self.secret.encode()) and not self.closed:
            if "items" in message:
                self.items = int(message["items"])
            elif "missing" in message:
                self.facts["missing"] = str(message["missing"])[:DETAIL_LENGTH]
            elif "end" in message:
                self.closed = message["end"] == len(self.results)
            else:
                self.results.append([str(part)[:DETAIL_LENGTH] for part in message["result"]])

    def report(self, ended: dict) -> dict:
        """The account, closed."""
        total = self.plan["total"] + (self.items or 0)
        wanted = self.items is not None or not self.plan["pytest"]
        complete = self.closed and wanted and len(self.results) == total and ended["exit"] == 0
        return {**self.facts, "plan": self.plan, "results": self.results[:total], "total": total, "complete": complete}


def _say(channel: int, **message: object) -> None:
    write_all(channel, json.dumps(message).encode() + b"\n")


def _main(source: str, run_items: Callable | None, channel: int) -> None:
    """The runner: code under test, then the tests."""
    own = os.getpid()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    code = compile_source(source, "solution.py")
    if isinstance(code, str):
        _say(channel, compile=code)
        os._exit(0)
    restore_streams()
    module = new_module("solution")
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        if os.getpid() != own:
            os._exit(1)
        _say(channel, load=_describe(error), load_kind=_kind(error))
        os._exit(0)
    if os.getpid() != own:
        os._exit(0)  # a copy that the code under test has made of itself
    if len(sys._current_frames()) > 1 or _has_children():
        _say(channel, load="leaves threads or processes running", load_kind="error")
        os._exit(0)
    _say(channel, loaded=True)
    secret, steps = _receive_tests(channel)
    _run_steps(_Results(channel, secret), steps, module.__dict__, run_items)
    os._exit(0)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _receive_tests(channel: int) -> tuple[str, list]:
    size = int.from_bytes(read_exactly(channel, 4), "big")
    secret, steps = marshal.loads(read_exactly(channel, size))
    return secret, marshal.loads(steps)


class _Results:
    """What the runner tells the supervisor."""

    def __init__(self, channel: int, secret: str) -> None:
        self.channel, self.secret, self.count = channel, secret, 0

    def add(self, kind: str, label: str, message: str = "") -> None:
        """One test's result."""
        self.count += 1
        _say(self.channel, secret=self.secret, result=[kind, label, message])

    def say(self, **message: object) -> None:
        """A message that is no result."""
        _say(self.channel, secret=self.secret, **message)


def _run_steps(results: _Results, steps: list, names: dict, run_items: Callable | None) -> None:
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
            names = dict(names)
        is_test = kind in (python_plan.TEST, python_plan.FUNCTION)
        try:
            exec(marshal.loads(code), names)
        except BaseException as error:
            found = _kind(error), _describe(error)
            if is_test:
                results.add(found[0], label, "" if found[0] == "wrong" else trouble or found[1])
            elif kind == python_plan.IMPORT and isinstance(error, ImportError) and error.name != "solution":
                results.say(missing=found[1])
            else:
                trouble = trouble or found[1]
        else:
            if is_test:
                results.add("pass", label)
    results.say(end=results.count)


def _kind(error: BaseException) -> str:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in RESOURCE_ERRORS):
        return "resource"
    return "wrong" if type(error).__name__ in WRONG_ANSWERS else "error"


def _describe(error: BaseException) -> str:
    try:
        return traceback.format_exception_only(error)[-1].strip()[:DETAIL_LENGTH]
    except BaseException:
        return "an exception that cannot be shown"
    finally:
        gc.collect(0) if isinstance(error, MemoryError) else None
