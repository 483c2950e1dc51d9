"""Where the files of an installed Python distribution, and of those it requires, lie."""

import csv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from stages.common.errors import InputError

SKIPPED = ("__pycache__", "bin", "..")


def package_paths(names: tuple[str, ...]) -> tuple[str, ...]:
    """Top-level files and folders of `names` and of everything they require; InputError where one is not installed.

    An optional requirement (an extra) does not count.
    """
    found: dict[str, str] = {}
    queue, done = list(names), set()
    while queue:
        name = queue.pop()
        if name.lower() in done:
            continue
        done.add(name.lower())
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise InputError(f"Python package '{name}' is not installed; pip install {name}") from None
        for top in _tops(distribution):
            if top not in found and top not in SKIPPED and not top.startswith("/"):
                found[top] = str(Path(str(distribution.locate_file(top))).resolve())
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                queue.append(requirement.name)
    return tuple(found[name] for name in sorted(found) if Path(found[name]).exists())


def _tops(distribution: metadata.Distribution) -> Iterator[str]:
    """The first part of the path of each file, as often as it comes. A wheel's list is read as the text that it is:
    `Distribution.files` makes an object of each line, which takes longer than a sandbox does to start."""
    record = distribution.read_text("RECORD")
    if record is None:
        return (file.parts[0] for file in distribution.files or ())
    return (line[0].partition("/")[0] or "/" for line in csv.reader(record.splitlines()) if line)
