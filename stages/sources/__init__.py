"""Task sources: one module each with `rows(settings, hub, seed)`, which yields a Row for all that the source holds.

A new source is a module, a line in SOURCES, and a settings class in stages/settings/sources.py. A module is imported
only when its source is used.
"""

import difflib
from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple

from stages.common.errors import InputError
from stages.common.params import Settings
from stages.common.records import Task
from stages.settings.sources import (
    CodeforcesCppSettings,
    CodeforcesPythonSettings,
    HumanEvalCppSettings,
    HumanEvalSettings,
    JsonlSettings,
    MbppSettings,
    SyntheticSettings,
)

SPLITS = ("train", "validation", "benchmark")


class Row(NamedTuple):
    """One row of a source: a task of a split, or the reason why it makes none and what the row is called. `where` is
    the file it is from, where a source has several."""

    split: str
    task: Task | None
    reason: str = ""
    name: str = ""
    where: str = ""


class Source(NamedTuple):
    """Where a source's code is and which settings it takes."""

    module: str
    settings: type[Settings]


SOURCES = {
    "synthetic": Source("stages.sources.synthetic", SyntheticSettings),
    "codeforces_cpp": Source("stages.sources.codeforces_cpp", CodeforcesCppSettings),
    "codeforces_python": Source("stages.sources.codeforces_python", CodeforcesPythonSettings),
    "humaneval": Source("stages.sources.humaneval", HumanEvalSettings),
    "humaneval_cpp": Source("stages.sources.humaneval_cpp", HumanEvalCppSettings),
    "mbpp": Source("stages.sources.mbpp", MbppSettings),
    "jsonl": Source("stages.sources.jsonl", JsonlSettings),
}


def get(name: str) -> Source:
    """The source called `name`; an InputError that suggests the nearest name where there is none."""
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known sources: {', '.join(SOURCES)}"
        raise InputError(f"source '{name}': unknown; {hint}")
    return SOURCES[name]


def rows(name: str, settings: Settings, hub: str | None, seed: int) -> Iterator[Row]:
    """All rows, as they are read. `hub` is a directory laid out as on the Hugging Face hub, or None for the hub."""
    return import_module(get(name).module).rows(settings, hub, seed)


def load(name: str, settings: Settings, hub: str | None, seed: int) -> dict[str, list[Task]]:
    """The tasks of every split at once, for sources that are known to be small."""
    splits: dict[str, list[Task]] = {}
    for row in rows(name, settings, hub, seed):
        if row.task is not None:
            splits.setdefault(row.split, []).append(row.task)
    return splits
