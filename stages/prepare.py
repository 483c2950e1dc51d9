"""Make one source's tasks: train, validation and benchmark, as JSON Lines.

python -m stages.prepare --source synthetic --out data/tasks/synthetic --metrics metrics/data/synthetic.json
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from stages import sources
from stages.common import records
from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.files import replacing_directory, write_json
from stages.common.params import Params, Settings, argument_parser
from stages.common.records import Sample, Task
from stages.settings.sources import HubSettings
from stages.settings.verify import VerifySettings
from stages.sources import SPLITS
from stages.verifiers.pool import verify_samples

Splits = dict[str, list[Task]]


def source_settings(params: Params, name: str) -> Settings | None:
    """The active profile's settings of a source; None where the profile sets it to null: not used."""
    kind = sources.get(name).settings
    profile = params.profile
    if profile is None:
        return kind()
    section = params.raw["profiles"][profile]
    entries = section.get("sources") if isinstance(section, dict) else None
    if not isinstance(entries, dict) or name not in entries:
        raise InputError(f"{params.path}: profiles.{profile}.sources.{name}: missing; null means not used")
    return None if entries[name] is None else params.section(kind, f"sources.{name}")


def failed_references(name: str, tasks: Iterable[Task], settings: VerifySettings) -> dict[str, list[str]]:
    """Ids of the tasks whose own reference solution does not earn 1.0, by the level it reached.

    Raises InputError where none earns it: then the source is not what it is taken for.
    """
    checked = {task.task_id: task for task in tasks if task.reference is not None}
    samples = (Sample(task.task_id, 0, task.reference) for task in checked.values())
    failed = defaultdict(list)
    for verdict in verify_samples(checked, samples, settings):
        if verdict.reward < 1:
            failed[verdict.level].append(verdict.task_id)
            last = f"{verdict.task_id}: {verdict.level}: {verdict.detail}"
    if checked and sum(map(len, failed.values())) == len(checked):
        raise InputError(f"source '{name}': not one of {len(checked)} reference solutions passes; {last}")
    return dict(sorted(failed.items()))


def counts(splits: Splits, failed: dict[str, list[str]], used: bool) -> dict:
    """The metrics: tasks per split, and those left out by reason, each with its ids."""
    metrics = {"used": used, **{split: len(splits[split]) for split in SPLITS}}
    metrics["demonstrations"] = sum(task.reference is not None for task in splits["train"])
    metrics["dropped"] = sum(map(len, failed.values()))
    for level, ids in failed.items():
        metrics[f"dropped_{level}"] = len(ids)
        metrics[f"dropped_{level}_ids"] = ids
    return metrics


def main() -> None:
    """Load the source, drop tasks whose reference fails, write."""
    parser = argument_parser(__doc__)
    parser.add_argument("--source", required=True, metavar="NAME", help=f"one of: {', '.join(sources.SOURCES)}")
    parser.add_argument("--out", required=True, type=Path, help="directory of the three files")
    parser.add_argument("--metrics", required=True, type=Path, help="file of the counts")
    args = parser.parse_args()
    params = Params(args.params)
    settings = source_settings(params, args.source)
    splits: Splits = {split: [] for split in SPLITS}
    failed: dict[str, list[str]] = {}
    if settings is not None:
        hub = params.top(HubSettings, "sources").hub
        splits |= {split: list(tasks) for split, tasks in sources.load(args.source, settings, hub, params.seed).items()}
        if settings.check_references:
            verify = params.section(VerifySettings, "verify")
            failed = failed_references(args.source, (task for split in SPLITS for task in splits[split]), verify)
            bad = {task_id for ids in failed.values() for task_id in ids}
            splits = {split: [task for task in tasks if task.task_id not in bad] for split, tasks in splits.items()}

    with replacing_directory(args.out) as directory:
        for split in SPLITS:
            records.write(directory / f"{split}.jsonl", splits[split])
    metrics = counts(splits, failed, used=settings is not None)
    write_json(args.metrics, metrics)
    numbers = ", ".join(f"{split} {metrics[split]}" for split in SPLITS) + f"; dropped {metrics['dropped']}"
    print(f"{args.source}: " + (numbers if settings is not None else f"not used by profile {params.profile}"))


if __name__ == "__main__":
    run(main)
