"""Limits of memory and tasks for a whole sandbox, by cgroup v2, where this process may set them; else nothing.

They are a second line: resource limits hold per process, and the supervisor ends a job whose processes together pass
its memory, but only a control group counts what the kernel keeps for them (buffers of sockets and pipes, page tables).
There are two ways to a group. Where the process's own cgroup, or one above it within the same systemd unit or
container, is writable and free of processes, a group is made there. Else systemd is asked for a scope. Nothing of the
user's session is moved or changed, with one exception: a container that runs nothing but this process and its kin has
them all in its topmost cgroup, where no group can have limits while they are in it; they move one level down.
"""

import contextlib
import functools
import itertools
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CONTROLLERS = ("memory", "pids")
NAME = "halo-forge"
KIN = f"{NAME}-kin"
UNITS = (".scope", ".service")
OVERHEAD_MB = 256  # the zygote, the supervisor with what it collects, and what the kernel keeps for them
OVERHEAD_TASKS = 32
END_SECONDS = 10.0
TRIAL_SECONDS = 20
TRIAL_MB = 64
SYSTEMD = Path("/run/systemd/system")
ENTER = '{ echo 0 >"$0"; } 2>/dev/null; exec "$@"'  # the shell's own process goes in; what it becomes stays there

_numbers = itertools.count(1)


class Group:
    """No limits: what a sandbox gets where none can be set. `prefix` goes in front of the sandbox's command."""

    prefix: tuple[str, ...] = ()

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

    path: Path | None = None

    def __init__(self, command: tuple[str, ...]) -> None:
        self.prefix = command

    def joined(self, pid: int) -> None:
        top, inside = _place(f"/proc/{pid}/cgroup") or (None, "/")
        if top is not None and inside.endswith(UNITS[0]):
            self.path = _below(top, inside)

    def limit(self, memory_mb: int, tasks: int) -> None:
        if self.path:
            with contextlib.suppress(OSError):  # it ended: the job will say so
                _limit(self.path, memory_mb, tasks)


def _limit(path: Path, memory_mb: int, tasks: int) -> None:
    """Out of memory, the kernel ends one process, an untrusted one (see oom_score_adj in confine.py), not the whole
    group: the supervisor lives to report it."""
    (path / "memory.max").write_text(str((memory_mb + OVERHEAD_MB) << 20))
    (path / "pids.max").write_text(str(tasks + OVERHEAD_TASKS))
    with contextlib.suppress(OSError):  # a kernel without swap has no such file
        (path / "memory.swap.max").write_text("0")
    with contextlib.suppress(OSError):
        (path / "memory.oom.group").write_text("0")


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
    place = _place("/proc/self/cgroup")
    if place is None:
        return Group, "no cgroup v2 is mounted"
    for parent in _parents(*place):
        if _enable(parent) and _works(functools.partial(_Folder, parent)):
            _sweep(parent)
            return functools.partial(_Folder, parent), "memory and tasks, in groups of our own"
    for command in _systemd_commands():
        if _works(functools.partial(_Scope, command)):
            return functools.partial(_Scope, command), "memory and tasks, in scopes of systemd"
    lacking = [name for name in CONTROLLERS if name not in _words(_below(*place) / "cgroup.controllers")]
    return Group, f"the controllers {' and '.join(lacking)} are not there" if lacking else "not delegated"


def _place(file: str) -> tuple[Path, str] | None:
    """Where cgroup v2 is mounted, and a process's cgroup below that; None without one."""
    try:
        inside = next(line[3:] for line in Path(file).read_text().splitlines() if line.startswith("0::"))
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            left, _, right = line.partition(" - ")
            if right.startswith("cgroup2 "):
                root, top = left.split()[3:5]
                inside = inside.removeprefix(root) if root != "/" else inside
                return Path(top), "/" + inside.strip("/")
    except (OSError, StopIteration):
        pass
    return None


def _below(top: Path, inside: str) -> Path:
    return top / inside.lstrip("/")


def _parents(top: Path, inside: str) -> Iterator[Path]:
    """Cgroups in which groups might be made, the own one first: those above a unit of systemd are systemd's."""
    path = _below(top, inside)
    yield path
    while path != top and not path.name.endswith(UNITS):
        path = path.parent
        yield path


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _enable(parent: Path) -> bool:
    """Whether groups below `parent` have the controllers, after switching them on where that disturbs nobody."""
    if any(name not in _words(parent / "cgroup.controllers") for name in CONTROLLERS):
        return False
    files = (parent, parent / "cgroup.procs", parent / "cgroup.subtree_control")
    if not all(os.access(file, os.W_OK) for file in files):
        return False
    if all(name in _words(parent / "cgroup.subtree_control") for name in CONTROLLERS):
        return True
    try:
        if (parent / "cgroup.type").exists() and (parent / "cgroup.procs").read_text().strip():
            return _make_room(parent)
        _switch(parent, "+")
    except OSError:
        return False
    return True


def _switch(parent: Path, sign: str) -> None:
    (parent / "cgroup.subtree_control").write_text(" ".join(sign + name for name in CONTROLLERS))


def _make_room(parent: Path) -> bool:
    """Move this process's kin one level down where `parent` is the topmost cgroup of a container with nothing else."""
    if parent.name.endswith(UNITS) or not os.path.ismount(parent) or not _is_kin(parent):
        return False
    leaf = parent / KIN
    leaf.mkdir(exist_ok=True)
    for process in _words(parent / "cgroup.procs"):
        with contextlib.suppress(ProcessLookupError):
            (leaf / "cgroup.procs").write_text(process)
    _switch(parent, "+")
    return True


def _is_kin(group: Path) -> bool:
    """Whether only ancestors and descendants of this process are in `group`; 0 is a process outside the container."""
    ours = {os.getpid(), *_ancestors(os.getpid())}
    found = [int(pid) for pid in _words(group / "cgroup.procs")]
    return all(pid > 0 and (pid in ours or os.getpid() in _ancestors(pid)) for pid in found)


def _ancestors(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        while pid > 0:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            pid = int(fields[1])
            found.append(pid)
    return found


def _systemd_commands() -> Iterator[tuple[str, ...]]:
    """Ways to start a command in a scope: the user's manager needs to be told where it listens."""
    systemd_run, env = shutil.which("systemd-run"), shutil.which("env")
    if not (systemd_run and env and SYSTEMD.is_dir()):
        return
    told, manager = (env,), ()
    if os.geteuid() != 0:
        runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
        told, manager = (env, f"XDG_RUNTIME_DIR={runtime}"), ("--user",)
    accounting = ("-p", "MemoryAccounting=yes", "-p", "TasksAccounting=yes")
    # Newer versions end a whole scope of which the kernel has ended a process, unless told; older ones take no orders.
    for policy in (("-p", "OOMPolicy=continue"), ()):
        yield (*told, systemd_run, *manager, "--scope", "--quiet", "--collect", *accounting, *policy, "--", env, "-i")


def _works(make: Callable[[], Group]) -> bool:
    """Whether a process that is started by way of such a group is in it, and limits can be set."""
    try:
        group = make()
    except OSError:
        return False
    try:
        with subprocess.Popen(
            [*group.prefix, "/bin/sh", "-c", "echo up; read end"],
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            timer = _end_later(process)
            try:
                return process.stdout.readline() == b"up\n" and _holds(group, process.pid)
            finally:
                timer.cancel()
                process.kill()
    except OSError:
        return False
    finally:
        group.close()


def _end_later(process: subprocess.Popen) -> threading.Timer:
    timer = threading.Timer(TRIAL_SECONDS, process.kill)
    timer.start()
    return timer


def _holds(group: "_Folder | _Scope", pid: int) -> bool:
    group.joined(pid)
    place = _place(f"/proc/{pid}/cgroup")
    if place is None or group.path != _below(*place):
        return False
    group.limit(TRIAL_MB, 1)
    return _words(group.path / "memory.max") == [str((TRIAL_MB + OVERHEAD_MB) << 20)]


def _sweep(parent: Path) -> None:
    """Remove empty groups that killed runs have left."""
    for path in parent.glob(f"{NAME}-*-*"):
        if not Path(f"/proc/{path.name.split('-')[2]}").exists():
            with contextlib.suppress(OSError):
                path.rmdir()
