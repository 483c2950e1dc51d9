"""Control groups, for real where this machine delegates them; where it does not, nothing is used and nothing breaks."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.sandbox import Sandbox, View, cgroups, delegation
from stages.settings.verify import Limits

ROOT = Path(__file__).parents[2]
LIMITS = Limits(cpu_seconds=60, memory_mb=512, processes=32, tmp_mb=8).job()
VIEW = View(tmp_mb=8)
DELEGATED, HOW = cgroups.describe()
TOP = Path("/sys/fs/cgroup")
TOPMOST = DELEGATED and os.geteuid() == 0 and "memory" in delegation.words(TOP / "cgroup.controllers")
FAMILY = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        data = bytearray(80 << 20)
        time.sleep(1)
        os._exit(0)
print(sorted({os.waitpid(-1, 0)[1] for _ in range(6)}))
"""


def run(sandbox: Sandbox, code: str, **limits: int) -> dict:
    report = sandbox.run({"kind": "program", "code": code, "stdins": [""], "limits": {**LIMITS, **limits}}, VIEW)
    assert report is not None
    return report["runs"][0]


def test_groups_or_none() -> None:
    """Whether they are there or not, a sandbox starts, and its group goes with it."""
    group = cgroups.new()
    assert bool(group.prefix) is DELEGATED and HOW
    group.close()
    with Sandbox() as sandbox:
        assert run(sandbox, "print('well')")["stdout"] == "well\n"
        (zygote,) = sandbox._zygotes.values()
        path = zygote.group.path
        assert (path is not None and path.is_dir()) is DELEGATED
    deadline = time.monotonic() + 10
    while path and path.exists() and time.monotonic() < deadline:  # systemd takes its time
        time.sleep(0.05)
    assert path is None or not path.exists()


@pytest.mark.skipif(not DELEGATED, reason=f"cgroup v2: {HOW}")
def test_limits_follow_the_job() -> None:
    with Sandbox() as sandbox:
        for memory, tasks in ((512, 32), (256, 16)):
            run(sandbox, "print()", memory_mb=memory, processes=tasks)
            (zygote,) = sandbox._zygotes.values()
            path = zygote.group.path
            assert int((path / "memory.max").read_text()) == (memory + 2 * VIEW.tmp_mb + cgroups.OVERHEAD_MB) << 20
            assert int((path / "pids.max").read_text()) == tasks + cgroups.OVERHEAD_TASKS
            assert str(zygote.process.pid) in (path / "cgroup.procs").read_text().split()


@pytest.mark.skipif(not DELEGATED, reason=f"cgroup v2: {HOW}")
def test_out_of_memory_is_the_jobs_own_doing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel ends processes of the job, and neither the supervisor, which reports it, nor the sandbox."""
    with Sandbox() as sandbox:
        run(sandbox, "print()")
        before = dict(sandbox._zygotes)
        (zygote,) = before.values()
        limit = zygote.group.limit
        # Far below what the supervisor would let the job have.
        monkeypatch.setattr(zygote.group, "limit", lambda memory, tasks: limit(0, tasks))
        ended = run(sandbox, FAMILY)
        assert (ended["exit"], ended["limit"]) == (0, None)
        assert "9" in ended["stdout"]
        assert sandbox._zygotes == before
        assert run(sandbox, "print('well')")["stdout"] == "well\n"


def test_units_of_systemd_are_not_left() -> None:
    """What lies above one's own unit is systemd's, and what lies above a container's cgroups is not there."""

    def names(inside: str) -> list[str]:
        return [path.name for path in delegation.parents(TOP, TOP / inside)]

    assert names("user.slice/user@1.service/app.slice/a.scope/container") == ["container", "a.scope"]
    assert names("a.service") == ["a.service"]
    assert names("a/b") == ["b", "a", "cgroup"]


CONTAINER = """
echo 0 > "$1/cgroup.procs" && exec unshare --cgroup --mount /bin/sh -c '
    umount "$0" && mount -t cgroup2 none "$0" && shift && exec "$@"' "$0" "$@"
"""
SAY = "from stages.sandbox import cgroups; print(cgroups.describe()); cgroups.new().close()"


@pytest.mark.skipif(not TOPMOST, reason=f"takes root, and cgroup v2 at {TOP}: {HOW}")
def test_container_that_runs_nothing_else() -> None:
    """Its processes are in its topmost cgroup, where they stand in the way: they move down, and groups can be made."""
    group = TOP / f"forge-test-{os.getpid()}"
    group.mkdir()
    try:
        (TOP / "cgroup.subtree_control").write_text("+memory +pids")
        command = ["unshare", "--pid", "--fork", "--mount-proc", "/bin/sh", "-c", CONTAINER, str(TOP), str(group)]
        command += [sys.executable, "-c", SAY]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == "(True, 'memory and tasks, in groups of our own')\n"
    finally:
        for path in (group / delegation.KIN, group):
            if path.exists():
                path.rmdir()
