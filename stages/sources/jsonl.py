"""Task files of one's own, in the record format of stages/common/records.py."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from stages.cleaning.text import squeezed, statement
from stages.common import records
from stages.common.errors import InputError
from stages.common.records import Task
from stages.settings.sources import JsonlSettings
from stages.sources import Row
from stages.sources.split import split_of

FOLDER = Path("data/own")


def rows(settings: JsonlSettings, hub: str | None, seed: int) -> Iterator[Row]:
    """All tasks of all files. Raises InputError for a file that is missing, elsewhere, or not of the format."""
    files = [
        *(("train", file) for file in settings.train),
        *(("validation", file) for file in settings.validation_files),
        *(("benchmark", file) for file in settings.benchmark),
    ]
    if not files:
        raise InputError(f"source 'jsonl': no files; name some below {FOLDER} under train, or set the source to null")
    for split, file in files:
        if not Path(file).resolve().is_relative_to(FOLDER.resolve()):
            raise InputError(f"{file}: expected a file below {FOLDER}, which DVC watches, so that a change reruns it")
        for task in records.read(Task, file, unique=False):
            yield row(split, task, settings, file)


def row(split: str, task: Task, settings: JsonlSettings, file: str) -> Row:
    """The task as it is, but that its source tells what brought it here; a train task may go to validation."""
    meta = {**task.meta, "source": task.source} if task.source else task.meta
    task = replace(task, source="jsonl", meta=meta)
    if split == "train" and settings.validation:
        problem = task.meta.get("problem")
        split = split_of(problem if isinstance(problem, str) else squeezed(statement(task)), settings.validation)
    if not (task.tests.strip() or task.cases or settings.keep_unverified):
        return Row(split, None, "no_tests", task.task_id)
    return Row(split, task, where=file)
