"""Servers that a stage starts for its own time (`servers.launch`)."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ctypes import CDLL
from pathlib import Path

from stages.common.api import Api, Failure
from stages.common.errors import HaloForgeError
from stages.common.progress import Progress
from stages.common.secrets import Secrets
from stages.settings.servers import ServerSettings

PR_SET_PDEATHSIG = 1  # prctl(2)
SECONDS_TO_END = 20.0  # between SIGTERM and SIGKILL
SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def launched(settings: ServerSettings, model: Path, logs: Path) -> Iterator[list[str]]:
    """Start `servers.launch` as often as `launches` says; the base addresses, once all list their models.

    What the servers print goes to LOGS/serve-NUMBER.log. Raises HaloForgeError where one ends early, or does not
    answer within `launch_seconds`. At the end they and their children are ended; if this process is killed, the kernel
    sends them SIGTERM.
    """
    assert settings.launch
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        started = []
        for number in range(settings.launches):
            port = _free_port()
            log = logs / f"serve-{number}.log"
            values = {"{model}": str(model), "{port}": str(port), "{number}": str(number)}
            command = [_filled(word, values) for word in shlex.split(settings.launch)]
            process = stack.enter_context(_running(command, log))
            started.append((process, f"http://127.0.0.1:{port}/v1", log))
        _wait(started, settings)
        yield [url for _, url, _ in started]


def _filled(word: str, values: dict[str, str]) -> str:
    for mark, value in values.items():
        word = word.replace(mark, value)
    return word


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _die_with_parent() -> None:
    CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread of ours is started yet
            )
        except OSError as error:
            raise HaloForgeError(f"servers.launch: cannot run '{command[0]}': {error.strerror}") from None
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group, kindly first."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + SECONDS_TO_END
        while time.monotonic() < deadline and _alive(process):
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _alive(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process, or another of its group, is there."""
    process.poll()  # or it would stay as a zombie, which counts
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait(started: list[tuple[subprocess.Popen[bytes], str, Path]], settings: ServerSettings) -> None:
    waiting = list(started)
    secrets = Secrets(settings.key_env)
    apis = {url: Api("servers.launch", url, SECONDS_TO_END, secrets) for _, url, _ in started}
    deadline = time.monotonic() + settings.launch_seconds
    with Progress("start", len(started), "servers") as progress:
        while waiting:
            for process, url, log in list(waiting):
                if process.poll() is not None:
                    raise HaloForgeError(
                        f"servers.launch: the server ended with {process.returncode} before it answered; {_end_of(log)}"
                    )
                try:
                    apis[url].get("/models", SECONDS_TO_END)
                except Failure as failure:
                    if time.monotonic() > deadline:
                        raise HaloForgeError(
                            f"servers.launch: no answer in {settings.launch_seconds:g} s ({failure}); {_end_of(log)}"
                        ) from None
                    continue
                waiting.remove((process, url, log))
                progress.update(1)
            if waiting:
                progress.update(0, "waiting for the models")
                time.sleep(SECONDS_BETWEEN_LOOKS)


def _end_of(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"the end of {log}: {lines[-1][:200]}" if lines else f"{log} is empty"
