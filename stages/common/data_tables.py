"""What became of the sources' rows, as tables for plots."""

from collections.abc import Mapping
from typing import Any

SPLITS = ("train", "validation", "benchmark")
LENGTHS = {"prompt": "prompt_tokens", "prompt and reference": "example_tokens"}


def data_rows(sources: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per source and outcome: a split, or the reason why rows were dropped. `sources` are prepare's metrics."""
    rows = []
    for source, metrics in sources.items():
        outcomes = {split: metrics[split] for split in SPLITS}
        for key, value in metrics.items():
            if key.startswith("dropped_") and not key.endswith("_ids"):
                outcomes["dropped: " + key.removeprefix("dropped_").replace("_", " ")] = value
        rows += [{"source": source, "outcome": o, "rows": count} for o, count in outcomes.items() if count]
    return rows


def data_lengths(sources: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per source, text and length: how many tasks have up to `tokens` and more than half as many."""
    return [
        {"source": source, "text": text, "tokens": int(tokens), "tasks": tasks}
        for source, metrics in sources.items()
        for text, key in LENGTHS.items()
        for tokens, tasks in metrics[key].items()
    ]
