"""The sandbox where it is to work: for a user without privileges, and in a container that masks parts of /proc.

A driver runs there for real; it needs nothing but the sandbox's room and an interpreter that everybody may run.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")
RECENT = "import sys; sys.exit(sys.version_info < (3, 11))"
LIMITS = {
    "cpu_seconds": 10,
    "wall_seconds": 30,
    "memory_mb": 256,
    "processes": 32,
    "file_mb": 4,
    "open_files": 64,
    "stack_mb": 8,
    "output_kb": 64,
}
DRIVER = f"""
import json, os, sys
from stages.sandbox import Sandbox, View, abilities, probe

HOSTILE = '''
import os, time
print(os.path.isdir('/proc/self'), [path for path in ('/home', '/root', '/var', '/sys') if os.path.exists(path)])
count = 0
try:
    while os.fork():
        count += 1
    time.sleep(60)
except OSError:
    print(count < 32)
try:
    bytearray(1 << 30)
except MemoryError:
    print('bounded')
'''
found = {{"user": os.geteuid(), "probe": probe()}}
if not found["probe"]:
    found |= abilities()
    with Sandbox() as sandbox:
        job = {{"kind": "program", "code": HOSTILE, "stdins": [""], "limits": {LIMITS!r}}}
        found["runs"] = sandbox.run(job, View(tmp_mb=8))["runs"]
        steps = [{{"argv": ["/bin/sh", "-c", "echo text > file; cat file"], "limits": {LIMITS!r}}}]
        job = {{"kind": "steps", "files": {{}}, "steps": steps, "limits": {LIMITS!r}}}
        found["steps"] = sandbox.run(job, View(tmp_mb=8))["steps"]
print(json.dumps(found))
"""


def interpreter() -> str:
    """One that other users can run: not in a home folder that is closed to them."""
    real = Path(os.path.realpath(sys.executable))
    if all(folder.stat().st_mode & 0o001 for folder in real.parents):
        return str(real)
    system = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if not system or subprocess.run([system, "-c", RECENT], check=False).returncode:
        pytest.skip("no Python of 3.11 or later that other users can run")
    return system


def drive(folder: Path, *before: str, **environment: str) -> dict:
    """What the driver says when it is run by the command `before`."""
    shutil.copytree(ROOT / "stages/sandbox", folder / "stages/sandbox", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "stages/common", folder / "stages/common", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "driver.py").write_text(DRIVER)
    done = subprocess.run(
        [*before, interpreter(), "-B", str(folder / "driver.py")],
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": str(folder), **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def unprivileged() -> tuple[str, ...]:
    """How to run a command as a user who is not root."""
    return AS_NOBODY if os.geteuid() == 0 else ()


@pytest.fixture
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that every user can read; those of pytest are closed."""
    folder = tmp_path_factory.mktemp("open")
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/") and path.stat().st_mode & 0o077 == 0:
            path.chmod(0o711)
    folder.chmod(0o755)
    return folder


def expect_shut_in(found: dict, proc: bool) -> None:
    """A hostile program met every limit, and a command ran."""
    assert found["probe"] is None
    assert found["proc"] is proc
    (ran,) = found["runs"]
    assert ran["stdout"].splitlines() == [f"{proc} []", "True", "bounded"], ran
    assert [step["stdout"] for step in found["steps"]] == ["text\n"]


def test_user_without_privileges(open_folder: Path) -> None:
    """Somebody who is not root and belongs to no group."""
    found = drive(open_folder, *unprivileged())
    assert found["user"] != 0
    expect_shut_in(found, proc=True)


# As container runtimes do it: something lies over parts of /proc, and cannot be taken away in there. The kernel lets
# nobody in such a place mount a /proc that would show them.
MASK = 'mount -t tmpfs -o ro tmpfs /proc/scsi 2>/dev/null || mount -t tmpfs -o ro tmpfs /proc/fs; exec "$@"'


@pytest.mark.parametrize("nested", ["1", "0"], ids=["nested", "single"])
def test_masked_proc(open_folder: Path, nested: str) -> None:
    """As in a rootless container: somebody who is root of a user namespace alone, with one user in it."""
    before = (*unprivileged(), "unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", MASK, "sh")
    found = drive(open_folder, *before, HALO_FORGE_NESTED=nested)
    assert found["nested"] is (nested == "1")
    expect_shut_in(found, proc=False)


def test_masked_proc_of_a_user_without_privileges(open_folder: Path) -> None:
    """As in a container of root's whose processes are not root."""
    if os.geteuid() != 0:
        pytest.skip("it takes root to mask /proc for others")
    found = drive(open_folder, "unshare", "--mount", "/bin/sh", "-c", MASK, "sh", *AS_NOBODY)
    assert found["user"] == NOBODY
    expect_shut_in(found, proc=False)
