"""How long the stages took and how fast they drew and trained, of the timing files that they leave."""

from pathlib import Path
from typing import Any

from stages.common.tables import Row, read_json

HEADER = ["stage", "item", "seconds", "tokens_per_second", "programs_per_second", "samples_per_second"]
STAGES = (
    "base",
    "prepare",
    "generate",
    "mix",
    "sft",
    "sample",
    "verify",
    "raft",
    "validate-sample",
    "validate",
    "control",
    "grpo",
    "benchmark-sample",
    "benchmark",
)
RATES = {
    "tokens_per_second": ("tokens_per_second", "train_tokens_per_second"),
    "programs_per_second": ("programs_per_second",),
    "samples_per_second": ("samples_per_second",),
}


def _placed(name: str) -> tuple[int, str]:
    """(place of the stage in the graph, what it was run on: a cycle, checkpoint or source, or nothing)."""
    found = [stage for stage in STAGES if name == stage or name.startswith(f"{stage}-")]
    stage = max(found, key=len, default=name)
    return STAGES.index(stage) if found else len(STAGES), name[len(stage) + 1 :]


def stage_times(folder: Path) -> list[Row]:
    """A row per timing file, in the order of the graph: `stage`, `item`, `seconds` that the process took, and rates; a
    rate that a stage has not is empty. Of the last run of each stage on this machine. Raises InputError for a broken
    file."""
    rows = []
    for path in sorted(folder.glob("*.json"), key=lambda path: (_placed(path.stem)[0], _natural(path.stem))):
        found, (place, item) = read_json(path), _placed(path.stem)
        row: dict[str, Any] = {"stage": STAGES[place] if place < len(STAGES) else path.stem, "item": item}
        row["seconds"] = found.get("process_seconds", "")
        for name, keys in RATES.items():
            row[name] = next((found[key] for key in keys if found.get(key)), "")
        rows.append(row)
    return rows


def _natural(name: str) -> list[tuple[int, str]]:
    """So that cycle-2 comes before cycle-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split("-")]
