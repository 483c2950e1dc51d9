"""What a checkpoint was trained on, down to each sample, verdict and test, from git and DVC's data alone.

python -m stages.why v0.1.0
python -m stages.why HEAD:cycle-2 --task synthetic/train/0079
python -m stages.why

REVISION[:CHECKPOINT]: by default the workspace, and the last checkpoint of the chain. Exits with 1 where an example
cannot be traced to its sample and verdict.
"""

import json
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stages.common.cli import run
from stages.common.errors import HaloForgeError, InputError
from stages.common.params import argument_parser
from stages.common.provenance import DEMONSTRATION, Origin, Step, chain, task_origins
from stages.common.records import Example
from stages.common.revisions import Revision, named

SHOWN = 3  # examples named that cannot be traced


def summary(steps: list[Step], revision: Revision) -> Table:
    """A line per training, the last first."""
    table = Table("checkpoint", "made from", "examples", "of them", "weights", box=SIMPLE)
    for step in steps:
        parts = [f"{count:,} {_of(cycle)}"
                 for cycle, count in sorted(step.examples.items(), reverse=True)]  # fmt: skip
        total = f"{sum(step.examples.values()):,}" if step.examples else ""
        if step.copy:
            parts = ["none passed: a copy"]
        digest = revision.digest(f"models/{step.checkpoint}") or "not in dvc.lock"
        table.add_row(step.checkpoint, step.parent or "params.yaml: base", total, ", ".join(parts), digest[:12])
    return table


def _of(cycle: str) -> str:
    if cycle.startswith("grpo-"):
        return "drawn while it trained"
    return "demonstrations" if cycle == DEMONSTRATION else f"of cycle {cycle}"


def origin_text(origin: Origin, checkpoint: str) -> Text:
    """An example, and where it came from."""
    example, sample, verdict = origin.example, origin.sample, origin.verdict
    times = f", {example.weight} times an epoch" if example.weight > 1 else ""
    text = Text(f"\n{checkpoint} was trained on{times}:\n", style="bold")
    if sample is None or verdict is None:
        text.append(f"a demonstration: the reference solution of the task, from {origin.source or 'its source'}\n")
    else:
        drawn = f"temperature {sample.temperature}, seed {sample.seed}"
        text.append(f"sample {sample.sample} of {_where(example)}, drawn by {sample.checkpoint} ({drawn})\n")
        passed = f"{verdict.tests_passed} of {verdict.tests_total} tests"
        text.append(
            f"verdict: reward {verdict.reward:g}, {verdict.level}, {passed}; {verdict.detail or 'no remarks'}\n"
        )
    return text.append(f"tests {origin.tests[:12]}\n\n{example.completion.strip()}\n")


def _where(example: Example) -> str:
    return example.cycle if example.cycle.startswith("grpo-") else f"cycle {example.cycle}"


def as_json(steps: list[Step], found: list[tuple[str, Origin]]) -> dict[str, Any]:
    """All of it for programs."""
    traced = [{"checkpoint": checkpoint, **asdict(origin)} for checkpoint, origin in found]
    return {"chain": [asdict(step) for step in steps], "examples": traced}


def main() -> None:
    """Trace, tell; fail where something cannot be traced."""
    parser = argument_parser(__doc__)
    parser.add_argument("model", metavar="MODEL", nargs="?", default="workspace", help="REVISION[:CHECKPOINT]")
    parser.add_argument("--task", help="show each example of this task, with its origin")
    parser.add_argument("--json", action="store_true", help="print it as JSON and nothing else")
    args = parser.parse_args()
    with named(args.model) as (revision, checkpoint):
        steps = list(chain(revision, checkpoint))
        found = [
            (step.checkpoint, origin)
            for step in steps
            for origin in (task_origins(revision, step, args.task) if args.task else [])
        ]
        if args.task and not found:
            raise InputError(f"--task {args.task}: nothing that made {checkpoint} was trained on it")
        if args.json:
            print(json.dumps(as_json(steps, found), indent=2))
        else:
            console = Console()
            console.print(summary(steps, revision))
            for name, origin in found:
                console.print(origin_text(origin, name), end="", soft_wrap=True)  # code and seeds stay whole
    untraced = [f"{step.checkpoint}: {what}" for step in steps for what in step.untraced]
    if untraced:
        more = f" and {len(untraced) - SHOWN} more" if len(untraced) > SHOWN else ""
        raise HaloForgeError(f"examples that are not as their sample and verdict: {'; '.join(untraced[:SHOWN])}{more}")
    if not args.json:
        print("every example has its sample and its verdict, or is a demonstration of a task that is there")


if __name__ == "__main__":
    run(main)
