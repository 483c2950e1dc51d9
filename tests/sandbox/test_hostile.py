"""Hostile programs, each attacking one property of the sandbox. All also run where sandboxes cannot nest."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.sandbox import Sandbox, View
from stages.settings.verify import Limits

LIMITS = Limits(cpu_seconds=2, memory_mb=256, processes=32, file_mb=4, tmp_mb=8, output_kb=64).job()
VIEW = View(tmp_mb=8)


@pytest.fixture(scope="module", params=["nested", "single"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HALO_FORGE_NESTED", "1" if request.param == "nested" else "0")
        with Sandbox() as made:
            yield made


def run(sandbox: Sandbox, code: str, **limits: float) -> dict:
    """One run of a Python program; its report."""
    job = {"kind": "program", "code": code, "stdins": [""], "limits": {**LIMITS, **limits}}
    report = sandbox.run(job, VIEW)
    assert report is not None
    return report["runs"][0]


def output(sandbox: Sandbox, code: str, **limits: float) -> str:
    """What a program that ends well prints."""
    ended = run(sandbox, code, **limits)
    assert ended["exit"] == 0, ended
    return ended["stdout"].strip()


ATTEMPT = """
def attempt(call):
    try:
        print('got', call())
    except Exception as error:
        print(type(error).__name__)
"""


def test_network(sandbox: Sandbox) -> None:
    """A listener of the host is out of reach, on its address and by name; so are packet and host sockets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"""import socket
attempt(lambda: socket.create_connection(('127.0.0.1', {port}), 1))
attempt(lambda: socket.create_connection(('1.1.1.1', 53), 1))
attempt(lambda: socket.getaddrinfo('example.com', 80))
attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
"""
        found = output(sandbox, ATTEMPT + code).split()
    assert found == ["ConnectionRefusedError", "OSError", "gaierror", "PermissionError", "PermissionError"]


def test_files_of_the_host(sandbox: Sandbox, tmp_path: Path) -> None:
    """Homes, the project, other temporary files, accounts and logs are not there."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    paths = [
        secret,
        __file__,
        Path.home() / ".bashrc",
        "/etc/passwd",
        "/etc/shadow",
        "/etc/hostname",
        "/var/log",
        "/sys",
        "/run",
        "/boot",
    ]
    code = f"import os\nprint([p for p in {list(map(str, paths))} if os.path.exists(p)])"
    assert output(sandbox, code) == "[]"


def test_home_shows_no_more_than_the_interpreter(sandbox: Sandbox) -> None:
    """Where the interpreter lies in a home folder, the folders above it hold nothing else."""
    code = f"""import os
print([name for _, _, files in os.walk({str(Path.home())!r}) for name in files if name.startswith('.bash')])"""
    assert output(sandbox, code) == "[]"


def test_writing_outside_tmp(sandbox: Sandbox) -> None:
    code = """import os
found = []
for root in ('/', '/usr', '/usr/lib', '/etc', '/dev', '/forge', '/forge/inside', '/proc', os.path.dirname(os.__file__)):
    try:
        open(os.path.join(root, 'x'), 'w')
        found.append(root)
    except OSError:
        pass
print(found)"""
    assert output(sandbox, code) == "[]"


def test_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the host comes through, neither in one's own environment nor in process 1's."""
    monkeypatch.setenv("FORGE_SECRET", "swordfish")
    code = """import os
print(sorted(os.environ))
for name in ('environ', 'cmdline'):
    try:
        print(b'swordfish' in open(f'/proc/1/{name}', 'rb').read())
    except OSError as error:
        print(type(error).__name__)"""
    lines = output(sandbox, code).splitlines()
    assert set(eval(lines[0])) <= {"HOME", "LANG", "PATH", "PWD", "PYTHONHASHSEED", "PYTHONPATH", "LC_CTYPE"}
    assert "True" not in lines


def test_other_processes(sandbox: Sandbox) -> None:
    """Only the supervisor and the program itself can be seen, and the supervisor neither read nor ended."""
    code = """import os, signal
print(sorted(int(n) for n in os.listdir('/proc') if n.isdigit())[-1] <= 3)
for path in ('/proc/1/mem', '/proc/1/maps', '/proc/1/environ', '/proc/1/fd/3'):
    try:
        open(path, 'rb').read(1)
        print('read', path)
    except OSError:
        pass
for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):
    try:
        os.kill(1, number)
    except PermissionError:
        pass
print(os.getppid())"""
    lines = output(sandbox, code).splitlines()
    assert lines == ["True", "1"]


def test_capabilities_and_calls(sandbox: Sandbox) -> None:
    """No capability is left, none can be had, and the calls that the filter names are refused."""
    code = """import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
wanted = ('CapPrm', 'CapEff', 'CapBnd', 'CapInh', 'NoNew', 'Seccomp:')
print([line.split()[1] for line in open('/proc/self/status') if line.startswith(wanted)])
refused = {'mount': (b'x', b'/tmp', b'tmpfs', 0, 0), 'unshare': (0x10000000,), 'ptrace': (0, 0, 0, 0),
    'setns': (0, 0), 'chroot': (b'/tmp',)}
for name, arguments in refused.items():
    print(name, getattr(libc, name)(*arguments), ctypes.get_errno())
if os.uname().machine == 'x86_64':
    for number in (250, 321, 298, 425, 435, 246, 175, 323, 310, 0x40000000 + 165):
        print(number, libc.syscall(number, 0, 0, 0, 0, 0), ctypes.get_errno())
    print('clone', libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0), ctypes.get_errno())
"""
    lines = output(sandbox, code).splitlines()
    assert lines[0] == str(["0" * 16] * 4 + ["1", "2"])
    assert len(lines) > 5
    for line in lines[1:]:
        assert line.endswith("-1 1") or line == "435 -1 38", line


def test_processes_do_not_outlive_the_job(sandbox: Sandbox) -> None:
    """Not even a daemon in a session of its own: nothing of the next job can see or feel it."""
    code = """import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    if os.fork() == 0:
        while True:
            time.sleep(0.01)
    os._exit(0)
print('left')"""
    began = time.monotonic()
    assert output(sandbox, code) == "left"
    assert time.monotonic() - began < 5
    assert output(sandbox, "import os\nprint(max(int(n) for n in os.listdir('/proc') if n.isdigit()))") in ("2", "3")


def test_files_do_not_outlive_the_job(sandbox: Sandbox) -> None:
    code = """import os
for folder in ('/tmp', '/dev/shm'):
    os.mkdir(folder + '/kept')
    open(folder + '/kept/file', 'w').write('x')
    os.chmod(folder + '/kept', 0)
print('left')"""
    assert output(sandbox, code) == "left"
    assert output(sandbox, "import os\nprint(os.listdir('/tmp'), os.listdir('/dev/shm'))") == "[] []"


def test_fork_bomb(sandbox: Sandbox) -> None:
    """The number of processes is limited, for root as well, and all of them end with the job."""
    code = """import os, time
count = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        count += 1
except OSError as error:
    print(type(error).__name__, count <= 32)"""
    assert output(sandbox, code) == "BlockingIOError True"


def test_exponential_fork_bomb(sandbox: Sandbox) -> None:
    ended = run(
        sandbox,
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        cpu_seconds=1,
        wall_seconds=2,
    )
    assert ended["limit"] in ("cpu", "wall")
    assert output(sandbox, "print('well')") == "well"


def test_memory(sandbox: Sandbox) -> None:
    assert output(sandbox, ATTEMPT + "attempt(lambda: len(bytearray(1 << 30)))") == "MemoryError"


def test_temporary_files_are_limited(sandbox: Sandbox) -> None:
    """One file by its size, all of them by the size of /tmp."""
    code = """import errno
def fill(name, size):
    try:
        with open(name, 'wb') as file:
            for _ in range(size):
                file.write(bytes(1 << 20))
    except OSError as error:
        return errno.errorcode[error.errno]
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
print(fill('/tmp/big', 64))
print([fill(f'/tmp/{n}', 3) for n in range(9)][-1])
print([fill(f'/dev/shm/{n}', 3) for n in range(9)][-1])"""
    assert output(sandbox, code).split() == ["EFBIG", "ENOSPC", "ENOSPC"]


def test_endless_file(sandbox: Sandbox) -> None:
    ended = run(sandbox, "with open('/tmp/x', 'wb') as file:\n    while True:\n        file.write(bytes(1 << 16))")
    assert ended["exit"] != 0


def test_output_flood(sandbox: Sandbox) -> None:
    """Output is cut while it is read, on both streams, and the flood ends the run long before its time is over."""
    for stream in ("stdout", "stderr"):
        ended = run(sandbox, f"import sys\nwhile True:\n    sys.{stream}.write('x' * 4096)")
        assert ended["limit"] == "output"
        assert len(ended[stream]) == 64 * 1024


def test_endless_loop(sandbox: Sandbox) -> None:
    ended = run(sandbox, "while True:\n    pass", cpu_seconds=1)
    assert ended["limit"] == "cpu"
    assert ended["cpu"] < 3


def test_loop_in_children(sandbox: Sandbox) -> None:
    """CPU time of all processes counts, however they are started."""
    code = "import os\nfor _ in range(4):\n    if os.fork() == 0:\n        break\nwhile True:\n    pass"
    assert run(sandbox, code, cpu_seconds=1, wall_seconds=1.5)["limit"] is not None


def test_sleeping(sandbox: Sandbox) -> None:
    """The wall-clock limit ends what uses no CPU time; it is tried twice before it counts."""
    began = time.monotonic()
    assert run(sandbox, "import time\ntime.sleep(60)", wall_seconds=0.5)["limit"] == "wall"
    assert 1 <= time.monotonic() - began < 10


def test_descriptors(sandbox: Sandbox) -> None:
    """The program has its three streams; writing to any other number fails."""
    code = """import os
found = []
for number in range(3, 1024):
    try:
        os.write(number, b'{"forged": true}\\n')
        found.append(number)
    except OSError:
        pass
print(found)"""
    assert output(sandbox, code) == "[]"


def test_host_name(sandbox: Sandbox) -> None:
    assert output(sandbox, "import socket\nprint(socket.gethostname())") == "forge" != socket.gethostname()


def test_breaking_the_sandbox_is_no_fault_of_the_machine() -> None:
    """A job that gives no report each time is told as None; the sandbox goes on working."""
    with Sandbox() as sandbox:
        assert sandbox.run({"kind": "program", "code": 1, "stdins": [2], "limits": LIMITS}, VIEW) is None
        assert output(sandbox, "print('well')") == "well"


def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a sandbox ends its processes."""
    monkeypatch.setenv("HALO_FORGE_NESTED", "1")
    with Sandbox() as sandbox:
        assert output(sandbox, "print(1)") == "1"
        pids = [zygote.process.pid for zygote in sandbox._zygotes.values()]
        assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
