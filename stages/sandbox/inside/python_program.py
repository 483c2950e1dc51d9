"""Jobs of kind `program`: a Python program run once per input.

Runs inside the sandbox and imports the standard library alone.
"""

import os
import random
import shutil
import signal
import sys
import types

from confine import PROGRAM_FOLDER
from python_ending import run_to_the_end
from python_script import (
    RecursionCounter,
    become_script,
    compile_source,
    put_source,
    wrong_encoding,
)
from supervise import Supervisor, restore_streams

HERE = os.path.dirname(__file__)
OWN_MODULES = tuple(name.removesuffix(".py") for name in os.listdir(HERE) if name.endswith(".py"))
WRITABLE = ("/tmp", "/dev/shm", PROGRAM_FOLDER)
counters: list[RecursionCounter] = []  # one, of the zygote and its forks


def run(supervisor: Supervisor, job: dict) -> dict:
    """Run `code` once for each of `stdins` under `limits`; report {"compile": None or a message, "runs": [...]}.

    A run that passed the CPU or wall limit is the last one.
    """
    message: list[str] = []

    def listen(data: bytes, _channel: int) -> None:
        message.append(data.decode(errors="replace"))

    runs = []
    for stdin in job["stdins"]:
        if runs:
            empty_folders()
        data = stdin.encode("utf-8", "surrogateescape")
        runs.append(
            supervisor.run(lambda channel: _main(job["code"], channel), job["limits"], stdin=data, listen=listen)
        )
        if message:
            return {"compile": "".join(message)[:300], "runs": []}
        if runs[-1]["limit"] in ("cpu", "wall"):
            break
    return {"compile": None, "runs": runs}


def empty_folders() -> None:
    """Remove what an earlier run has left in the folders that it can write to."""
    for folder in WRITABLE:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _open_up(entry.path)
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)


def _open_up(folder: str) -> None:
    """Make a folder and those in it ones that can be emptied."""
    os.chmod(folder, 0o700)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _open_up(entry.path)


def look_fresh() -> None:
    """Make the interpreter look like a fresh one; for the zygote, once.

    The sandbox's own modules go out of sight, so that `import steps` finds what the program means by it. Unseeded,
    `random` would make the verdicts of a rerun differ.
    """
    counters.append(RecursionCounter())
    for own in OWN_MODULES:
        sys.modules.pop(own, None)
    sys.path = [path for path in sys.path if path != HERE]
    sys.argv = ["solution.py"]
    random.seed(0)


def _main(source: str, channel: int) -> None:
    code = compile_source(source)
    unsound = wrong_encoding(source) if isinstance(code, str) else None
    if isinstance(code, str) and unsound is None:
        os.write(channel, code.encode("utf-8", "backslashreplace")[:4096])
        os._exit(1)
    os.close(channel)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    restore_streams()
    put_source(source)
    become_script()
    run_to_the_end(lambda: _execute(code, unsound))


def _execute(code: types.CodeType, unsound: Exception | None) -> None:
    if unsound:
        raise unsound
    for counter in counters:
        counter.fill()
    try:
        exec(code, sys.modules["__main__"].__dict__)
    finally:
        sys.settrace(None)  # what a program traces is itself; the interpreter's own end is not seen by it
        sys.setprofile(None)
