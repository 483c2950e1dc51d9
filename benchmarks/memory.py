"""Peak memory of `python -m stages.verify` as its file grows: it must not follow the number of samples.

python -m benchmarks.memory --samples 10000 100000 1000000

Files of both sorts are made up: one of 300 different programs, over and over, and one of programs that are all
different, for which a verifier that runs nothing stands in: a million programs would otherwise take hours.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stages.common import records
from stages.common.cli import run
from stages.common.records import Sample, Task
from stages.sandbox import Sandbox
from stages.verifiers.base import Verifier
from stages.verifiers.verdicts import CLEAN, COMPILED, Finding

TASKS = 100
TEXT = "Here is a solution:\n```python\ndef f(xs):\n    # {}\n    return [x + {} for x in xs]\n```\nIt adds {}.\n"


class Nothing(Verifier):
    """Runs nothing."""

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """As if compiled."""
        return Finding(CLEAN, COMPILED, "no tests")

    def selftests(self) -> tuple[()]:
        """None: it tells nothing apart."""
        return ()


def tasks(verifier: str) -> Iterator[Task]:
    """Tasks that ask for f."""
    for n in range(TASKS):
        yield Task(f"t/{n}", "python", f"Add {n} to each.", verifier, "f", f"assert f([1]) == [{n + 1}]\n", [])


def samples(count: int, different: int) -> Iterator[Sample]:
    """`count` samples, of `different` programs for each task."""
    each = count // TASKS
    for n in range(each * TASKS):
        task, number = divmod(n, each)
        yield Sample(f"t/{task}", number, TEXT.format(number % different, task, task))


def measure(folder: Path, count: int, different: bool) -> dict:
    """The stage's own timing of one run with a cache of its own, which is empty."""
    verifier = f"{__spec__.name}:Nothing" if different else "pytest"
    records.write(folder / "tasks.jsonl", tasks(verifier))
    records.write(folder / "samples.jsonl", samples(count, count if different else 3))
    names = {"--tasks": "tasks.jsonl", "--samples": "samples.jsonl", "--out": "verdicts.jsonl", "--timing": "time.json"}
    command = [sys.executable, "-m", "stages.verify", *(part for pair in names.items() for part in pair)]
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        subprocess.run(command, cwd=folder, env=environment, check=True)
    written = sum(1 for _ in (folder / "verdicts.jsonl").open("rb"))
    return {**json.loads((folder / "time.json").read_text()), "verdicts": written}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="file sizes")
    args = parser.parse_args()
    table = Table("programs", "samples", "verdicts", "judged", "seconds", "samples/s", "peak memory (MiB)")
    for name, different in (("300, repeated", False), ("all different", True)):
        for count in args.samples:
            with tempfile.TemporaryDirectory() as folder:
                found = measure(Path(folder), count, different)
            keys = ("verdicts", "judged", "seconds", "programs_per_second", "peak_memory_mb")
            table.add_row(name, f"{count:,}", *(f"{found[key]:,}" for key in keys))
    Console(width=110).print(table)


if __name__ == "__main__":
    run(main)
