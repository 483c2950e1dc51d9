"""Programs per second of the pipeline's verifying beside one plain `python` process per sample, in one run on the same
samples: generated ones, and with --hub HumanEval's published solutions.

python -m benchmarks.verifying --hub ../shared/hub
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.table import Table

from stages import sources
from stages.common.cli import run
from stages.common.params import Params, argument_parser
from stages.common.records import Sample, Task
from stages.settings.sources import HumanEvalSettings
from stages.settings.verify import VerifySettings
from stages.verifiers.pool import verify_samples, worker_count

PLAIN_SECONDS = 60.0  # limit of one plain process
ANSWERS = (
    "def f(xs):\n    return [x + {n} for x in xs]\n",
    "def f(xs):\n    out = []\n    for x in xs:\n        out.append(x + {n})\n    return out\n",
    "def f(xs):\n    return [x - {n} for x in xs]\n",
    "import math\n\n\ndef f(xs):\n    return [math.floor(x) + {n} for x in sorted(xs)]\n",
    "def f(xs):\n    return [x + y for x in xs]\n",
    "def f(xs:\n    return xs\n",
)
Work = list[tuple[Task, str]]


def generated(count: int) -> Work:
    """`count` different small programs, of which some pass, some are wrong, some crash and some do not parse."""
    work = []
    for n in range(count):
        tests = f"assert f([]) == []\nassert f([1]) == [{n + 1}]\nassert f([3, 1]) == [{n + 3}, {n + 1}]\n"
        task = Task(f"generated/{n}", "python", f"Add {n} to each number.", "pytest", "f", tests, [])
        work.append((task, ANSWERS[n % len(ANSWERS)].format(n=n)))
    return work


def humaneval(hub: str) -> Work:
    """HumanEval's published solutions."""
    tasks = sources.load("humaneval", HumanEvalSettings(), hub, 0)["benchmark"]
    return [(task, task.reference or "") for task in tasks]


def ours(work: Work, settings: VerifySettings, nested: bool = True) -> tuple[float, int]:
    """(seconds, passed) of the verify stage's judges, starting and ending them included."""
    os.environ["HALO_FORGE_NESTED"] = "1" if nested else "0"
    tasks = {task.task_id: task for task, _ in work}
    samples = [Sample(task.task_id, 0, code) for task, code in work]
    began = time.monotonic()
    passed = sum(verdict.reward == 1 for verdict in verify_samples(tasks, samples, settings))
    return time.monotonic() - began, passed


def plain(work: Work, settings: VerifySettings) -> tuple[float, int]:
    """(seconds, passed) of a `python` process per sample: no sandbox, no limits; exit code 0 counts as passed."""

    def judge(item: tuple[Task, str]) -> bool:
        program = f"{item[1]}\n{item[0].tests}\n"
        command = [sys.executable, "-I", "-c", program]
        done = subprocess.run(command, check=False, capture_output=True, timeout=PLAIN_SECONDS, cwd=folder)
        return done.returncode == 0

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(worker_count(settings)) as pool:
        passed = sum(pool.map(judge, work))
    return time.monotonic() - began, passed


def measure(name: str, work: Work, settings: VerifySettings, rounds: int, table: Table) -> None:
    """Run each way `rounds` times in turn; one row each, with the best time."""
    ways = {
        "one python process per sample, no sandbox": lambda: plain(work, settings),
        "one sandbox per sample": lambda: ours(work, settings, nested=False),
        "verify": lambda: ours(work, settings),
    }
    best: dict[str, tuple[float, int]] = {}
    for _ in range(rounds):
        for way, call in ways.items():
            found = call()
            best[way] = min(best.get(way, found), found)
    slowest = next(iter(best.values()))[0]
    for way, (seconds, passed) in best.items():
        cells: Sequence[object] = (
            name,
            way,
            len(work),
            passed,
            f"{len(work) / seconds:.1f}",
            f"{slowest / seconds:.1f}x",
        )
        table.add_row(*map(str, cells))


def main() -> None:
    """Measure and print the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--hub", metavar="DIR", help="folder laid out as on the Hugging Face hub")
    parser.add_argument("--samples", type=int, default=600, help="generated samples")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each; the fastest counts")
    flags = parser.parse_args()
    settings = Params(flags.params).section(VerifySettings, "verify")
    table = Table("samples", "way", "count", "passed", "programs/s", "ratio", title=f"{worker_count(settings)} workers")
    measure("generated", generated(flags.samples), settings, flags.rounds, table)
    if flags.hub:
        measure("HumanEval", humaneval(flags.hub), settings, flags.rounds, table)
    Console(width=110).print(table)


if __name__ == "__main__":
    run(main)
