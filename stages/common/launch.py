"""One command in several processes: a stage runs itself again under `accelerate launch` and waits for it.

Each process goes through the whole script; the first of each run (rank 0) writes.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from stages.common.errors import HaloForgeError, InputError
from stages.common.params import read_yaml

INSIDE = "HALO_FORGE_LAUNCHED"  # set in the environment of the processes that were launched
# What torch's launcher says of its own accord: lines of its log, each of which is left out ...
NOISE = re.compile(r"^([EWI]\d{4} |\*{5}|Setting OMP_NUM_THREADS|\[W\d{3})")
LAUNCHER = "torch.distributed.elastic"  # ... and, behind this exception of its own, all that follows
RANK = re.compile(r"^\[rank(\d+)\]: ?")  # before each line of a process's traceback, once processes are joined
TRACEBACK = "Traceback (most recent call last):"
CHAINED = ("During handling of the above", "The above exception was")
EXCEPTION = re.compile(r"^(\w+\.)*[A-Z]\w*(:|$)")  # the line that ends a traceback
KEPT = 8  # errors; the first is told, and each process may have its own


def is_main() -> bool:
    """True in the one process that writes files: rank 0, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def world() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched(config: str | None, module: str) -> bool:
    """Run this command's `module` in the processes that accelerate's `config` names, and return True when they have
    ended; False, at once, where there is no config or this already is one of the processes.

    Raises InputError for a config that is missing or no map, HaloForgeError with the line of the process that failed.
    """
    if config is None or INSIDE in os.environ:
        return False
    if not isinstance(read_yaml(config), dict):
        raise InputError(f"{config}: expected accelerate's configuration (`accelerate config` writes one)")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(Path(config).absolute())]
    environment = {**os.environ, INSIDE: "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*command, "-m", module, *sys.argv[1:]], env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        assert process.stderr is not None
        errors, last = _echo(process.stderr)
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # the terminal has told it as well
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if code:
        if errors:
            raise HaloForgeError(errors[0])
        raise HaloForgeError(f"a process of `accelerate launch` failed: exit code {code}; {last or 'no word'}")
    return True


def _echo(lines: IO[str]) -> tuple[list[str], str]:
    """Pass on what the processes say (their progress), but for errors, tracebacks and the launcher's own words.

    Returns the errors, and where there is none what a fault is to be told by: the exception that ended the first
    process to tell one, else the last line.
    """
    errors: list[str] = []
    faults: dict[str, str] = {}  # by process: the exception that ended it, not those that led there
    last = ""
    inside = quiet = False  # a traceback, and what the launcher says at its end
    for line in lines:
        rank = RANK.match(line)
        text = RANK.sub("", line).rstrip()
        if text.startswith("error: "):
            errors = [*errors, text.removeprefix("error: ")][:KEPT]
        elif text.startswith(TRACEBACK):
            inside = True
        elif inside and text.startswith(LAUNCHER):
            inside, quiet = False, True
        elif inside and EXCEPTION.match(text):
            inside = False
            faults[rank[1] if rank else ""] = text
        elif not (inside or quiet or not text or NOISE.match(text) or text.startswith(CHAINED)):
            last = text
            print(text, file=sys.stderr, flush=True)
    return errors, next(iter(faults.values()), last)
