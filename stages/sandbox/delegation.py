"""Where this process may make control groups (cgroup v2), or whom it may ask for them.

Nothing of the user's session is moved or changed, with one exception: a container that runs nothing but this process
and its kin has them all in its topmost cgroup, where no group can have limits while they are in it; they move one level
down.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

CONTROLLERS = ("memory", "pids")
KIN = "halo-forge-kin"
UNITS = (".scope", ".service")
SYSTEMD = Path("/run/systemd/system")


def place(file: str = "/proc/self/cgroup") -> tuple[Path, Path] | None:
    """Where cgroup v2 is mounted, and a process's cgroup as a path there; None without one."""
    try:
        inside = next(line[3:] for line in Path(file).read_text().splitlines() if line.startswith("0::"))
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            left, _, right = line.partition(" - ")
            if right.startswith("cgroup2 "):
                root, top = left.split()[3:5]
                return Path(top), Path(top, inside.removeprefix(root).strip("/"))
    except (OSError, StopIteration):
        pass
    return None


def parents(top: Path, own: Path) -> Iterator[Path]:
    """Cgroups in which groups might be made, the own one first: those above a unit of systemd are systemd's."""
    yield own
    while own != top and not own.name.endswith(UNITS):
        own = own.parent
        yield own


def words(file: Path) -> list[str]:
    """What stands in a file of a cgroup; nothing where it cannot be read."""
    try:
        return file.read_text().split()
    except OSError:
        return []


def enable(parent: Path) -> bool:
    """Whether groups below `parent` have the controllers, after switching them on where that disturbs nobody."""
    if any(name not in words(parent / "cgroup.controllers") for name in CONTROLLERS):
        return False
    files = (parent, parent / "cgroup.procs", parent / "cgroup.subtree_control")
    if not all(os.access(file, os.W_OK) for file in files):
        return False
    if all(name in words(parent / "cgroup.subtree_control") for name in CONTROLLERS):
        return True
    is_root = not (parent / "cgroup.type").exists()  # of all cgroups, the only one that may have processes
    try:
        if words(parent / "cgroup.procs") and not is_root and not _make_room(parent):
            return False
        (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))
    except OSError:
        return False
    return True


def _make_room(parent: Path) -> bool:
    """Move this process's kin one level down where `parent` is the topmost cgroup of a container with nothing else."""
    if parent.name.endswith(UNITS) or not os.path.ismount(parent) or not _is_kin(parent):
        return False
    leaf = parent / KIN
    leaf.mkdir(exist_ok=True)
    for process in words(parent / "cgroup.procs"):
        with contextlib.suppress(ProcessLookupError):
            (leaf / "cgroup.procs").write_text(process)
    return True


def _is_kin(group: Path) -> bool:
    """Whether only ancestors and descendants of this process are in `group`; 0 is a process outside the container."""
    ours = {os.getpid(), *_ancestors(os.getpid())}
    found = [int(pid) for pid in words(group / "cgroup.procs")]
    return all(pid > 0 and (pid in ours or os.getpid() in _ancestors(pid)) for pid in found)


def _ancestors(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        while pid > 0:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            pid = int(fields[1])
            found.append(pid)
    return found


def systemd_commands() -> Iterator[tuple[str, ...]]:
    """Ways to start a command in a scope of its own: the user's manager needs to be told where it listens."""
    systemd_run, env = shutil.which("systemd-run"), shutil.which("env")
    if not (systemd_run and env and SYSTEMD.is_dir()):
        return
    asked = (env, systemd_run)
    if os.geteuid() != 0:
        runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
        asked = (env, f"XDG_RUNTIME_DIR={runtime}", systemd_run, "--user")
    asked += ("--scope", "--quiet", "--collect", "--no-ask-password")
    asked += ("--property=MemoryAccounting=yes", "--property=TasksAccounting=yes")
    # Newer versions end a whole scope of which the kernel has ended a process, unless told; older ones take no orders.
    for policy in (("--property=OOMPolicy=continue",), ()):
        yield (*asked, *policy, "--", env, "-i")
