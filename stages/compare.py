"""Two checkpoints beside each other, of any two git revisions or experiments: is one better, and on which tasks.

python -m stages.compare v0.1.0 HEAD
python -m stages.compare HEAD:sft HEAD:cycle-3 --task synthetic/17
python -m stages.compare my-experiment

A side is REVISION[:CHECKPOINT]; the second is the workspace where it is not given, the checkpoint the last that the
revision's params.yaml lists and that no control or other method made. Everything is read from git and DVC's cache or
remote; nothing runs.
"""

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from stages.common import records
from stages.common.cli import run
from stages.common.comparison import SOLVED, Comparison, compare
from stages.common.errors import InputError
from stages.common.files import value_hash
from stages.common.params import argument_parser
from stages.common.records import Sample, Task, Verdict
from stages.common.revisions import WORKSPACE, Revision, named
from stages.common.score import counts

TASKS = "data/mix/benchmark.jsonl"
NAMED = 20  # flipped tasks that are named in the terminal


@dataclass
class Side:
    """One of the two: a checkpoint as a revision has benchmarked it."""

    revision: Revision
    model: str

    @property
    def name(self) -> str:
        """As it is asked for."""
        return f"{self.revision.name}:{self.model}"

    def file(self, kind: str) -> Path:
        """Its benchmark's `samples` or `verdicts`."""
        return self.revision.fetch(f"data/benchmark/{self.model}/{kind}.jsonl")

    def how(self) -> str:
        """How its samples were drawn."""
        figures = self.revision.json(f"metrics/benchmark/{self.model}.json")
        return f"n {figures.get('n', '?')}, temperature {figures.get('temperature', '?')}"

    def settings(self) -> dict[str, Any]:
        """All that sampling and judging depend on beside the checkpoint."""
        profile = self.revision.profile()
        sample = (profile.get("benchmark") or {}).get("sample") or {}
        system = (profile.get("prompts") or {}).get("system")
        return {"benchmark.sample": sample, "prompts.system": system, "verify": profile.get("verify")}

    def tasks(self) -> dict[str, Task]:
        """The benchmark's tasks."""
        return {task.task_id: task for task in records.read(Task, self.revision.fetch(TASKS))}


def same_tasks(a: dict[str, Task], b: dict[str, Task]) -> tuple[list[str], list[str]]:
    """(tasks that both have, word for word and test for test; tasks of one name whose text or tests differ)."""
    both = [task for task in a if task in b]
    alike = {task: value_hash(_judged(a[task])) == value_hash(_judged(b[task])) for task in both}
    return [task for task in both if alike[task]], [task for task in both if not alike[task]]


def _judged(task: Task) -> list[Any]:
    return [task.language, task.prompt, task.verifier, task.entry_point, task.tests, task.cases, task.compare]


def summary(found: Comparison, a: Side, b: Side) -> Table:
    """pass@1 of both and their difference."""
    table = Table("", "checkpoint", "pass@1", "samples", title=f"{found.tasks} tasks, paired", box=SIMPLE)
    table.add_row("A", escape(a.name), f"{found.a:.3f}", a.how())
    table.add_row("B", escape(b.name), f"{found.b:.3f}", b.how())
    table.add_row("B - A", "", f"{found.difference:+.3f}", f"95 %: {found.low:+.3f} to {found.high:+.3f}")
    return table


def shown(side: Side, task: str, passing: bool) -> Text:
    """A sample of the task with its verdict: one that passed, or one that did not, where there is such a one."""
    verdicts = {v.sample: v for v in records.read(Verdict, side.file("verdicts")) if v.task_id == task}
    fitting = [n for n, v in verdicts.items() if (v.reward == 1) == passing] or list(verdicts)
    number = fitting[0]
    passed = sum(v.reward == 1 for v in verdicts.values())
    drawn = (s for s in records.read(Sample, side.file("samples")) if (s.task_id, s.sample) == (task, number))
    sample = next(drawn, None)
    if sample is None:
        raise InputError(f"{side.file('samples')}: no sample {number} of task '{task}', which has a verdict")
    verdict = verdicts[number]
    text = Text(f"{passed} of {len(verdicts)} pass; sample {number}: reward {verdict.reward:g}, {verdict.level}\n")
    if verdict.detail:
        text.append(f"{verdict.detail}\n", style="dim")
    return text.append(f"\n{sample.completion.strip()}")


def side_by_side(task: Task, a: Side, b: Side, rates: tuple[float, float]) -> Table:
    """A sample of each side: of a side that solves the task one that passes, of another one that does not."""
    table = Table(f"A {escape(a.name)}", f"B {escape(b.name)}", expand=True)
    table.add_row(shown(a, task.task_id, rates[0] >= SOLVED), shown(b, task.task_id, rates[1] >= SOLVED))
    return table


def told(label: str, tasks: list[str]) -> str:
    """A line that names the tasks, if there are any."""
    if not tasks:
        return f"{label}: none"
    more = f" and {len(tasks) - NAMED} more (--json lists all)" if len(tasks) > NAMED else ""
    return f"{label}, {len(tasks)}: {', '.join(tasks[:NAMED])}{more}"


def main() -> None:
    """Read both, compare, tell."""
    parser = argument_parser(__doc__)
    parser.add_argument("a", metavar="A", help="REVISION[:CHECKPOINT]")
    parser.add_argument("b", metavar="B", nargs="?", default=WORKSPACE, help="the same (default: the workspace)")
    parser.add_argument("--task", help="show this task's samples side by side (default: the most changed one)")
    parser.add_argument("--resamples", type=int, default=10_000, help="bootstrap resamples of the tasks")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON and nothing else")
    args = parser.parse_args()
    if args.resamples < 1:
        raise InputError(f"--resamples: found {args.resamples}, expected at least 1")
    with ExitStack() as stack:
        a, b = (Side(*stack.enter_context(named(text))) for text in (args.a, args.b))
        tasks = a.tasks(), b.tasks()
        same, changed = same_tasks(*tasks)
        otherwise = [key for key, value in a.settings().items() if value != b.settings()[key]]
        tallies = [counts(records.read(Verdict, s.file("verdicts"))) for s in (a, b)]
        judged = [task for task in same if all(task in tally for tally in tallies)]
        found = compare(*tallies, judged, args.resamples)
        alone = [len(tasks[0].keys() - tasks[1].keys()), len(tasks[1].keys() - tasks[0].keys())]
        if args.json:
            sides = {"A": a.name, "B": b.name, "verdict": found.verdict}
            left_out = {"only_in_a": alone[0], "only_in_b": alone[1], "changed": changed, "settings": otherwise}
            print(json.dumps({**sides, **asdict(found), **left_out}, indent=2))
            return
        console = Console()
        console.print(summary(found, a, b))
        print(f"{found.verdict} in pass@1")
        if otherwise:
            print(f"measured otherwise, so the checkpoint is not all that differs: {', '.join(otherwise)}")
        if missing := len(same) - len(judged):
            print(f"left out: {missing} tasks that one side has not judged")
        if changed or any(alone):
            print(f"left out: {alone[0]} tasks that A alone has, {alone[1]} of B, {len(changed)} whose tests differ")
        print(told("won (B solves, A does not)", found.won))
        print(told("lost (A solves, B does not)", found.lost))
        chosen = [args.task] if args.task else [*found.lost[:1], *found.won[:1]]
        for name in chosen:
            if any(name not in known for known in (*tallies, *tasks)):
                raise InputError(f"--task {name}: not benchmarked on both sides")
            rates = tuple(tally[name][1] / tally[name][0] for tally in tallies)
            console.print(Text(f"\n{name}", style="bold"), Text(tasks[1][name].prompt.strip()), sep="\n")
            console.print(side_by_side(tasks[1][name], a, b, (rates[0], rates[1])))


if __name__ == "__main__":
    run(main)
