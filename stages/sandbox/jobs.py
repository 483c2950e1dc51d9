"""Jobs that a sandbox carries out, as this side sees them: a description goes in, a report comes out.

A job without a supervisor (inside/direct.py) has a channel besides, on which its process speaks to this side. What
comes there is untrusted: it is taken up to a limit, and nothing is made of it here.
"""

import contextlib
import json
import select
import socket
import time
from collections.abc import Sequence
from typing import Self

REPORT_LIMIT = 256 << 20  # bytes
BLOCK = 1 << 16
# For so long what is said waits, unheard, in the channels, which hold more than most jobs say: being woken for each
# line takes longer than reading them all at the end.
UNHEARD_SECONDS = 0.2
CONFINED = b"\0"  # the first thing that is said on a channel
# Jobs that are known to be good, one of each kind that can be at fault in its own way.
GOOD_LIMITS = {
    "cpu_seconds": 60,
    "wall_seconds": 120,
    "memory_mb": 1024,
    "processes": 64,
    "file_mb": 1,
    "open_files": 64,
    "stack_mb": 8,
    "output_kb": 16,
}
GOOD_PLAN = {
    **{"steps": "", "wishes": [], "guarded": [], "assertions": [], "failures": [], "classes": []},
    "bodies": False,
}
GOOD = {
    "program": {"code": "print(sum(range(10)))", "stdins": [""]},
    "plan": {"tests": "assert True", "entry_point": None, "prompt": ""},
    "judge": {"plan": GOOD_PLAN, "entry_point": None, "token": ""},
    "candidate": {"code": "x = 1"},
}


class Started:
    """A job that runs: its socket and, where it has one, its channel, of which `limit` bytes are taken."""

    def __init__(self, connection: socket.socket, channel: socket.socket | None = None, limit: int = 0) -> None:
        self.connection, self.channel, self.limit = connection, channel, limit
        self.deadline = 0.0
        self.said = bytearray()

    def describe(self, job: dict, seconds: float) -> Self:
        """Send the description of a job whose report is given up after `seconds`. OSError, and the end of the job, for
        a fault."""
        self.deadline = time.monotonic() + seconds
        self.connection.settimeout(seconds)
        try:
            send(self.connection, job)
        except BaseException:
            self.close()
            raise
        return self

    def listen(self) -> bool:
        """Take what is there on the channel; False at its end, and at the limit: a job that says more waits in vain for
        a listener. BlockingIOError where nothing is there."""
        try:
            data = self.channel.recv(BLOCK, socket.MSG_DONTWAIT) if self.channel else b""
        except ConnectionResetError:
            return False
        self.said += data[: self.limit - len(self.said)]
        return bool(data) and len(self.said) < self.limit

    def report(self) -> dict | None:
        """What is on the socket; None for a fault.

        With a channel: `ended`, the report itself, and `said`, the text that came there; what is no UTF-8 in it is made
        lone surrogates. The process must first have said that it was shut in.
        """
        try:
            size = int.from_bytes(_receive(self.connection, 4), "big")
            report = json.loads(_receive(self.connection, size)) if size <= REPORT_LIMIT else {"fault": "too long"}
        except (OSError, EOFError, ValueError):
            return None
        if "fault" in report or self.channel is None:
            return None if "fault" in report else report
        with contextlib.suppress(BlockingIOError):
            while self.listen():
                pass
        if not self.said.startswith(CONFINED):
            return None
        return {"ended": report, "said": self.said[len(CONFINED) :].decode("utf-8", "surrogateescape")}

    def close(self) -> None:
        """Give the job up; the sandbox then ends it."""
        self.connection.close()
        if self.channel:
            self.channel.close()


def known_good(kind: str, tmp_mb: int) -> dict:
    """A job of that kind, or a program, with a /tmp of `tmp_mb` MiB, whose report `is_good` on a sound machine."""
    kind = kind if kind in GOOD else "program"
    return {"kind": kind, "limits": GOOD_LIMITS, "tmp_mb": tmp_mb, **GOOD[kind]}


def is_good(report: dict | None) -> bool:
    """Whether that is what becomes of a known-good job."""
    if report is None:
        return False
    if "said" in report:  # the judge says that it has come to its end, the candidate that it has been loaded
        return report["ended"]["exit"] == 0 and bool(report["said"])
    return bool(report["plan"]) if "plan" in report else [run["stdout"] for run in report["runs"]] == ["45\n"]


def reports(started: Sequence[Started]) -> list[dict | None]:
    """The reports of jobs that run beside each other, None for faults; closes them.

    The processes of a job have ended when its report is there, or end with the sandbox.
    """
    found: dict[int, dict | None] = {}
    ends = {job.connection.fileno(): job for job in started}
    channels = {job.channel.fileno(): job for job in started if job.channel}
    poll = select.poll()
    for end in ends:
        poll.register(end, select.POLLIN)
    begun = time.monotonic()
    heard = False
    try:
        while len(found) < len(started):
            now = time.monotonic()
            if not heard and now - begun >= UNHEARD_SECONDS:
                heard = True
                for channel in channels:
                    poll.register(channel, select.POLLIN)
            until = min(job.deadline for job in started if id(job) not in found)
            until = until if heard else min(until, begun + UNHEARD_SECONDS)
            for descriptor, _ in poll.poll(max(0.0, until - now) * 1000):
                if descriptor in ends:
                    found[id(ends[descriptor])] = ends[descriptor].report()
                    poll.unregister(descriptor)
                    continue
                with contextlib.suppress(BlockingIOError):
                    if not channels[descriptor].listen():
                        poll.unregister(descriptor)
            late = [job for job in started if id(job) not in found and job.deadline <= time.monotonic()]
            found |= {id(job): None for job in late}
    finally:
        for job in started:
            job.close()
    return [found[id(job)] for job in started]


def send(connection: socket.socket, job: dict) -> None:
    """A job's description, as a sandbox reads it."""
    data = json.dumps(job).encode()
    connection.sendall(len(data).to_bytes(4, "big") + data)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        block = connection.recv(min(size - len(data), 1 << 20))
        if not block:
            raise EOFError
        data += block
    return bytes(data)
