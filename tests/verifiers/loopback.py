"""A real sshd on this machine's loopback, for the time of a test, and the settings that lead to it."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Self

import psutil

CL = Path(__file__).with_name("cl.py")
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
MINGW = shutil.which("x86_64-w64-mingw32-g++")
WINE = shutil.which("wine") or shutil.which("wine64")
CONFIGURATION = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
UsePAM no
StrictModes no
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
LogLevel VERBOSE
SetEnv PATH={folder}/bin:{path}
"""


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Loopback:
    """The daemon, a key that opens it, and a command `cl` on its sessions' PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        self.remote = f"halo-forge-test-{uuid.uuid4().hex}"
        self.log = folder / "log"
        for name in ("host", "client", "stranger"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        kind, key, _ = (folder / "host.pub").read_text().split()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        logged = 'echo start >>"$CL_LOG"\n{}\ncode=$?\necho end >>"$CL_LOG"\nexit $code'
        self.command("cl", logged.format(f'{sys.executable} {CL} "$@"'))
        path = os.environ["PATH"]
        (folder / "config").write_text(CONFIGURATION.format(port=self.port, folder=folder, path=path))
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # the daemon wants it

    def command(self, name: str, script: str) -> None:
        """A command on the PATH of the daemon's sessions."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def as_windows(self) -> str:
        """Put wine's cmd on the sessions' PATH, and a cl.exe on that of cmd by the set-up line returned."""
        prefix = self.folder / "wine"
        self.command("cmd", f'WINEDEBUG=-all WINEPREFIX={prefix} exec {WINE} cmd "$@"')
        source, target = CL.with_suffix(".c"), self.folder / "cl.exe"
        python = Path(sys.executable).resolve()
        paths = [f'-DPYTHON="Z:{str(python).replace("/", chr(92) * 2)}"', f'-DSCRIPT="{CL}"']
        compiler = str(MINGW).replace("g++", "gcc")
        subprocess.run([compiler, *paths, "-o", str(target), str(source)], check=True)
        return f'set "PATH=Z:{str(self.folder).replace("/", chr(92))};%PATH%"'

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            command = [str(SSHD), "-D", "-e", "-f", str(self.folder / "config")]
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + 20
        while b"Server listening" not in self.log.read_bytes():
            assert self.daemon.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self.daemon.kill()
        self.daemon.wait()
        shutil.rmtree(self.home / self.remote, ignore_errors=True)

    def cut(self) -> None:
        """End every connection that is open, as a failing network would."""
        for child in psutil.Process(self.daemon.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in [*(p for p in child.children() if p.name().startswith("sshd")), child]:
                    process.send_signal(signal.SIGKILL)

    def connections(self) -> int:
        """How many connections have been let in so far."""
        return self.log.read_text().count("Accepted publickey")

    def runs(self) -> list[Path]:
        """The folders of runs over there."""
        return list((self.home / self.remote).glob("run-*"))

    def left(self) -> list[str]:
        """What lies in the remote folder."""
        return [str(path) for path in (self.home / self.remote).rglob("*")]

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Section verify.msvc_ssh."""
        setup = f"export CL_LOG={self.folder}/cl.log CL_COMPILER={changes.pop('compiler', 'x86_64-w64-mingw32-g++')}"
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": pwd.getpwuid(os.getuid()).pw_name,
            "key": str(self.folder / "client"),
            "known_hosts": str(self.folder / "known_hosts"),
            "shell": "sh",
            "setup": setup,
            "folder": self.remote,
            "backoff_seconds": 0.2,
            **changes,
        }
