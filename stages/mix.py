"""Join the tasks of all sources, without train and validation tasks that are also benchmark tasks.

python -m stages.mix --tasks data/tasks/synthetic data/tasks/mbpp --out data/mix --metrics metrics/data/mix.json
"""

from collections.abc import Iterable
from pathlib import Path

from stages.common import records
from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.files import replacing_directory, write_json
from stages.common.params import argument_parser
from stages.common.records import Task

SPLITS = ("train", "validation", "benchmark")


def join(directories: Iterable[Path], split: str, origin: dict[str, Path]) -> list[Task]:
    """A split of every source, in the order given; `origin` collects each id's file, to refuse one that comes twice."""
    tasks = []
    for directory in directories:
        path = directory / f"{split}.jsonl"
        for task in records.read(Task, path):
            if task.task_id in origin:
                raise InputError(f"{path}: duplicate task_id '{task.task_id}', already in {origin[task.task_id]}")
            origin[task.task_id] = path
            tasks.append(task)
    return tasks


def normalised(text: str) -> str:
    """Lower case, each run of white space one space: copies that differ in layout are equal."""
    return " ".join(text.lower().split())


def decontaminate(tasks: Iterable[Task], benchmark: Iterable[Task]) -> tuple[list[Task], int]:
    """The tasks of which neither prompt nor reference is also a benchmark task's; and how many were left out."""
    benchmark = list(benchmark)
    prompts = {normalised(task.prompt) for task in benchmark}
    references = {normalised(task.reference) for task in benchmark if task.reference}
    tasks = list(tasks)
    kept = [
        task
        for task in tasks
        if normalised(task.prompt) not in prompts and normalised(task.reference or "") not in references
    ]
    return kept, len(tasks) - len(kept)


def main() -> None:
    """Read, compare, write."""
    parser = argument_parser(__doc__)
    parser.add_argument("--tasks", required=True, nargs="+", type=Path, metavar="DIR", help="directories of sources")
    parser.add_argument("--out", required=True, type=Path, help="directory of the three files")
    parser.add_argument("--metrics", required=True, type=Path, help="file of the counts")
    args = parser.parse_args()
    origin: dict[str, Path] = {}
    splits = {split: join(args.tasks, split, origin) for split in SPLITS}
    dropped = {}
    for split in ("train", "validation"):
        splits[split], dropped[f"dropped_{split}"] = decontaminate(splits[split], splits["benchmark"])
    for split in ("train", "benchmark"):
        if not splits[split]:
            left_out = dropped.get(f"dropped_{split}", 0)
            raise InputError(
                f"{', '.join(map(str, args.tasks))}: no {split} tasks"
                + (f" after {left_out} that are benchmark tasks too were left out" if left_out else "")
                + "; use a source that has some (profiles.NAME.sources in params.yaml)"
            )

    with replacing_directory(args.out) as directory:
        for split in SPLITS:
            records.write(directory / f"{split}.jsonl", splits[split])
    demonstrations = sum(task.reference is not None for task in splits["train"])
    counts = {split: len(tasks) for split, tasks in splits.items()}
    write_json(args.metrics, {**counts, "demonstrations": demonstrations, **dropped})
    print("mix: " + ", ".join(f"{name} {count}" for name, count in {**counts, **dropped}.items()))


if __name__ == "__main__":
    run(main)
