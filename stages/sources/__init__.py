"""Task sources: one module each with `load(settings, hub, seed)`, which returns a list of tasks per split.

A new source is a module, a line in SOURCES, and a settings class in stages/settings/sources.py. A module is imported
only when its source is used.
"""

import difflib
from collections.abc import Iterable
from importlib import import_module
from typing import NamedTuple

from stages.common.errors import InputError
from stages.common.params import Settings
from stages.common.records import Task
from stages.settings.sources import HumanEvalSettings, MbppSettings, SyntheticSettings

SPLITS = ("train", "validation", "benchmark")


class Source(NamedTuple):
    """Where a source's code is and which settings it takes."""

    module: str
    settings: type[Settings]


SOURCES = {
    "synthetic": Source("stages.sources.synthetic", SyntheticSettings),
    "humaneval": Source("stages.sources.humaneval", HumanEvalSettings),
    "mbpp": Source("stages.sources.mbpp", MbppSettings),
}


def get(name: str) -> Source:
    """The source called `name`; an InputError that suggests the nearest name where there is none."""
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known sources: {', '.join(SOURCES)}"
        raise InputError(f"source '{name}': unknown; {hint}")
    return SOURCES[name]


def load(name: str, settings: Settings, hub: str | None, seed: int) -> dict[str, Iterable[Task]]:
    """The tasks of every split. `hub` is a directory laid out as on the Hugging Face hub, or None for the hub."""
    return import_module(get(name).module).load(settings, hub, seed)
