"""The host's side of the sandbox: starts zygotes, hands them jobs, tells faults from failures.

A fault is a job without a report: the sandbox broke, or a job broke it on purpose. It is tried again in a fresh
sandbox; if it breaks that as well, a known-good program decides. If that fails too the machine is at fault and
SandboxError ends the stage, otherwise the job's own doing is its failure, reported as `None`.
"""

import contextlib
import functools
import json
import os
import socket
import sys

from stages.common.errors import SandboxError
from stages.sandbox.bubblewrap import INSIDE_AT, INSTALL, View, interpreter, start
from stages.sandbox.gate import Gate

START_SECONDS = 120.0
PATIENCE_SECONDS = 30.0  # beyond a job's own wall limits
REPORT_LIMIT = 256 << 20  # bytes
PROBE = {
    "kind": "program",
    "code": "print(sum(range(10)))",
    "stdins": [""],
    "tmp_mb": 1,
    "limits": {
        "cpu_seconds": 60,
        "wall_seconds": 120,
        "memory_mb": 1024,
        "processes": 64,
        "file_mb": 1,
        "open_files": 64,
        "stack_mb": 8,
        "output_kb": 16,
    },
}


class _Zygote:
    """One running sandbox with its zygote. SandboxError where it does not come up."""

    def __init__(self, view: View, proc: bool) -> None:
        self.control, theirs = socket.socketpair()
        command = [interpreter(), "-S", "-s", "-B", f"{INSIDE_AT}/zygote.py", str(theirs.fileno())]
        with theirs:
            self.process, self.log, spare_user = start(view, command, proc, theirs.fileno())
        self.control.settimeout(START_SECONDS)
        with contextlib.suppress(OSError):
            wish = {"nested": _nesting_allowed(), "spare_user": spare_user, "preload": view.preload}
            self.control.sendall(json.dumps(wish).encode() + b"\n")
            mode = self.control.recv(16)
            if mode in (b"nested\n", b"single\n"):
                self.nested = mode == b"nested\n"
                _announce(self.nested)
                return
        self.close()
        raise SandboxError(_explain(self.said()))

    def said(self) -> str:
        """What the sandbox wrote to its stderr, at most 4 KB of it."""
        self.log.seek(0)
        return self.log.read(4096).decode(errors="replace").strip()

    def attempt(self, job: dict, second: dict | None = None) -> dict | None:
        """Run one job; None for a fault. The job's processes have ended on return, or end with the sandbox."""
        patience = job["limits"]["wall_seconds"] * max(1, job.get("runs", 1)) + PATIENCE_SECONDS
        ours, theirs = socket.socketpair()
        try:
            with ours:
                with theirs:
                    socket.send_fds(self.control, [b"j"], [theirs.fileno()])
                ours.settimeout(patience)
                for message in (job, second):
                    if message is not None:
                        data = json.dumps(message).encode()
                        ours.sendall(len(data).to_bytes(4, "big") + data)
                size = int.from_bytes(_receive(ours, 4), "big")
                if size > REPORT_LIMIT:
                    return None
                report = json.loads(_receive(ours, size))
        except (OSError, EOFError, ValueError):
            return None
        return None if "fault" in report else report

    def close(self) -> None:
        """End the sandbox and everything in it."""
        self.control.close()
        self.process.kill()
        self.process.wait()


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        block = connection.recv(min(size - len(data), 1 << 20))
        if not block:
            raise EOFError
        data += block
    return bytes(data)


def _nesting_allowed() -> bool:
    """Tests switch nested namespaces off to walk the other way."""
    return os.environ.get("HALO_FORGE_NESTED", "1") != "0"


@functools.cache
def _announce(nested: bool) -> None:
    """Once in a process: why verifying is slow here."""
    if not nested:
        print("sandboxes cannot nest here: each sample starts one of its own, which is slower", file=sys.stderr)


def _explain(said: str) -> str:
    """One line from what bubblewrap wrote."""
    last = said.splitlines()[-1] if said else "it ended without a word"
    if any(sign in said for sign in ("namespace", "uid map", "Operation not permitted", "Permission denied")):
        return (
            f"the sandbox does not start: {last}; unprivileged user namespaces must be allowed: "
            "sysctl -w user.max_user_namespaces=15000 (Debian also kernel.unprivileged_userns_clone=1, "
            "Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0)"
        )
    return f"the sandbox does not start: {last}; if bubblewrap is older than 0.5, {INSTALL}"


@functools.cache
def _layout() -> bool:
    """Whether /proc can be mounted; found out once by a known-good program. SandboxError where nothing works."""
    error = SandboxError("the sandbox does not run a known-good program")
    for proc in (True, False):
        try:
            zygote = _Zygote(View(), proc)
        except SandboxError as found:
            error = found if proc else error
            continue
        try:
            if _is_good(zygote.attempt(PROBE)):
                return proc
        finally:
            zygote.close()
    raise error


def _is_good(report: dict | None) -> bool:
    run = report["runs"][0] if report and report.get("runs") else {}
    return run.get("exit") == 0 and run.get("stdout") == "45\n"


def probe() -> str | None:
    """None where untrusted code can be run here, else one line: why not, and what to do. Cached when it works."""
    try:
        _layout()
    except SandboxError as error:
        return str(error)
    return None


class Sandbox:
    """Runs jobs, one at a time, for one thread; `gate` is shared by all threads of a pool.

    A job is a dict: `kind` (a script of inside/ documents each), `limits` (see inside/supervise.py), and what the
    kind asks for; `runs` says how many times the wall limit may pass.
    """

    def __init__(self, gate: Gate | None = None) -> None:
        self._gate = gate or Gate()
        self._zygotes: dict[View, _Zygote] = {}
        self._closed = False

    def run(self, job: dict, view: View, second: dict | None = None) -> dict | None:
        """The job's report; None where the job breaks its sandbox each time. SandboxError for faults of the machine.

        `second` is the message that some kinds read when the code under test has been started already.

        A job that its wall limit ended is run once more, alone: a busy machine must not decide a verdict.
        """
        job = {"tmp_mb": view.tmp_mb, **job}
        with self._gate.shared():
            report = self._attempt(job, view, second)
        if report is not None and not _ended_by_wall(report):
            return report
        with self._gate.alone():
            if report is None:
                self._discard(view)
            report = self._attempt(job, view, second)
            if report is None:
                self._discard(view)
                if not _is_good(self._attempt(PROBE, view)):
                    raise SandboxError("the sandbox no longer runs a known-good program; see the system's log")
        return report

    def _attempt(self, job: dict, view: View, second: dict | None = None) -> dict | None:
        if self._closed:
            raise SandboxError("the sandbox is closed")
        zygote = self._zygotes.get(view)
        if zygote is None:
            zygote = self._zygotes[view] = _Zygote(view, _layout())
        report = zygote.attempt(job, second)
        if not zygote.nested:
            self._discard(view)
        return report

    def _discard(self, view: View) -> None:
        zygote = self._zygotes.pop(view, None)
        if zygote:
            zygote.close()

    def close(self) -> None:
        """End all sandboxes; a job that runs in another thread ends as a fault."""
        self._closed = True
        for view in list(self._zygotes):
            self._discard(view)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ended_by_wall(report: dict) -> bool:
    ends = [*report.get("runs", ()), *report.get("steps", ()), report.get("ended") or {}]
    return any(end.get("limit") == "wall" for end in ends)
