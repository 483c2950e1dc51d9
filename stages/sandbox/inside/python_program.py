"""Jobs of kind `program`: a Python program run once per input.

Runs inside the sandbox and imports the standard library alone.
"""

import atexit
import builtins
import os
import random
import shutil
import signal
import sys
import threading
import traceback
import types

from supervise import Supervisor, restore_streams

HERE = os.path.dirname(__file__)
OWN_MODULES = tuple(name.removesuffix(".py") for name in os.listdir(HERE) if name.endswith(".py"))
WRITABLE = ("/tmp", "/dev/shm")
BROKEN_SOURCE = (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError)


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


def compile_source(source: str, name: str) -> types.CodeType | str:
    """The compiled module, or the first line of what is wrong with it."""
    try:
        return compile(source, name, "exec", dont_inherit=True)
    except BROKEN_SOURCE as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        return f"{line}{type(error).__name__}: {text}".rstrip(": ")


def new_module(name: str) -> types.ModuleType:
    """An empty module `name`."""
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    sys.modules[name] = module
    return module


def look_fresh() -> None:
    """Make the interpreter look like a fresh one; for the zygote, once.

    The sandbox's own modules go out of sight, so that `import steps` finds what the program means by it. Unseeded,
    `random` would make the verdicts of a rerun differ.
    """
    for own in OWN_MODULES:
        sys.modules.pop(own, None)
    sys.path = [path for path in sys.path if path != HERE]
    sys.argv = ["solution.py"]
    random.seed(0)


def _main(source: str, channel: int) -> None:
    code = compile_source(source, "solution.py")
    if isinstance(code, str):
        os.write(channel, code.encode("utf-8", "backslashreplace")[:4096])
        os._exit(1)
    os.close(channel)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    restore_streams()
    module = new_module("__main__")
    os._exit(_exit_code(code, module))


def _exit_code(code: types.CodeType, module: types.ModuleType) -> int:
    """Run to the end as the interpreter would, with threads joined and exit handlers called."""
    result = 0
    try:
        exec(code, module.__dict__)
    except SystemExit as error:
        if error.code is not None and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
        result = 0 if error.code is None else error.code & 0xFF if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        result = 1
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        result = result or 120
    return result
