"""Runs prepare inside the test's own process, which spares the start of another for each case."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages import prepare
from stages.common import records
from stages.common.params import Params
from stages.common.records import Task

SPLITS = ("train", "validation", "benchmark")


@dataclass
class Prepared:
    """The tasks of each split, and the content of metrics/data/SOURCE.json."""

    splits: dict[str, list[Task]]
    metrics: dict[str, Any]

    def ids(self, split: str = "train") -> list[str]:
        return [task.task_id for task in self.splits[split]]


def prepared(
    folder: Path,
    source: str,
    settings: dict,
    hub: Path | None = None,
    data: dict | None = None,
    tokenizer: Path | None = None,
) -> Prepared:
    """The source with these settings; files go below `folder`."""
    profile = {"verify": {}, "data": data or {}, "sources": {source: settings}}
    path = folder / "params.yaml"
    path.write_text(
        yaml.safe_dump({"profile": "p", "seed": 3, "sources": {"hub": hub and str(hub)}, "profiles": {"p": profile}})
    )
    params = Params(path)
    out = folder / "tasks"
    report = prepare.prepare(params, source, prepare.source_settings(params, source), out, tokenizer)
    splits = {split: list(records.read(Task, out / f"{split}.jsonl")) for split in SPLITS}
    metrics = report.metrics(used=True)
    assert metrics["rows"] == sum(map(len, splits.values())) + metrics["dropped"] + metrics["unused"]
    return Prepared(splits, metrics)
