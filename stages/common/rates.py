"""Measured pass rates: which tasks a cycle's samples solved, handed on from cycle to cycle."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.common import records
from stages.common.errors import InputError
from stages.common.files import replacing
from stages.common.json_reader import read_json
from stages.common.records import Rate, Sample, Verdict


def read_rates(path: Path) -> dict[str, Rate]:
    """The last measured rate of each task, by task id. Raises InputError for a missing or broken file."""
    value = read_json(path, "the stage that trained the parent writes it")
    if not isinstance(value, list):
        raise InputError(f"{path}: expected a list of pass rates, found {type(value).__name__}")
    rates = [records.parse(Rate, item, f"{path}: item {number}") for number, item in enumerate(value)]
    return {rate.task_id: rate for rate in rates}


def write_rates(path: Path, rates: Iterable[Rate]) -> None:
    """Write the rates as a JSON list, a line each; DVC warns of files that are empty, which none would be as lines."""
    with replacing(path) as file:
        file.write("[" + ",\n".join(records.encode(rate) for rate in rates) + "]\n")


class Counting:
    """Passes on (sample, verdict) pairs and counts, by task, samples and those of at least `threshold`."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._counts: dict[str, list[int]] = {}

    def __call__(self, pairs: Iterable[tuple[Sample, Verdict]]) -> Iterator[tuple[Sample, Verdict]]:
        """The pairs, unchanged."""
        for sample, verdict in pairs:
            count = self._counts.setdefault(sample.task_id, [0, 0])
            count[0] += 1
            count[1] += verdict.reward >= self.threshold
            yield sample, verdict

    def rates(self, cycle: str, depth: int) -> dict[str, Rate]:
        """What was counted, by task id."""
        return {task_id: Rate(task_id, cycle, depth, *count) for task_id, count in self._counts.items()}
