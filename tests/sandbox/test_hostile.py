"""Hostile programs, each attacking one property of the sandbox. All also run where sandboxes cannot nest."""

import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stages.sandbox import Sandbox, View
from stages.settings.verify import Limits

LIMITS = Limits(cpu_seconds=2, memory_mb=256, processes=32, file_mb=4, tmp_mb=8, output_kb=64).job()
VIEW = View(tmp_mb=8)
ROOT = Path(__file__).parents[2]


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


def test_home_is_not_there(sandbox: Sandbox) -> None:
    """Not even where the interpreter lies in it: that has another name inside, and works under it."""
    code = f"""import os, subprocess, sys
print(os.path.exists({str(Path.home())!r}), sys.prefix.startswith({str(Path.home())!r}))
print(subprocess.run([sys.executable, '-c', 'import ctypes, ssl; print(6 * 7)'], capture_output=True, text=True).stdout)
"""
    assert output(sandbox, code, cpu_seconds=20).split() == ["False", "False", "42"]


def test_mounts_name_no_folder_of_the_host(sandbox: Sandbox) -> None:
    code = """import os
for pid in ('self', '1'):
    for name in ('mountinfo', 'mounts', 'mountstats', 'cmdline'):
        try:
            print(open(f'/proc/{pid}/{name}').read().replace(chr(0), ' '))
        except OSError:
            pass"""
    said = output(sandbox, code)
    assert not [name for name in (ROOT, Path.home(), sys.prefix, sys.base_prefix) if str(name) in said]


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
    ours = {
        "HOME",
        "LANG",
        "LD_LIBRARY_PATH",
        "PATH",
        "PWD",
        "PYTHONHASHSEED",
        "PYTHONPATH",
        "LC_CTYPE",
        "OPENBLAS_NUM_THREADS",
        "OMP_NUM_THREADS",
    }
    assert set(eval(lines[0])) <= ours
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
    for number in (250, 321, 298, 425, 435, 246, 175, 323, 310, 457, 463, 999, 0x40000000 + 165):
        print(number, libc.syscall(number, 0, 0, 0, 0, 0), ctypes.get_errno())
    print('clone', libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0), ctypes.get_errno())
"""
    lines = output(sandbox, code).splitlines()
    assert lines[0] == str(["0" * 16] * 4 + ["1", "2"])
    assert len(lines) > 5
    for line in lines[1:]:
        assert line.endswith("-1 1") or line in ("435 -1 38", "463 -1 38", "999 -1 38"), line


def test_what_no_limit_bounds_is_refused(sandbox: Sandbox) -> None:
    """Files in memory, System V memory, semaphores and queues, POSIX queues; and real-time priority for all of them."""
    code = """import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
calls = {'memfd_create': (b'x', 0), 'shmget': (0, 4096, 0o1600), 'semget': (0, 1, 0o1600), 'msgget': (0, 0o1600),
    'mq_open': (b'/x', 0o102, 0o600, None)}
for name, arguments in calls.items():
    print(name, getattr(libc, name)(*arguments), os.strerror(ctypes.get_errno()))
attempt(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
attempt(lambda: os.nice(-5))
print([resource.getrlimit(getattr(resource, 'RLIMIT_' + name)) for name in ('CORE', 'MEMLOCK')])"""
    lines = output(sandbox, ATTEMPT + code).splitlines()
    assert all(" -1 " in line for line in lines[:5]), lines
    assert lines[0].endswith("Function not implemented")
    assert lines[5:] == ["PermissionError", "PermissionError", "[(0, 0), (0, 0)]"]


def test_socket_families(sandbox: Sandbox) -> None:
    """UNIX, TCP and UDP work; what else there is leads into the machine's kernel or loads modules into it."""
    code = """import socket, threading
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
server.accept()[0].sendall(b'heard')
print(client.recv(9), len(socket.socketpair()), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).type)
for family, kind, protocol in ((16, 3, 0), (38, 5, 0), (30, 2, 0), (2, 1, 132), (2, 3, 1), (29, 3, 1), (40, 1, 0)):
    attempt(lambda: socket.socket(family, kind, protocol))
attempt(lambda: socket.socketpair(socket.AddressFamily(30) if 30 in iter(socket.AddressFamily) else 30, 2))"""
    lines = output(sandbox, ATTEMPT + code).splitlines()
    assert lines == ["b'heard' 2 2", *["PermissionError"] * 8]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code of x86_64")
def test_calls_by_the_door_of_another_machine(sandbox: Sandbox) -> None:
    """int 0x80 takes the numbers of i386, which the filter's list does not have: it ends the process."""
    code = """import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex('b814000000cd80c3'))
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())"""
    assert run(sandbox, code)["signal"] == signal.SIGSYS


def test_the_supervisor_cannot_be_disturbed(sandbox: Sandbox) -> None:
    """No signal, limit or priority of its reaches process 1; the job needs no second attempt."""
    code = """import os, resource
for number in range(1, 65):
    try:
        os.kill(1, number)
    except OSError:
        pass
attempt(lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (1, 1)))
attempt(lambda: os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0)))
attempt(lambda: os.sched_setaffinity(1, {0}))
attempt(lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))
print(resource.prlimit(0, resource.RLIMIT_CORE, (0, 0)), os.sched_getaffinity(0) != set())"""
    output(sandbox, "print()")
    before = dict(sandbox._zygotes)
    assert output(sandbox, ATTEMPT + code).split("\n") == [*["PermissionError"] * 4, "(0, 0) True"]
    assert sandbox._zygotes == before


def test_interrupt(sandbox: Sandbox) -> None:
    """Though process 1 has no handler for SIGINT, a program has Python's."""
    code = """import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print('interrupted')"""
    assert output(sandbox, code) == "interrupted"


def test_writing_all_disks_out(sandbox: Sandbox) -> None:
    """sync would make every disk of the machine busy; it does nothing, and says that it went well."""
    assert output(sandbox, "import ctypes, os\nos.sync()\nprint(ctypes.CDLL(None).syncfs(0))") == "0"


def test_ports_are_free_for_the_next_job(sandbox: Sandbox) -> None:
    """A connection that the server closed first would hold its port for a minute."""
    code = """import socket
server = socket.socket()
server.bind(('127.0.0.1', 8765))
server.listen()
client = socket.create_connection(server.getsockname())
connection, _ = server.accept()
connection.close()
print(client.recv(9))"""
    assert [output(sandbox, code) for _ in range(2)] == ["b''"] * 2


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


def test_memory_of_all_processes_together(sandbox: Sandbox) -> None:
    """Each keeps to its own limit, all of them do not; hiding from the supervisor's eyes does not help."""
    code = """import ctypes, os, time
ctypes.CDLL(None).prctl(4, hide, 0, 0, 0)
for _ in range(8):
    if os.fork() == 0:
        data = bytearray(64 << 20)
        time.sleep(20)
        os._exit(0)
time.sleep(20)"""
    for dumpable in (0, 1):
        began = time.monotonic()
        assert run(sandbox, f"hide = {dumpable}\n" + code, wall_seconds=10)["limit"] == "memory"
        assert time.monotonic() - began < 9


def test_memory_that_processes_share_counts_once(sandbox: Sandbox) -> None:
    code = """import os, time
data = bytearray(80 << 20)
children = []
for _ in range(8):
    children.append(os.fork())
    if children[-1] == 0:
        time.sleep(0.4)
        os._exit(0)
print([os.waitpid(child, 0)[1] for child in children])"""
    assert output(sandbox, code) == str([0] * 8)


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


def test_number_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files fill no space, but the kernel's memory. (Where jobs cannot have mounts of their own, it is their CPU
    time that limits them.)"""
    monkeypatch.setenv("HALO_FORGE_NESTED", "1")
    code = """import os
try:
    for number in range(1 << 17):
        os.close(os.open(f'/tmp/{number}', os.O_CREAT | os.O_WRONLY))
except OSError as error:
    print(error.strerror)"""
    with Sandbox() as sandbox:
        assert output(sandbox, code, cpu_seconds=20) == "No space left on device"


def test_breaking_the_sandbox_is_no_fault_of_the_machine() -> None:
    """A job that gives no report each time is told as None; the sandbox goes on working."""
    with Sandbox() as sandbox:
        assert sandbox.run({"kind": "program", "code": 1, "stdins": [2], "limits": LIMITS}, VIEW) is None
        assert output(sandbox, "print('well')") == "well"


def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Closing a sandbox ends its processes, and there is no file to remove."""
    monkeypatch.setenv("HALO_FORGE_NESTED", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    others = psutil.Process().children(recursive=True)
    with Sandbox() as sandbox:
        assert output(sandbox, "import os, time\nos.fork() or time.sleep(60)\nprint(1)") == "1"
        processes = [each for each in psutil.Process().children(recursive=True) if each not in others]
        assert len(processes) >= 2
    assert psutil.wait_procs(processes, 5)[1] == []
    assert list(tmp_path.iterdir()) == []


HOST = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from stages.sandbox import Sandbox, View
job = {{"kind": "program", "code": "import time; time.sleep(60)", "stdins": [""], "limits": {LIMITS!r}}}
print("started", flush=True)
Sandbox().run(job, View())
"""


def test_a_killed_host_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALO_FORGE_NESTED", "1")
    with subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE) as host:
        assert host.stdout and host.stdout.readline() == b"started\n"
        deadline = time.monotonic() + 30
        inside: list[psutil.Process] = []
        while len(inside) < 4 and time.monotonic() < deadline:  # bubblewrap twice, the zygote, supervisor, program
            time.sleep(0.1)
            inside = psutil.Process(host.pid).children(recursive=True)
        assert len(inside) >= 4
        host.kill()
    assert psutil.wait_procs(inside, 10)[1] == []
