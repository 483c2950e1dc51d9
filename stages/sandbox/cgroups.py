"""Limits of memory and tasks for a whole sandbox, by cgroup v2, where this process may set them; else nothing.

They are a second line: resource limits hold per process, and the supervisor ends a job whose processes together pass
its memory, but only a control group acts at once, and counts what the kernel keeps for them (pipes, page tables).
There are two ways to a group. Where the process's own cgroup, or one above it within the same systemd unit or
container, is writable and free of processes, a group is made there. Else systemd is asked for a scope.
"""

import contextlib
import functools
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from stages.sandbox.delegation import CONTROLLERS, UNITS, enable, parents, place, systemd_commands, words

NAME = "halo-forge"
OVERHEAD_MB = 256  # the zygote, the supervisor with what it collects, and what the kernel keeps for them
OVERHEAD_TASKS = 32
END_SECONDS = 10.0
TRIAL_SECONDS = 20.0
TRIAL_MB = 64
# The shell's own process goes in, and what it becomes stays there, without the variables that some shells set.
ENTER = '{ echo 0 >"$0"; } 2>/dev/null; exec env -i "$@"'

_numbers = itertools.count(1)


class Group:
    """No limits: what a sandbox gets where none can be set. `prefix` goes in front of the sandbox's command."""

    prefix: tuple[str, ...] = ()
    path: Path | None = None

    def limit(self, memory_mb: int, tasks: int) -> None:
        """What the sandbox may use from now on, beside its own needs: MiB of memory, processes and threads."""

    def joined(self, pid: int) -> None:
        """Tell that process `pid`, started with the prefix, is up."""

    def close(self) -> None:
        """End what is left in the group, and the group."""


class _Folder(Group):
    """A group of our own making below `parent`."""

    def __init__(self, parent: Path) -> None:
        self.path = parent / f"{NAME}-{os.getpid()}-{next(_numbers)}"
        self.path.mkdir()
        self.prefix = ("/bin/sh", "-c", ENTER, str(self.path / "cgroup.procs"))

    def limit(self, memory_mb: int, tasks: int) -> None:
        _limit(self.path, memory_mb, tasks)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # Linux before 5.14 has no such file, and the sandbox ended all by itself
            (self.path / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline:
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError:  # processes are still ending
                time.sleep(0.005)


class _Scope(Group):
    """A scope of systemd's, which goes when its last process ends."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.prefix = command

    def joined(self, pid: int) -> None:
        _, path = place(f"/proc/{pid}/cgroup") or (None, None)
        if path and path.name.endswith(UNITS[0]):
            self.path = path

    def limit(self, memory_mb: int, tasks: int) -> None:
        if self.path:
            with contextlib.suppress(OSError):  # it has ended: the job will say so
                _limit(self.path, memory_mb, tasks)


def _limit(path: Path, memory_mb: int, tasks: int) -> None:
    """Out of memory, the kernel ends one process, an untrusted one (see oom_score_adj in confine.py), not the whole
    group: the supervisor lives to report it."""
    (path / "memory.max").write_text(str((memory_mb + OVERHEAD_MB) << 20))
    (path / "pids.max").write_text(str(tasks + OVERHEAD_TASKS))
    for file in ("memory.swap.max", "memory.oom.group"):
        with contextlib.suppress(OSError):  # a kernel without swap has no such file
            (path / file).write_text("0")


def new() -> Group:
    """A group for one sandbox."""
    try:
        return _way()[0]()
    except OSError:
        return Group()


def describe() -> tuple[bool, str]:
    """Whether groups can be made here, and how, or why not."""
    make, said = _way()
    return make is not Group, said


@functools.cache
def _way() -> tuple[Callable[[], Group], str]:
    """How groups are made here, tried once, and what to say of it."""
    found = place()
    if found is None:
        return Group, "no cgroup v2 is mounted"
    for parent in parents(*found):
        make = functools.partial(_Folder, parent)
        if enable(parent) and _works(make):
            _sweep(parent)
            return make, "memory and tasks, in groups of our own"
    for command in systemd_commands():
        make = functools.partial(_Scope, command)
        if _works(make):
            return make, "memory and tasks, in scopes of systemd"
    lacking = [name for name in CONTROLLERS if name not in words(found[1] / "cgroup.controllers")]
    return Group, f"the controllers {' and '.join(lacking)} are not there" if lacking else "not delegated"


def _works(make: Callable[[], Group]) -> bool:
    """Whether a process that is started by way of such a group is in it, and limits can be set."""
    try:
        group = make()
    except OSError:
        return False
    command = [*group.prefix, "/bin/sh", "-c", "echo up; read end"]
    pipe = subprocess.PIPE
    try:
        with subprocess.Popen(command, env={}, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
            timer = threading.Timer(TRIAL_SECONDS, process.kill)
            timer.start()
            try:
                return process.stdout.readline() == b"up\n" and _holds(group, process.pid)
            finally:
                timer.cancel()
                process.kill()
    except OSError:
        return False
    finally:
        group.close()


def _holds(group: Group, pid: int) -> bool:
    group.joined(pid)
    found = place(f"/proc/{pid}/cgroup")
    if found is None or group.path != found[1]:
        return False
    group.limit(TRIAL_MB, 1)
    return words(group.path / "memory.max") == [str((TRIAL_MB + OVERHEAD_MB) << 20)]


def _sweep(parent: Path) -> None:
    """Remove empty groups that killed runs have left."""
    for path in parent.glob(f"{NAME}-*-*"):
        if not Path(f"/proc/{path.name.split('-')[2]}").exists():
            with contextlib.suppress(OSError):
                path.rmdir()
