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
import subprocess
import sys
import threading
from dataclasses import dataclass

from stages.common.errors import SandboxError
from stages.sandbox import cgroups
from stages.sandbox.bubblewrap import INSIDE_AT, INSTALL, View, interpreter, start
from stages.sandbox.gate import Gate
from stages.sandbox.jobs import Started, is_good, known_good, reports, send

START_SECONDS = 120.0
PATIENCE_SECONDS = 30.0  # beyond a job's own wall limits
END_SECONDS = 10.0
PROBE_MB = 1  # of /tmp
# Jobs of one process, which speaks to this side alone, and how many bytes of that are taken. See inside/direct.py.
DIRECT_KINDS = {"judge": 16 << 20, "candidate": 1 << 16}
# A job that runs nothing; of its limits that on wall-clock time alone counts.
PLAN = "plan"
# Jobs that hold nothing of a sample's, for a process that stays and takes one after another. See inside/zygote.py.
RESIDENTS = {"judge": "session", PLAN: "planner"}
START, START_RESIDENT, START_DIRECT = b"j" + bytes(4), b"r" + bytes(4), b"d"


class _Zygote:
    """One running sandbox with its zygote. SandboxError where it does not come up."""

    def __init__(self, view: View, proc: bool) -> None:
        self.control, theirs = socket.socketpair()
        self.up = False
        self.residents: dict[str, socket.socket] = {}
        command = [interpreter(), "-S", "-s", "-B", f"{INSIDE_AT}/zygote.py", str(theirs.fileno())]
        self.group = cgroups.new()
        with theirs:
            self.process, self.log, spare_user = start(view, command, proc, theirs.fileno(), self.group.prefix)
        self.control.settimeout(START_SECONDS)
        with contextlib.suppress(OSError):
            wish = {"nested": _nesting_allowed(), "spare_user": spare_user, "preload": view.preload}
            self.control.sendall(json.dumps(wish).encode() + b"\n")
            mode = self.control.recv(16)
            if mode in (b"nested\n", b"single\n"):
                self.nested = mode == b"nested\n"
                self.group.joined(self.process.pid)
                self.up = True
                _announce(self.nested)
                return
        self.close()
        raise SandboxError(_explain(self.said()))

    def said(self) -> str:
        """What the sandbox wrote to its stderr, at most 4 KB of it."""
        self.log.seek(0)
        return self.log.read(4096).decode(errors="replace").strip()

    def begin(self, job: dict, peer: socket.socket | None = None) -> Started:
        """Start one job, with `peer` to talk to another. OSError for a fault."""
        self.group.limit(*_needs(job))
        seconds = job["limits"]["wall_seconds"] * max(1, job.get("runs", 1)) + PATIENCE_SECONDS
        connection, theirs = socket.socketpair()
        with theirs:
            if job["kind"] in DIRECT_KINDS:
                started = self._announce_direct(job, connection, theirs, peer)
            else:
                socket.send_fds(self._starter(job), [START], [theirs.fileno()])
                started = Started(connection)
        return started.describe(job, seconds)

    def _announce_direct(
        self, job: dict, connection: socket.socket, theirs: socket.socket, peer: socket.socket | None
    ) -> Started:
        """Have the process of a job without supervisor made."""
        limits = json.dumps(job["limits"]).encode()
        message = START_DIRECT + len(limits).to_bytes(4, "big") + limits
        channel, other_end = socket.socketpair()
        with other_end:
            given = [end.fileno() for end in (theirs, peer, other_end) if end]
            socket.send_fds(self._starter(job), [message], given)
        return Started(connection, channel, DIRECT_KINDS[job["kind"]])

    def _starter(self, job: dict) -> socket.socket:
        """The socket of who takes the job: the zygote, or a process that stays as long as the sandbox."""
        kind = RESIDENTS.get(job["kind"])
        if kind is None:
            return self.control
        if kind not in self.residents:
            self.residents[kind], theirs = socket.socketpair()
            with theirs:
                socket.send_fds(self.control, [START_RESIDENT], [theirs.fileno()])
            send(self.residents[kind], {"kind": kind, "tmp_mb": job["tmp_mb"]})
        return self.residents[kind]

    def close(self) -> None:
        """End the sandbox and everything in it."""
        self.control.close()
        for resident in self.residents.values():
            resident.close()
        if not self.up:  # see bubblewrap.arguments: it must not be killed on its way up, and its socket's end stops it
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
        self.process.kill()
        self.process.wait()
        self.group.close()


def _needs(job: dict) -> tuple[int, int]:
    """What a job may use at most: MiB of memory, what it writes to /tmp and /dev/shm included, and tasks."""
    limits = [job["limits"], *(step["limits"] for step in job.get("steps", ()))]
    return max(each["memory_mb"] for each in limits) + 2 * job["tmp_mb"], max(each["processes"] for each in limits)


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


@dataclass(frozen=True)
class Layout:
    """What this machine lets a sandbox have: `proc`, a /proc, and `nested`, namespaces per job."""

    proc: bool
    nested: bool


def _layout() -> Layout:
    """Found out once by a known-good program. SandboxError where nothing works."""
    with _finding_out:
        return _find_layout()


_finding_out = threading.Lock()


@functools.cache
def _find_layout() -> Layout:
    error = SandboxError("the sandbox does not run a known-good program")
    for proc in (True, False):
        try:
            zygote = _Zygote(View(), proc)
        except SandboxError as found:
            error = found if proc else error
            continue
        try:
            with contextlib.suppress(OSError):
                if is_good(reports([zygote.begin(known_good("program", PROBE_MB))])[0]):
                    return Layout(proc, zygote.nested)
        finally:
            zygote.close()
    raise error


def probe() -> str | None:
    """None where untrusted code can be run here, else one line: why not, and what to do. Cached when it works."""
    try:
        _layout()
    except SandboxError as error:
        return str(error)
    return None


def probe_ahead() -> None:
    """Begin the probe in the background, for those who have something else to do before they need its answer."""
    threading.Thread(target=probe, daemon=True).start()


def abilities() -> dict[str, bool]:
    """What this machine gives a sandbox beyond the necessary: "nested", namespaces per job, and "proc", a /proc that
    shows a job's processes. SandboxError where no sandbox works."""
    layout = _layout()
    return {"nested": layout.nested, "proc": layout.proc}


class Sandbox:
    """Runs jobs, one at a time, for one thread; `gate` is shared by all threads of a pool.

    A job is a dict: `kind` (a script of inside/ documents each), `limits` (see inside/supervise.py), and what the
    kind asks for; `runs` says how many times the wall limit may pass.
    """

    def __init__(self, gate: Gate | None = None) -> None:
        self._gate = gate or Gate()
        self._zygotes: dict[tuple[View, str], _Zygote] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs."""
        return self._closed

    def run(self, job: dict, view: View) -> dict | None:
        """The job's report; None where the job breaks its sandbox each time. SandboxError for faults of the machine.

        A job that its wall limit ended is run once more, alone: a busy machine must not decide a verdict.
        """
        reports = self._run([(job, view)])
        return reports and reports[0]

    def run_pair(self, judge: dict, judge_view: View, candidate: dict, view: View) -> list[dict] | None:
        """The reports of two jobs, each in a sandbox of its own, with a socket between them; else as `run`."""
        return self._run([(judge, judge_view), (candidate, view)])

    def _run(self, jobs: list[tuple[dict, View]]) -> list[dict] | None:
        jobs = [({"tmp_mb": view.tmp_mb, **job}, view) for job, view in jobs]
        with self._gate.shared():
            reports = self._attempt(jobs)
        if reports is not None and not any(map(_ended_by_wall, reports)):
            return reports
        with self._gate.alone():
            if reports is None:
                self._discard_all(jobs)
            reports = self._attempt(jobs)
            if reports is None:
                self._discard_all(jobs)
                good = [(known_good(job["kind"], job["tmp_mb"]), view) for job, view in jobs]
                if not all(map(is_good, self._attempt(good) or [None])):
                    raise SandboxError("the sandbox no longer runs a known-good program; see the system's log")
        return reports

    def _attempt(self, jobs: list[tuple[dict, View]]) -> list[dict] | None:
        """Run jobs beside each other; None where one of them is a fault."""
        peers = list(socket.socketpair()) if len(jobs) > 1 else [None]
        started: list[Started] = []
        try:
            for (job, view), peer in zip(jobs, peers, strict=True):
                started.append(self._zygote(view, _place(job)).begin(job, peer))
        except OSError:
            for each in started:
                each.close()
            return None
        finally:
            for peer in peers:
                if peer:
                    peer.close()
        found = reports(started)
        for job, view in jobs:
            zygote = self._zygote(view, _place(job))
            if not zygote.nested and not zygote.residents:
                self._discard(view, _place(job))
        return None if None in found else found

    def _zygote(self, view: View, place: str) -> _Zygote:
        """The zygote for the jobs of a place; there, one runs at a time."""
        if self._closed:
            raise SandboxError("the sandbox is closed")
        zygote = self._zygotes.get((view, place))
        if zygote is None:
            zygote = self._zygotes[view, place] = _Zygote(view, _layout().proc)
            if self._closed:  # meanwhile, by another thread
                self._discard(view, place)
                raise SandboxError("the sandbox is closed")
        return zygote

    def _discard_all(self, jobs: list[tuple[dict, View]]) -> None:
        for job, view in jobs:
            self._discard(view, _place(job))

    def _discard(self, view: View, place: str) -> None:
        zygote = self._zygotes.pop((view, place), None)
        if zygote:
            zygote.close()

    def close(self) -> None:
        """End all sandboxes; a job that runs in another thread ends as a fault."""
        self._closed = True
        for key in list(self._zygotes):
            self._discard(*key)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ended_by_wall(report: dict) -> bool:
    ends = [*report.get("runs", ()), *report.get("steps", ()), report.get("ended") or {}]
    return any(end.get("limit") == "wall" for end in ends)


def _place(job: dict) -> str:
    """Jobs of different places never share a sandbox: a candidate and its judge, and where namespaces cannot nest all
    that a zygote could turn into."""
    if job["kind"] == "candidate":
        return "candidate"
    return "" if _layout().nested and _nesting_allowed() else RESIDENTS.get(job["kind"], "")
