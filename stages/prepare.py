"""Make one source's tasks: train, validation and benchmark, as JSON Lines. Rows stream through: each is measured,
its reference solution verified, and compared with those before it.

python -m stages.prepare --source synthetic --out data/tasks/synthetic --metrics metrics/data/synthetic.json
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from stages import sources
from stages.cleaning import DISJOINT
from stages.cleaning.duplicates import Duplicates
from stages.cleaning.ids import Ids
from stages.cleaning.lengths import Lengths
from stages.cleaning.report import Report
from stages.common import records
from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.files import replacing, replacing_directory, write_json
from stages.common.outputs import expect_directory_place, output_file
from stages.common.params import Params, Settings, argument_parser
from stages.common.progress import Progress
from stages.common.records import Sample, Task
from stages.common.timing import write_timing
from stages.settings.data import DataSettings
from stages.settings.sources import HubSettings
from stages.settings.verify import VerifySettings
from stages.sources import SPLITS, Row
from stages.verifiers.pool import verify_samples

CHUNK = 4096  # rows that are held in memory at once


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


def counted(rows: Iterable[Row], name: str, folder: Path, report: Report) -> Iterator[Row]:
    """Rows that make a task; the others are counted. InputError for an id that comes twice."""
    with Ids(folder) as ids:
        for row in rows:
            report.rows += 1
            if row.task is None:
                report.drop(row.reason, row.name)
                continue
            where = row.where or f"source '{name}'"
            if earlier := ids.add(row.task.task_id, where):
                raise InputError(f"{where}: duplicate task_id '{row.task.task_id}', already in {earlier}")
            yield row


def fitting(rows: Iterable[Row], lengths: Lengths, report: Report) -> Iterator[Row]:
    """Rows that are not too long to train on. A benchmark keeps all of its tasks."""
    for row in rows:
        if row.split != "benchmark" and (excess := lengths.excess(lengths.of(row.task))):
            report.drop(excess, row.task.task_id)
        else:
            yield row


def verified(rows: Iterator[Row], settings: VerifySettings, most: int | None, report: Report) -> Iterator[Row]:
    """Rows whose reference earns 1.0, or has no tests and compiles, and rows without a reference; `most` are wanted.

    Raises InputError where not one reference does: then the source is not what it is taken for.
    """
    checked, passed, last = 0, 0, ""
    size = min(CHUNK, most or CHUNK)
    while chunk := list(islice(rows, size)):
        tasks = {row.task.task_id: row.task for row in chunk if row.task.reference is not None}
        samples = (Sample(task.task_id, 0, task.reference) for task in tasks.values())
        verdicts = verify_samples(tasks, samples, settings)
        for row in chunk:
            verdict = next(verdicts) if row.task.reference is not None else None
            if verdict is None or verdict.reward == 1 or (verdict.reward > 0 and is_untested(row.task)):
                passed += verdict is not None
                report.verified += verdict is not None and verdict.reward == 1
                yield row
            else:
                last = f"{verdict.task_id}: {verdict.level}: {verdict.detail}"
                report.drop(verdict.level, verdict.task_id)
            checked += verdict is not None
    if checked and not passed:
        raise InputError(f"not one of {checked} reference solutions passes; {last}")


def is_untested(task: Task) -> bool:
    """Whether nothing tells a right solution from a wrong one."""
    return not (task.tests.strip() or task.cases)


def distinct(rows: Iterable[Row], duplicates: Duplicates, report: Report) -> Iterator[Row]:
    """Rows that repeat none before them. A benchmark keeps all of its tasks."""
    for row in rows:
        near = row.task.source not in DISJOINT
        if row.split != "benchmark" and (match := duplicates.add(row.task, near)):
            report.drop(match.kind, row.task.task_id)
        else:
            yield row


def write(rows: Iterable[Row], out: Path, most: int | None, lengths: Lengths | None, report: Report) -> None:
    """The three files; at most `most` tasks."""
    with ExitStack() as stack:
        files = {split: stack.enter_context(replacing(out / f"{split}.jsonl")) for split in SPLITS}
        progress = stack.enter_context(Progress("prepare", most, "tasks"))
        for row in islice(rows, most):
            files[row.split].write(records.encode(row.task) + "\n")
            report.keep(row.split, row.task, lengths and lengths.of(row.task))
            progress.update(note=f"of {report.rows:,} rows")


def expect_some(name: str, report: Report) -> None:
    """Raise InputError where nothing is left: what comes later would only know that there is nothing."""
    if not report.kept:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(report.dropped.items()))
        raise InputError(
            f"source '{name}': no tasks from {report.rows} rows"
            + (f"; dropped: {reasons}" if reasons else "")
            + "; change its settings, or set it to null"
        )


def prepare(params: Params, name: str, settings: Settings, out: Path, tokenizer: Path | None) -> Report:
    """Run the source's rows through, into `out`."""
    data = params.section(DataSettings, "data")
    limited = data.lengths.prompt or data.lengths.example
    if tokenizer is None and limited:
        raise InputError("--tokenizer: missing; data.lengths counts in tokens of the base model")
    lengths = Lengths(tokenizer, data.lengths) if tokenizer else None
    hub = params.top(HubSettings, "sources").hub
    report, most = Report(), getattr(settings, "max_tasks", None)
    with Duplicates(data.duplicates, out.parent) as duplicates, replacing_directory(out) as directory:
        rows = counted(sources.rows(name, settings, hub, params.seed), name, out.parent, report)
        if limited:
            rows = fitting(rows, lengths, report)
        if settings.check_references:
            rows = verified(rows, params.section(VerifySettings, "verify"), most, report)
        write(distinct(rows, duplicates, report), directory, most, lengths, report)
        expect_some(name, report)
    return report


def main() -> None:
    """Prepare the source, where the profile uses it, and say what became of its rows."""
    parser = argument_parser(__doc__)
    parser.add_argument("--source", required=True, metavar="NAME", help=f"one of: {', '.join(sources.SOURCES)}")
    parser.add_argument("--out", required=True, type=Path, help="directory of the three files")
    parser.add_argument("--metrics", required=True, type=output_file, help="file of the counts")
    parser.add_argument("--timing", type=output_file, help="file for what varies from run to run")
    parser.add_argument("--tokenizer", type=Path, help="the base model's tokenizer.json, to count tokens with")
    args = parser.parse_args()
    params = Params(args.params)
    settings = source_settings(params, args.source)
    expect_directory_place(args.out)
    if settings is None:
        report = Report()
        with replacing_directory(args.out) as directory:
            for split in SPLITS:
                records.write(directory / f"{split}.jsonl", ())
    else:
        report = prepare(params, args.source, settings, args.out, args.tokenizer)
    metrics = report.metrics(used=settings is not None)
    write_json(args.metrics, metrics)
    write_timing(args.timing, {})
    if settings is None:
        print(f"{args.source}: not used by profile {params.profile}")
        return
    counts = ", ".join(f"{split} {metrics[split]}" for split in SPLITS)
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(report.dropped.items()))
    dropped = f"{metrics['dropped']} ({reasons})" if reasons else "0"
    print(f"{args.source}: {report.rows} rows: {counts}; dropped {dropped}")


if __name__ == "__main__":
    run(main)
