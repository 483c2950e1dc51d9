"""Join the tasks of all sources. Train and validation tasks that repeat others, or that the benchmark has too, are
left out; a table tells which, and why.

python -m stages.mix --tasks data/tasks/synthetic data/tasks/mbpp --generated data/generated --out data/mix
    --metrics metrics/data/mix.json --removed metrics/data/removed.csv
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stages.cleaning import DISJOINT
from stages.cleaning.contamination import Contamination
from stages.cleaning.duplicates import Duplicates
from stages.cleaning.ids import Ids
from stages.cleaning.text import squeezed, statement, writable
from stages.common import records
from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.files import replacing, replacing_directory, write_json
from stages.common.outputs import expect_directory_place, output_file
from stages.common.params import Params, argument_parser
from stages.common.progress import Progress
from stages.common.records import Task
from stages.common.timing import write_timing
from stages.settings.data import DataSettings

SPLITS = ("train", "validation", "benchmark")
COLUMNS = ("task", "source", "split", "reason", "same_as", "evidence")


def task_files(directories: Iterable[Path], generated: Path | None) -> dict[str, list[Path]]:
    """The files of each split, in the order of the sources; examples that were generated are train tasks."""
    files = {split: [directory / f"{split}.jsonl" for directory in directories] for split in SPLITS}
    if generated is not None:
        if not generated.is_dir():
            raise InputError(f"{generated}: no such directory")
        files["train"] += sorted(generated.glob("*.jsonl"))
    return files


def read(files: Iterable[Path], ids: Ids | None = None) -> Iterator[Task]:
    """The files' tasks; with `ids`, InputError for an id that comes twice."""
    for path in files:
        for task in records.read(Task, path, unique=False):
            if ids is not None and (earlier := ids.add(task.task_id, str(path))):
                raise InputError(f"{path}: duplicate task_id '{task.task_id}', already in {earlier}")
            yield task


class Filter:
    """Tells which tasks are left out."""

    def __init__(self, contamination: Contamination, duplicates: Duplicates, problems: Ids, removed: Any) -> None:
        self._contamination, self._duplicates, self._problems = contamination, duplicates, problems
        self._table = csv.DictWriter(removed, COLUMNS, lineterminator="\n")
        self._table.writeheader()
        self.counts: dict[str, Counter[str]] = {split: Counter() for split in ("train", "validation")}

    def _split_of(self, task: Task, split: str) -> str | None:
        """The train task, if there is one, that has the problem of a validation task, with whatever solution."""
        problem = squeezed(statement(task))
        earlier = self._problems.add(problem, task.task_id) if split == "train" else self._problems.get(problem)
        return earlier if split == "validation" else None

    def keeps(self, task: Task, split: str) -> bool:
        """Whether the task may train (or validate) anything; where not, a row of the table says why."""
        reason, same, evidence = self._contamination.leak(task) or ("", "", "")
        if not reason and (match := self._duplicates.add(task, near=task.source not in DISJOINT)):
            reason, same = match
        if not reason and (earlier := self._split_of(task, split)):
            reason, same = "other_split", earlier
        if reason:
            self.counts[split][reason] += 1
            row = {"task": task.task_id, "source": task.source, "split": split}
            row |= {"reason": reason, "same_as": same, "evidence": evidence}
            self._table.writerow({name: writable(text or "") for name, text in row.items()})
        return not reason


def join(files: dict[str, list[Path]], out: Path, settings: DataSettings, removed: Any) -> dict[str, Any]:
    """Write the three files; the metrics. The benchmark comes first: all others are compared with it."""
    counts: Counter[str] = Counter()
    contamination = Contamination(settings.contamination, DISJOINT)
    with ExitStack() as stack:
        ids = stack.enter_context(Ids(out.parent))
        duplicates = stack.enter_context(Duplicates(settings.duplicates, out.parent))
        problems = stack.enter_context(Ids(out.parent))
        chosen = Filter(contamination, duplicates, problems, removed)
        with replacing(out / "benchmark.jsonl") as file:
            for task in read(files["benchmark"], ids):
                contamination.add(task)
                file.write(records.encode(task) + "\n")
                counts["benchmark"] += 1
        total = 0
        for task in read(files["train"] + files["validation"], ids):
            contamination.note(task)
            total += 1
        progress = stack.enter_context(Progress("mix", total, "tasks"))
        for split in ("train", "validation"):
            with replacing(out / f"{split}.jsonl") as file:
                for task in read(files[split]):
                    progress.update()
                    if chosen.keeps(task, split):
                        file.write(records.encode(task) + "\n")
                        counts[split] += 1
                        counts["demonstrations"] += split == "train" and task.reference is not None
    metrics: dict[str, Any] = {name: counts[name] for name in (*SPLITS, "demonstrations")}
    for split, reasons in chosen.counts.items():
        metrics[f"dropped_{split}"] = reasons.total()
        metrics |= {f"dropped_{split}_{reason}": reasons[reason] for reason in sorted(reasons)}
    return metrics


def expect_some(metrics: dict[str, Any], tasks: Iterable[Path]) -> None:
    """Raise InputError where there is nothing to train on, or nothing to benchmark."""
    for split in ("train", "benchmark"):
        if not metrics[split]:
            left_out = metrics.get(f"dropped_{split}", 0)
            raise InputError(
                f"{', '.join(map(str, tasks))}: no {split} tasks"
                + (f" after {left_out} that repeat others or are benchmark tasks too were left out" if left_out else "")
                + "; use a source that has some (profiles.NAME.sources in params.yaml)"
            )


def main() -> None:
    """Read, compare, write."""
    parser = argument_parser(__doc__)
    parser.add_argument("--tasks", required=True, nargs="+", type=Path, metavar="DIR", help="directories of sources")
    parser.add_argument("--generated", type=Path, metavar="DIR", help="directory of generated examples")
    parser.add_argument("--out", required=True, type=Path, help="directory of the three files")
    parser.add_argument("--metrics", required=True, type=output_file, help="file of the counts")
    parser.add_argument("--removed", required=True, type=output_file, help="CSV file of what was left out, and why")
    parser.add_argument("--timing", type=output_file, help="file for what varies from run to run")
    args = parser.parse_args()
    settings = Params(args.params).section(DataSettings, "data")
    files = task_files(args.tasks, args.generated)
    expect_directory_place(args.out)
    with replacing_directory(args.out) as directory, replacing(args.removed) as removed:
        metrics = join(files, directory, settings, removed)
        expect_some(metrics, args.tasks)
    write_json(args.metrics, metrics)
    write_timing(args.timing, {})
    print("mix: " + ", ".join(f"{name} {count}" for name, count in metrics.items()))


if __name__ == "__main__":
    run(main)
