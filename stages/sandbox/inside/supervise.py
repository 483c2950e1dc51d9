"""The supervisor of a job: starts untrusted processes, watches them, and alone reports what they did.

Runs inside the sandbox, as process 1 of the job's own namespaces where those exist, and imports the standard library
alone. It is undumpable, so the processes that it starts cannot read its memory or descriptors, and its end is the end
of every process of the job. A job of a single process without output needs none: see direct.py.
"""

import contextlib
import fcntl
import io
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from confine import become_untrusted, fork
from usage import PERIOD_SECONDS, UsageWatch, peak_passed

BLOCK = 1 << 16
CPU_SLACK_SECONDS = 0.5  # the kernel's account of a process is behind when the limit ends it: 0.24 s on a busy machine
HOST_GONE = select.POLLHUP | select.POLLERR
CHANNEL = 3  # a new process's descriptors: 0-2 as usual, then its channel to whoever reads what it says
PEER = 4  # and the socket to another job's process, where there is one
CONFINED = b"\0"  # its first message


class HostGone(Exception):
    """The other end of the job's socket was closed: nobody waits for the outcome."""


class Supervisor:
    """Starts and watches the untrusted processes of one job; `host` is the descriptor of the job's socket."""

    def __init__(self, host: int) -> None:
        self.host = host

    def run(
        self,
        body: Callable[[int], None],
        limits: dict,
        stdin: bytes = b"",
        capture: bool = True,
        listen: Callable[[bytes, int], None] | None = None,
    ) -> dict:
        """Run `body(channel)` in a new process under `limits`, and end all that is left of it.

        `limits`: those of `become_untrusted`, wall_seconds, output_kb (of stdout and of stderr each; more ends the
        process). `capture` False sends both to /dev/null. `listen(data, channel)` is called with what the process
        writes to its `channel`, a socket. Returns exit and signal (one of them None), limit (None, "cpu", "wall",
        "output" or "memory"), cpu (seconds), stdout and stderr (text; bytes that are no UTF-8 as lone surrogates).
        Raises OSError where the process could not be shut in.
        """
        ours, theirs = _socketpair()
        outputs = [os.pipe(), os.pipe()] if capture else []
        source = _readable(stdin)
        child = fork()
        if child == 0:
            begin(body, limits, source, [pipe[1] for pipe in outputs], theirs)
        for descriptor in (source, theirs, *(pipe[1] for pipe in outputs)):
            os.close(descriptor)
        if os.read(ours, 1) != CONFINED:
            raise OSError("an untrusted process could not be shut in")
        os.set_blocking(ours, False)
        try:
            watch = Watch(self.host, child, limits, [pipe[0] for pipe in outputs], ours, listen)
            limit = watch.until_end()
        finally:
            kill_rest(child)
        status, used = reap(child)
        watch.drain()
        for descriptor in (ours, *(pipe[0] for pipe in outputs)):
            os.close(descriptor)
        if limit is None and watch.overflowed():
            limit = "output"
        return {**end_of(status, used, limit, limits), "stdout": watch.text(0), "stderr": watch.text(1)}


@dataclass(frozen=True)
class Used:
    """What a process and those that it has waited for have used: CPU seconds, and the memory of the largest (KB)."""

    cpu: float
    peak: int

    @classmethod
    def of(cls, usage: resource.struct_rusage) -> "Used":
        """From what the kernel says."""
        return cls(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)

    def plus(self, other: "Used") -> "Used":
        """With another process's."""
        return Used(self.cpu + other.cpu, max(self.peak, other.peak))


def end_of(status: int, used: Used, limit: str | None, limits: dict) -> dict:
    """exit, signal, limit and cpu of a process, from its wait status, what it has used, and the limit that ended it."""
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    counted = limits["cpu_seconds"] - (CPU_SLACK_SECONDS if killed == signal.SIGKILL else 0)
    if limit is None and (used.cpu >= counted or killed == signal.SIGXCPU):
        limit = "cpu"
    if limit is None and peak_passed(used.peak, limits):
        limit = "memory"
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    return {"exit": code, "signal": killed, "limit": limit, "cpu": used.cpu}


def _socketpair() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def _readable(data: bytes) -> int:
    """A descriptor that reads `data`; in memory, so that a slow reader cannot block the supervisor."""
    if not data:
        return os.open("/dev/null", os.O_RDONLY)
    descriptor = os.memfd_create("stdin")
    write_all(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def begin(
    body: Callable[[int], None],
    limits: dict,
    source: int,
    outputs: Sequence[int],
    channel: int,
    peer: int | None = None,
) -> None:
    """In the new process: descriptors 0-3, and the peer's, alone stay open, then limits, then `body`."""
    try:
        null = os.open("/dev/null", os.O_WRONLY)
        first, second = outputs or (null, null)
        kept = (source, first, second, channel, *([peer] if peer else []))
        high = [_move_up(descriptor) for descriptor in kept]
        for number, descriptor in enumerate(high):
            os.dup2(descriptor, number, inheritable=number < CHANNEL)
        os.closerange(len(kept), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.setsid()
        become_untrusted(limits)
        os.write(CHANNEL, CONFINED)
        body(CHANNEL)
        os._exit(0)
    except BaseException:
        os._exit(1)


def _move_up(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 16)


def kill_rest(child: int) -> None:
    """End the process and everything it started: the caller is process 1, so that is everything but itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
        os.kill(-1, signal.SIGKILL)


def reap(child: int) -> tuple[int, Used]:
    """Wait status of `child`, and what it and all orphans that came to the caller have used."""
    status, usage = os.wait4(child, 0)[1:]
    used = Used.of(usage)
    with contextlib.suppress(ChildProcessError):
        while True:
            used = used.plus(Used.of(os.wait4(-1, 0)[2]))
    return status, used


class Watch:
    """Polls a process's outputs, channel and end, and the host's socket, within a wall-clock limit."""

    def __init__(
        self,
        host: int,
        child: int,
        limits: dict,
        outputs: Sequence[int] = (),
        channel: int = -1,
        listen: Callable[[bytes, int], None] | None = None,
    ) -> None:
        self.host, self.outputs, self.channel, self.listen = host, outputs, channel, listen
        self.collected: dict[int, bytearray] = {descriptor: bytearray() for descriptor in outputs}
        self.cap = limits["output_kb"] * 1024
        self.deadline = time.monotonic() + limits["wall_seconds"]
        self.usage = UsageWatch(limits)
        self.end = os.pidfd_open(child)
        self.poll = select.poll()
        for descriptor in (*outputs, channel, self.end):
            if descriptor != channel or listen:
                self.poll.register(descriptor, select.POLLIN)
        self.poll.register(host, 0)
        for descriptor in outputs:
            os.set_blocking(descriptor, False)

    def until_end(self) -> str | None:
        """Wait for the process's end; returns the limit that was passed first, if one was."""
        try:
            while True:
                left = self.deadline - time.monotonic()
                if left <= 0:
                    return "wall"
                if passed := self.usage.passed():
                    return passed
                for descriptor, event in self.poll.poll(min(left, PERIOD_SECONDS) * 1000):
                    if descriptor == self.host:
                        if event & HOST_GONE:
                            raise HostGone
                    elif descriptor == self.end:
                        return None
                    elif not self._read(descriptor):
                        return "output"
        finally:
            os.close(self.end)

    def _read(self, descriptor: int) -> bool:
        """Take what is there; False when an output passed its limit."""
        try:
            data = os.read(descriptor, BLOCK)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            data = b""
        if not data:
            self.poll.unregister(descriptor)
        elif descriptor == self.channel:
            self.listen(data, descriptor)
        else:
            kept = self.collected[descriptor]
            kept += data
            return len(kept) <= self.cap
        return True

    def drain(self) -> None:
        """Take what the ended process left in its pipes and channel."""
        for descriptor in (*self.outputs, *([self.channel] if self.listen else [])):
            with contextlib.suppress(KeyError, BlockingIOError, ConnectionResetError):
                while data := os.read(descriptor, BLOCK):
                    if descriptor == self.channel:
                        self.listen(data, descriptor)
                    elif len(self.collected[descriptor]) <= self.cap:
                        self.collected[descriptor] += data

    def overflowed(self) -> bool:
        """Whether an output passed its limit."""
        return any(len(kept) > self.cap for kept in self.collected.values())

    def text(self, number: int) -> str:
        """Output `number` (0 is stdout) up to its limit."""
        if number >= len(self.outputs):
            return ""
        data = bytes(self.collected[self.outputs[number]][: self.cap])
        return data.decode("utf-8", "surrogateescape")


def read_exactly(descriptor: int, size: int) -> bytes:
    """`size` bytes; EOFError where fewer come."""
    data = os.read(descriptor, size)
    while len(data) < size:
        more = os.read(descriptor, min(size - len(data), 1 << 20))
        if not more:
            raise EOFError
        data += more
    return data


def receive(descriptor: int) -> dict:
    """One message from the host."""
    return json.loads(read_exactly(descriptor, int.from_bytes(read_exactly(descriptor, 4), "big")))


def write_all(descriptor: int, data: bytes) -> None:
    """All of `data`, however often that takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def restore_streams() -> None:
    """Fresh sys.stdin, stdout and stderr on descriptors 0-2, as the interpreter makes them, with nothing buffered from
    another process."""
    sys.stdin = sys.__stdin__ = _stream(0, "stdin", "r", "surrogateescape")
    sys.stdout = sys.__stdout__ = _stream(1, "stdout", "w", "surrogateescape")
    sys.stderr = sys.__stderr__ = _stream(2, "stderr", "w", "backslashreplace")


def _stream(descriptor: int, name: str, mode: str, errors: str) -> io.TextIOWrapper:
    buffer = open(descriptor, f"{mode}b", closefd=False)  # noqa: SIM115 - lives as long as the process
    buffer.raw.name = f"<{name}>"
    # On Linux "\r\n" comes through as it is, in both directions.
    stream = io.TextIOWrapper(buffer, "utf-8", errors, newline="\n", line_buffering=name == "stderr")
    stream.mode = mode
    return stream
