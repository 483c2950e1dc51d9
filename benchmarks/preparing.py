"""Time and memory of prepare and mix on synthetic rows: memory must not grow with their number.

python -m benchmarks.preparing --rows 20000 200000
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from stages.common import records
from stages.common.records import Task

ROOT = Path(__file__).parents[1]
NOUNS = re.findall(r"\w+", "apple river stone cloud letter market garden signal window planet bridge camera ticket")
VERBS = re.findall(r"\w+", "count merge split rotate filter sort reverse group shift compare encode replace collect")
LINES = (
    "    {a} = [{b} for {b} in {a} if {b} % {n}]",
    "    {a} = sorted({a}, key=lambda {b}: ({b} * {n}) % {m})",
    "    {a} = {a}[{n}:] + {a}[:{n}]",
    "    for {b} in range({n}, {m}):\n        {a}.append({b} ^ {n})",
    "    {a} = [{b} + {n} if {b} < {m} else {b} - {n} for {b} in {a}]",
    "    {a} = list(dict.fromkeys({b} // {n} for {b} in {a}))",
    "    while len({a}) > {m}:\n        {a}.pop({n} % len({a}))",
)


def tasks(count: int, name: str = "rows") -> Iterator[Task]:
    """Random programs with random statements; each tenth repeats an earlier one under other names."""
    for number in range(count):
        repeated = number % 10 == 9
        rng = random.Random(f"{name}/{number - 5 if repeated else number}")
        words = " ".join(rng.choice(VERBS) + " the " + rng.choice(NOUNS) for _ in range(8))
        values = [{"n": rng.randint(1, 99), "m": rng.randint(100, 999)} for _ in range(6)]
        lines = [rng.choice(LINES) for _ in values]
        a, b = ("items", "item") if repeated else ("xs", "x")
        body = "\n".join(line.format(a=a, b=b, **value) for line, value in zip(lines, values, strict=True))
        code = f"def run({a}):\n{body}\n    return {a}\n"
        prompt = f"Write run(xs): {words}.\n"
        yield Task(f"{name}/{number}", "python", prompt, "pytest", "run", "assert run([]) is not None", [], code)


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and peak memory (MiB) of a command."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return time.monotonic() - started, usage.ru_maxrss / 1024


def main() -> None:
    """Write the rows, run the stages, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    args = parser.parse_args()
    table = Table("rows", "stage", "seconds", "rows per second", "peak memory (MiB)", "kept", "dropped")
    for count in args.rows:
        with tempfile.TemporaryDirectory(dir=Path.cwd() / "build" if Path("build").is_dir() else None) as name:
            folder = Path(name)
            records.write(folder / "data/own/rows.jsonl", tasks(count))
            records.write(folder / "bench/benchmark.jsonl", tasks(3, "benchmark"))
            for split in ("train", "validation"):
                records.write(folder / f"bench/{split}.jsonl", ())
            source = {"train": ["data/own/rows.jsonl"], "check_references": False}
            params = {"profile": "p", "profiles": {"p": {"verify": {}, "sources": {"jsonl": source}}}}
            (folder / "params.yaml").write_text(yaml.safe_dump(params))
            commands = {
                "prepare": "stages.prepare --source jsonl --out tasks/jsonl --metrics prepare.json",
                "mix": "stages.mix --tasks tasks/jsonl bench --out mix --metrics mix.json --removed removed.csv",
            }
            for stage, command in commands.items():
                seconds, memory = measured([sys.executable, "-m", *command.split()], folder)
                found = json.loads((folder / f"{stage}.json").read_text())
                dropped = found.get("dropped", found.get("dropped_train"))
                table.add_row(
                    f"{count:,}",
                    stage,
                    f"{seconds:.1f}",
                    f"{count / seconds:,.0f}",
                    f"{memory:.0f}",
                    f"{found['train']:,}",
                    f"{dropped:,}",
                )
    Console().print(table)


if __name__ == "__main__":
    main()
