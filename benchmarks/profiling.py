"""Where verifying spends its time: cores busy, processor time here and in the sandboxes, and the calls that wait."""

import contextlib
import cProfile
import os
import pstats
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.programs import Programs
from stages.settings.verify import VerifySettings
from stages.verifiers.files import verify_file

SHOWN = 12  # functions


def profile(programs: Programs, settings: VerifySettings) -> Table:
    """Judge the programs without a verdict cache; a table of shares of the time, and of the functions of this process
    in which its threads spend most of it: `recv` and the like are waits for a sandbox. Sandboxes are counted by what
    the whole machine does, so it should do nothing else."""
    settings = settings.model_copy(update={"cache": False})
    start = _seconds(lambda: subprocess.run([sys.executable, "-c", "import stages.verify"], check=True))
    profiles: list[cProfile.Profile] = []
    with tempfile.TemporaryDirectory() as folder:
        tasks, samples = programs.write(Path(folder))
        _warm(programs, settings, Path(folder))
        out = Path(folder, "verdicts.jsonl")
        own, machine = time.process_time(), _machine_seconds()
        seconds = _seconds(lambda: _with_profiles(profiles, lambda: verify_file([tasks], samples, out, settings)))
        own, used = time.process_time() - own, [b - a for a, b in zip(machine, _machine_seconds(), strict=True)]
    cores = len(os.sched_getaffinity(0))
    table = Table("where", "seconds", "share", title=f"profile: {len(programs.rows)} of {programs.name}, cold")
    table.add_row("interpreter and imports, before anything is judged", f"{start:.2f}", "")
    table.add_row("judging, by the clock", f"{seconds:.2f}", "")
    parts = (("this process", own), ("whole machine, user", used[0]), ("whole machine, kernel", used[1]))
    for name, part in parts:
        table.add_row(f"processor time: {name}", f"{part:.2f}", f"{part / seconds / cores:.0%} of {cores} cores")
    if programs.language == "python":
        table.add_row("the programs alone, in forks of one interpreter, in turn", f"{_floor(programs):.2f}", "")
    table.add_section()
    for name, spent in _functions(profiles):
        table.add_row(name, f"{spent:.2f}", "")
    return table


def _machine_seconds() -> tuple[float, float]:
    """Processor time in user mode and in the kernel since the machine's start, all cores (s)."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split(None, 4)[1:4])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice) / ticks, system / ticks


def _floor(programs: Programs) -> float:
    """What running the programs alone takes (s)."""
    began = time.monotonic()
    for row in programs.rows:
        child = os.fork()
        if child == 0:
            text = f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\ncheck({row['entry_point']})\n"
            with contextlib.suppress(BaseException):
                exec(text, {"__name__": "program"})
            os._exit(0)
        os.waitpid(child, 0)
    return time.monotonic() - began


def _warm(programs: Programs, settings: VerifySettings, folder: Path) -> None:
    """What is built once per machine is not this run's cost."""
    where = folder / "warm"
    where.mkdir()
    tasks, samples = programs.first().write(where)
    verify_file([tasks], samples, where / "verdicts.jsonl", settings)


def _with_profiles(profiles: list[cProfile.Profile], call: Callable[[], Any]) -> None:
    """`call()` with a profile of its own for each thread."""

    def begin(*_: object) -> None:
        sys.setprofile(None)
        mine = cProfile.Profile()
        profiles.append(mine)
        mine.enable()

    threading.setprofile(begin)
    own = cProfile.Profile()
    profiles.append(own)
    try:
        own.runcall(call)
    finally:
        threading.setprofile(None)


def _functions(profiles: list[cProfile.Profile]) -> list[tuple[str, float]]:
    """The functions with the most time of their own, over all threads."""
    stats = pstats.Stats(profiles[0])
    for more in profiles[1:]:
        stats.add(more)
    spent = sorted(((own, key) for key, (_, _, own, _, _) in stats.stats.items()), reverse=True)[:SHOWN]
    return [(f"{Path(file).name}:{line} {name}" if line else name, own) for own, (file, line, name) in spent]


def _seconds(call: Callable[[], Any]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began
