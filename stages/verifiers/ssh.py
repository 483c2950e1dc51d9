"""One OpenSSH connection to another machine: a master process, and sessions and uploads over its socket.

The host's key is checked, the key file is the only way in: no password, no agent, no forwarding. The connection lives
and dies with the process that opened it: the master runs a shell over there that reads the pipe from us, and at the
pipe's end, however it comes about, does the last command it was told (see `farewell`).
"""

import contextlib
import dataclasses
import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from stages.common.errors import SandboxError

NAME = "remote"  # a stand-in for the host's name; HostName holds the real one
SOCKET_FOLDER_LENGTH = 80  # of the 108 bytes that a socket's path may have; ssh adds 17 of its own
BLOCK = 1 << 16
LAST_BYTES = 200  # what a last line may take
ECHO_BYTES = 64 << 20  # sftp repeats its commands
CLOSE_SECONDS = 10.0
TICK_SECONDS = 0.25  # between two looks at whether the work is still wanted
NO_CONNECTION_OF_ITS_OWN = ("-o", "ProxyCommand=false")  # a session without a master must fail
REMEDIES = {
    "Host key verification failed": "known_hosts does not hold this key; ssh-keyscan shows it, compare its fingerprint "
    "on the host before adding it",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "another key than the one in known_hosts",
    "UNPROTECTED PRIVATE KEY FILE": "chmod 600 the key",
    'Load key "': "the key cannot be read: expected a private key without a passphrase",
    "Permission denied": "does authorized_keys there hold the key's public half? (an administrator's is "
    "%ProgramData%\\ssh\\administrators_authorized_keys)",
    "Too many authentication failures": "does authorized_keys there hold the key's public half?",
    "Bad configuration option": "mend the file that verify.msvc_ssh.config names",
}


class LostError(Exception):
    """The connection did not come up or broke; the message is ssh's last line. Worth another attempt."""


class CancelledError(Exception):
    """What was running is no longer wanted."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where to, as whom, and with how much patience (s)."""

    host: str
    port: int
    user: str
    key: Path
    known_hosts: Path | None
    config: Path | None
    connect_seconds: int
    keepalive_seconds: int


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended: its exit code, its output, and `wall` or `output` where that limit ended it."""

    exit: int
    output: bytes
    errors: bytes
    limit: str | None = None

    @property
    def last_line(self) -> str:
        """The last line on stderr."""
        return last_line(self.errors)


def last_line(said: bytes) -> str:
    """The last line that says something, at most 200 characters of it."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def missing() -> str | None:
    """None where the OpenSSH client is here, else one line with the packages that hold it."""
    absent = [name for name in ("ssh", "sftp") if not shutil.which(name)]
    if absent:
        return f"{' and '.join(absent)} not found; apt-get install openssh-client, or dnf install openssh-clients"
    return None


def _quoted(path: Path) -> str:
    """A path in a value of ssh's configuration, where % opens a token."""
    return f'"{str(path.expanduser().absolute()).replace("%", "%%")}"'


def _options(target: Target) -> list[str]:
    settings = {
        "HostName": target.host,
        "Port": target.port,
        "User": target.user,
        "IdentityFile": _quoted(target.key),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "PermitLocalCommand": "no",
        "ControlPersist": "no",
        "ConnectTimeout": target.connect_seconds,
        "ServerAliveInterval": target.keepalive_seconds,
        "ServerAliveCountMax": 3,
        "LogLevel": "ERROR",
    }
    if target.known_hosts:
        settings |= {"UserKnownHostsFile": _quoted(target.known_hosts), "GlobalKnownHostsFile": "/dev/null"}
    config = str(target.config.expanduser()) if target.config else "none"
    return ["-F", config, *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]


def _environment() -> dict[str, str]:
    """Nothing of the caller's but what finds programs and the home folder: no agent, no askpass."""
    return {"LANG": "C"} | {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def _private_folder() -> Path:
    """A folder that only this user can enter, with a path that is short enough for a socket."""
    place = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="forge-", dir=place if len(place) < SOCKET_FOLDER_LENGTH else "/tmp"))


class Connection:
    """An open connection. LostError where it does not come up, SandboxError where another attempt would be no use."""

    def __init__(self, target: Target, shell: str, cancelled: Callable[[], bool]) -> None:
        self._lock = threading.Lock()
        self._last_words = b""
        self._folder = _private_folder()
        self._socket = self._folder / "s"
        self._log = (self._folder / "log").open("w+b")
        command = ["ssh", *_options(target), "-M", "-S", _token(self._socket), "-T", NAME, shell]
        # The folder here goes with the connection, even where this process is killed.
        command = ["sh", "-c", '"$@"; code=$?; rm -rf "$0"; exit $code', str(self._folder), *command]
        # A session of its own, so that Ctrl-C leaves it to us to end the connection in good order.
        self._master = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env=_environment(),
            start_new_session=True,
        )
        try:
            self._expect_up(target, cancelled)
        except BaseException:
            self.close()
            raise

    def _expect_up(self, target: Target, cancelled: Callable[[], bool]) -> None:
        """The socket is there once the host has let us in."""
        deadline = time.monotonic() + 2 * target.connect_seconds
        while not self._socket.exists():
            if self._master.poll() is not None:
                said = self.said()
                for sign, remedy in REMEDIES.items():
                    if sign.encode() in said:
                        line = last_line(said)
                        raise SandboxError(f"{target.host} port {target.port}: ssh says: {line}; {remedy}")
                raise LostError(last_line(said) or f"ssh ended with code {self._master.returncode}")
            if time.monotonic() > deadline:
                raise LostError(f"no answer within {2 * target.connect_seconds} s")
            if cancelled():
                raise CancelledError
            time.sleep(0.02)

    def said(self) -> bytes:
        """What the master wrote to stderr, at most the last 4 KB."""
        with self._lock:
            if not self._log.closed:
                size = self._log.seek(0, os.SEEK_END)
                self._log.seek(max(0, size - 4096))
                self._last_words = self._log.read()
            return self._last_words

    def alive(self) -> bool:
        """Whether the master still runs."""
        return self._master.poll() is None

    def farewell(self, line: str) -> None:
        """A line for the shell over there: a first command that waits for the pipe's end, then what is to be done."""
        try:
            self._master.stdin.write(line.encode() + b"\n")
            self._master.stdin.flush()
        except OSError:
            raise LostError(self._reason("")) from None

    def call(
        self,
        line: str,
        seconds: float,
        most_bytes: int,
        last: re.Pattern[bytes] | None,
        cancelled: Callable[[], bool],
    ) -> Ended:
        """Run a command over there. The line goes through a shell of unknown kind: it must mean the same to all.

        Output that ends in `last` ends the call, even if some process left behind keeps the session open. The exit
        code is ssh's, and so says little: 255 may come from either side.
        """
        command = ["ssh", *self._over(), "-S", _token(self._socket), "-T", "-n", NAME, line]
        ended = _capture(command, seconds, most_bytes, self._folder, last, cancelled)
        return dataclasses.replace(ended, errors=ended.errors + (b"" if self.alive() else self.said()))

    def upload(self, folders: Sequence[str], files: Mapping[str, bytes], seconds: float) -> None:
        """Make `folders`, the last of which must be new, and write `files` there. LostError where that fails.

        Over SFTP, which does not pass through a shell.
        """
        lines = [f"-mkdir {folder}" for folder in folders[:-1]] + [f"mkdir {folder}" for folder in folders[-1:]]
        lines += [f"put {number} {name}" for number, name in enumerate(files)]
        local = dict(enumerate(files.values())) | {"batch": "".join(f"{line}\n" for line in lines).encode()}
        command = ["sftp", *self._over(), "-o", f"ControlPath={_token(self._socket)}", "-q", "-b", "batch", NAME]
        with self._local(local) as here:
            ended = _capture(command, seconds, ECHO_BYTES, here, None, lambda: False)
        if ended.limit:
            raise LostError(f"an upload did not end within {seconds:g} s")
        if ended.exit != 0:
            raise LostError(self._reason(ended.last_line))

    @contextlib.contextmanager
    def _local(self, files: Mapping[str | int, bytes]) -> Iterator[Path]:
        """The files in a folder here, for as long as the connection is not closed by another thread."""
        try:
            here = Path(tempfile.mkdtemp(dir=self._folder))
            for name, data in files.items():
                (here / str(name)).write_bytes(data)
        except FileNotFoundError:
            raise LostError("the connection was closed") from None
        try:
            yield here
        finally:
            shutil.rmtree(here, ignore_errors=True)

    def _over(self) -> list[str]:
        return ["-F", "none", "-o", "ControlMaster=no", *NO_CONNECTION_OF_ITS_OWN, "-o", "LogLevel=ERROR"]

    def _reason(self, line: str) -> str:
        """What the master said, where it has ended: that tells more than a session which lost it."""
        return (line if self.alive() else last_line(self.said())) or "the connection ended"

    def close(self) -> None:
        """End the pipe, and with it the shell over there, and the connection."""
        with contextlib.suppress(OSError):
            self._master.stdin.close()
        try:
            self._master.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._master.pid, signal.SIGKILL)
            self._master.wait()
        self.said()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _token(path: Path) -> str:
    return str(path).replace("%", "%%")


def _capture(
    command: list[str],
    seconds: float,
    most_bytes: int,
    folder: Path,
    last: re.Pattern[bytes] | None,
    cancelled: Callable[[], bool],
) -> Ended:
    """Run a program of this machine; each of its outputs may have `most_bytes`."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment(),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise LostError("the connection was closed") from None
    with process:
        try:
            limit, texts = _read(process, time.monotonic() + seconds, most_bytes, last, cancelled)
        finally:
            process.kill()  # no-op for one that has ended
    return Ended(process.returncode, bytes(texts[0]), bytes(texts[1]), limit)


def _read(
    process: subprocess.Popen,
    deadline: float,
    most_bytes: int,
    last: re.Pattern[bytes] | None,
    cancelled: Callable[[], bool],
) -> tuple[str | None, tuple[bytearray, bytearray]]:
    texts = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe, text in zip((process.stdout, process.stderr), texts, strict=True):
            selector.register(pipe, selectors.EVENT_READ, text)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return "wall", texts
            if cancelled():
                raise CancelledError
            for key, _ in selector.select(min(left, TICK_SECONDS)):
                block = os.read(key.fd, BLOCK)
                if not block:
                    selector.unregister(key.fileobj)
                key.data.extend(block)
                if len(key.data) > most_bytes:
                    return "output", texts
            if last and last.search(texts[0], max(0, len(texts[0]) - LAST_BYTES)):
                return None, texts
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
            return None, texts
    return "wall", texts
