"""Runs checks that could hang or crash in processes of their own; such an end is a result, too."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from toolbox.checks.results import Isolated, Result

ROOT = Path(__file__).parents[2]
SECONDS_TO_START = 120.0  # imports of torch and its libraries, from a cold disk
SECONDS_TO_DIE = 10.0  # a process in a driver's call is deaf to SIGKILL until that returns
LOOK = "see the kernel log (item 12) and items 1 to 4; python toolbox/check.py --only {item} runs it again"


def run_isolated(checks: Sequence[Isolated], full: bool) -> Iterator[Result]:
    """The results of each check in turn. One process runs all, and after one that ended it, another runs the rest."""
    pending = list(checks)
    while pending:
        with _Child(pending, full) as child:
            while pending:
                check = pending.pop(0)
                said = child.answer(check.seconds)
                yield from _results(check, said, child)
                if not isinstance(said, dict) or "error" in said:
                    break


def _results(check: Isolated, said: dict[str, Any] | None, child: "_Child") -> Iterator[Result]:
    if said and "results" in said:
        yield from (Result(**result) for result in said["results"])
        return
    found = said["error"] if said else child.end(check.seconds)
    yield Result(check.item, check.name, "fail", found, remedy=LOOK.format(item=check.item))


class _Child:
    """A process of toolbox/checks/child.py, in a group of its own that ends with the block."""

    def __init__(self, checks: Sequence[Isolated], full: bool) -> None:
        self._buffer, self._first = b"", True
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the block ends
        self._read, write = os.pipe()
        mode = "full" if full else "quick"
        command = [
            *(sys.executable, "-P"),  # the folder that it is started in may have modules of the same names
            *("-m", "toolbox.checks.child", str(write), mode),
            *(check.function for check in checks),
        ]
        places = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=subprocess.STDOUT,
                pass_fds=(write,),
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            )
        finally:
            os.close(write)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        os.close(self._read)
        self._said.close()

    def answer(self, seconds: float) -> dict[str, Any] | None:
        """What the next check says; None where the process ends, or says nothing for so long."""
        until = time.monotonic() + seconds + (SECONDS_TO_START if self._first else 0)
        self._first = False
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            block = os.read(self._read, 1 << 16) if ready else b""
            if not block:
                return None
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def end(self, seconds: float) -> str:
        """How the process ended without an answer, and the last line that it printed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)  # the pipe closes a moment before the process is gone
        code = self._process.poll()
        if code is None:
            dead = self._kill()
            how = f"no answer in {seconds:g} s" + ("" if dead else "; it cannot be killed: restart the machine")
        elif code < 0:
            how = f"the process was ended by {_signal(-code)}"
        else:
            how = f"the process ended with {code} and no answer"
        last = self._last_line()
        return f"{how}; its last line: {last}" if last else how

    def _kill(self) -> bool:
        """End the group. False where the process is still there."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(SECONDS_TO_DIE)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _last_line(self) -> str:
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode("utf-8", "replace").splitlines()]
        return next((line[:200] for line in reversed(lines) if line), "")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
