"""Jobs of kind `steps`: commands run one after the other in /tmp, such as a compiler and then what it made.

Runs inside the sandbox and imports the standard library alone.
"""

import base64
import os
import signal

from children import refuse_children
from objects import defined
from python_program import empty_folders
from supervise import Supervisor, write_all

PIPE_HOLDS = 1 << 16  # bytes, without a reader
UNREADABLE, READABLE = 0o111, 0o555


def run(supervisor: Supervisor, job: dict) -> dict:
    """Write `files` ({name: text}) to /tmp, run `steps`, report {"steps": [...]}.

    A step: `argv`, `limits`, and optionally
    - `stdin` (text); `once` True: it comes through a pipe, so that nothing can read it a second time
    - `environment` ({name: text}), added to the sandbox's own
    - `needed` True: a failure ends the job, as does any step that passes a limit other than that on output
    - `channel` (bytes): how much is taken of what the process writes to descriptor 3; the report's `said`, in hex
    - `sealed` (path of a program): the process starts in folders that hold nothing but that file, as it was before it
      was first run. Where it is what `argv` names it is gone once it runs, and cannot be read, unless `readable`
    - `alone` True: the process may start threads, and no processes
    - `defines` (an object file's name, a list of symbols): the report's `defines` are those that the file defines, and
      None where it is no object file; looked up after the step
    - `collect` ({name: bytes}): the report's `files` hold the beginning of each file, in base64, where there is one
    """
    for name, text in job["files"].items():
        _write(os.path.join("/tmp", name), text.encode("utf-8", "surrogateescape"), 0o644)
    reports = []
    sealed: dict[str, bytes] = {}
    for step in job["steps"]:
        if step.get("sealed"):
            _seal(step, sealed)
        reports.append(_step(supervisor, step))
        failed = reports[-1]["exit"] != 0
        if reports[-1]["limit"] not in (None, "output") or (failed and step.get("needed")):
            break
    return {"steps": reports}


def _write(path: str, data: bytes, mode: int) -> None:
    """A new file in place of whatever is there."""
    if os.path.lexists(path):
        os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    write_all(descriptor, data)
    os.fchmod(descriptor, mode)
    os.close(descriptor)


def _seal(step: dict, kept: dict[str, bytes]) -> None:
    """Empty the folders and put the program back."""
    path = step["sealed"]
    if path not in kept:
        with open(path, "rb") as file:
            kept[path] = file.read()
    empty_folders()
    _write(path, kept[path], READABLE if step.get("readable") else UNREADABLE)


def _step(supervisor: Supervisor, step: dict) -> dict:
    stdin = step.get("stdin", "").encode("utf-8", "surrogateescape")
    once = step.get("once", False)
    room = step.get("channel", 0)
    said = bytearray()

    def execute(channel: int) -> None:
        if room:
            os.set_inheritable(channel, True)
        if once:
            os.dup2(_pipe_of(stdin), 0)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        program = step["argv"][0]
        if program == step.get("sealed"):
            program = os.open(program, os.O_PATH | os.O_CLOEXEC)
            os.unlink(step["sealed"])
        if step.get("alone"):
            refuse_children()
        os.execve(program, step["argv"], {**os.environ, **step.get("environment", {})})

    def listen(data: bytes, _channel: int) -> None:
        said.extend(data[: max(0, room - len(said))])

    report = supervisor.run(execute, step["limits"], stdin=b"" if once else stdin, listen=listen if room else None)
    report["said"] = said.hex()
    if "defines" in step:
        report["defines"] = _defined(*step["defines"])
    report["files"] = {name: base64.b64encode(data).decode() for name, data in _collect(step.get("collect", {}))}
    return report


def _pipe_of(data: bytes) -> int:
    """The reading end of a pipe that holds `data`, or gets it from a process of its own."""
    read, write = os.pipe()
    if len(data) <= PIPE_HOLDS:
        write_all(write, data)
    elif os.fork() == 0:
        os.close(read)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        write_all(write, data)
        os._exit(0)
    os.close(write)
    return read


def _defined(name: str, symbols: list[str]) -> list[str] | None:
    try:
        return defined(os.path.join("/tmp", name), symbols)
    except (OSError, ValueError):
        return None


def _collect(sizes: dict[str, int]) -> list[tuple[str, bytes]]:
    found = []
    for name, size in sizes.items():
        path = os.path.join("/tmp", name)
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                found.append((name, file.read(size)))
    return found
