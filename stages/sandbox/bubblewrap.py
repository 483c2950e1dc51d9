"""Starting bubblewrap: what a sandbox sees of this machine, and how it is started.

A sandbox sees, read-only: /usr and the links into it, the loader's and the alternatives' entries of /etc, the
interpreter's own prefix (see interpreter.py), the packages that tests may import, and the scripts of `inside/`. No
home, no project, no environment variable, no network. All namespaces are its own.
"""

import compileall
import contextlib
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stages.common.errors import SandboxError
from stages.sandbox.interpreter import Interpreter, find

INSIDE = Path(__file__).parent / "inside"
INSIDE_AT = "/forge/inside"
PACKAGES_AT = "/forge/packages"
PROGRAM_AT, PROGRAM_MB = "/forge/program", 4  # where a Python program's file lies; as inside/confine.py has it
HOST_NAME = "forge"
SPARE_USER = 65534
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": PACKAGES_AT,
    # One job, one core; and threads that a library starts when it is loaded would not outlive a zygote's fork.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
ETC_ENTRIES = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives")
INSTALL = "install it: apt-get install bubblewrap, or dnf install bubblewrap"


@dataclass(frozen=True)
class View:
    """What a sandbox sees beyond the system: `packages` (files and folders on Python's path) and `folders` (pairs of
    a path inside and one outside), read-only. `preload`: modules that the zygote imports before the first job.
    `tmp_mb`: size of /tmp, MiB."""

    packages: tuple[str, ...] = ()
    folders: tuple[tuple[str, str], ...] = ()
    preload: tuple[str, ...] = ()
    tmp_mb: int = 256


def executable() -> str | None:
    """Path of bubblewrap, or None."""
    return shutil.which("bwrap")


def interpreter() -> str:
    """Path of the interpreter inside a sandbox."""
    return _python().path


def _python() -> Interpreter:
    path = executable()
    if path is None:
        raise SandboxError(f"bubblewrap (bwrap) is not on the PATH; {INSTALL}")
    return find(path, tuple(_system()))


def _system() -> Iterable[str]:
    for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in ETC_ENTRIES:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


@functools.cache
def _scripts() -> str:
    """The folder of the scripts, compiled beside them where that can be written: each sandbox reads them anew."""
    compileall.compile_dir(INSIDE, maxlevels=0, quiet=2)
    return str(INSIDE)


def arguments(view: View, proc: bool) -> list[str]:
    """Everything between `bwrap` and the command; `proc` False puts an empty folder in place of /proc.

    No --die-with-parent: bubblewrap's first process could die of it while its second one waits for a word from it, and
    that would wait for ever. The end of its socket to the host ends the zygote instead, and with that both.
    """
    args = ["--unshare-all", "--unshare-user", "--new-session", "--as-pid-1"]
    args += ["--hostname", HOST_NAME, "--cap-add", "ALL", "--clearenv"]
    python = _python()
    for name, value in (ENVIRONMENT | python.environment).items():
        args += ["--setenv", name, value]
    args += [*_system(), *python.arguments(), "--dev", "/dev"]
    args += ["--proc", "/proc"] if proc else ["--size", "4096", "--tmpfs", "/proc"]
    # Folders that bubblewrap makes on the way to a bind are closed to all but root otherwise.
    binds = [args[at + 2] for at, arg in enumerate(args) if arg == "--ro-bind"]
    folders = {
        "/etc",
        INSIDE_AT,
        PACKAGES_AT,
        PROGRAM_AT,
        *(str(Path(at).parent) for at in (*binds, *dict(view.folders))),
    }
    made = sorted({str(parent) for folder in folders for parent in (Path(folder), *Path(folder).parents)} - {"/"})
    args = [*(part for folder in made for part in ("--dir", folder)), *args]
    for folder, size in (("/tmp", view.tmp_mb), ("/dev/shm", view.tmp_mb), (PROGRAM_AT, PROGRAM_MB)):
        args += ["--size", str(size << 20), "--perms", "1777", "--tmpfs", folder]
    args += ["--ro-bind", _scripts(), INSIDE_AT]
    for path in view.packages:
        args += ["--ro-bind", path, f"{PACKAGES_AT}/{Path(path).name}"]
    for inside, outside in view.folders:
        args += ["--ro-bind", outside, inside]
    return [*args, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]


def start(
    view: View, command: list[str], proc: bool, descriptor: int, prefix: tuple[str, ...] = ()
) -> tuple[subprocess.Popen, IO[bytes], bool]:
    """Start `command` in a sandbox that keeps `descriptor` open; `prefix` goes in front of it all, as of a Group.

    Returns the process, the file that its stderr goes to, and whether the sandbox has the user nobody beside its own:
    only root can give it that. The arguments go by descriptor, out of reach of /proc/1/cmdline.
    """
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
    args = arguments(view, proc)
    with contextlib.ExitStack() as stack:
        kept = [descriptor]
        as_root = os.geteuid() == 0
        if as_root:
            # Its end for writing reads as well: without a reader bubblewrap would end as it writes, see `arguments`.
            info_read, info_write = _pipe(stack, os.O_RDWR)
            block_read, block_write = _pipe(stack)
            args += ["--info-fd", str(info_write.fileno()), "--userns-block-fd", str(block_read.fileno())]
            kept += [info_write.fileno(), block_read.fileno()]
        given = stack.enter_context(os.fdopen(os.memfd_create("arguments"), "wb", buffering=0))
        given.write(b"".join(arg.encode() + b"\0" for arg in args))
        os.lseek(given.fileno(), 0, os.SEEK_SET)
        process = subprocess.Popen(
            [*prefix, executable() or "bwrap", "--args", str(given.fileno()), "--", *command],
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=(*kept, given.fileno()),
        )
        spare_user = False
        if as_root:
            info_write.close()
            spare_user = _map_users(info_read)
            with contextlib.suppress(BrokenPipeError):
                block_write.write(b"1")
    return process, log, spare_user


def _pipe(stack: contextlib.ExitStack, writer: int = os.O_WRONLY) -> tuple[IO[bytes], IO[bytes]]:
    """The two ends; the second one opened as `writer` says."""
    read, write = os.pipe()
    if writer != os.O_WRONLY:
        os.close(write)
        write = os.open(f"/proc/self/fd/{read}", writer)
    return tuple(stack.enter_context(os.fdopen(end, mode, buffering=0)) for end, mode in ((read, "rb"), (write, "wb")))


def _map_users(info: IO[bytes]) -> bool:
    """Write the user maps of the namespace that bubblewrap made: root, and nobody where this system has it.

    The kernel counts no processes against root, so code that is to be limited in their number runs as nobody.
    """
    said = b""
    while not said.rstrip().endswith(b"}"):  # it comes in pieces
        piece = info.read(4096)
        if not piece:
            return False  # bubblewrap has failed before; its log says why
        said += piece
    child = json.loads(said)["child-pid"]
    for lines in (f"0 0 1\n{SPARE_USER} {SPARE_USER} 1\n", "0 0 1\n"):
        with contextlib.suppress(OSError):
            for kind in ("uid", "gid"):
                Path(f"/proc/{child}/{kind}_map").write_text(lines)
            return str(SPARE_USER) in lines
    return False
