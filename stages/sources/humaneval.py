"""HumanEval (Chen et al. 2021): 164 Python functions to complete from signature and docstring. Benchmark only."""

from collections.abc import Iterator
from itertools import islice

from stages.common.records import Task
from stages.settings.sources import HumanEvalSettings
from stages.sources import Row
from stages.sources.hub import rows as hub_rows

DATASET = "openai/openai_humaneval"
COLUMNS = dict.fromkeys(("task_id", "prompt", "canonical_solution", "test", "entry_point"), str)


def rows(settings: HumanEvalSettings, hub: str | None, seed: int) -> Iterator[Row]:
    """All tasks as benchmark; the ids are the published ones (HumanEval/0)."""
    table = hub_rows(DATASET, "openai_humaneval", "test", COLUMNS, settings.revision, hub)
    return (Row("benchmark", task(row)) for row in islice(table, settings.limit))


def task(row: dict) -> Task:
    """The prompt is code, and the published solution continues it: the reference is both, a whole program."""
    return Task(
        task_id=row["task_id"],
        language="python",
        prompt=row["prompt"],
        verifier="pytest",
        entry_point=row["entry_point"],
        tests=f"{row['test'].strip()}\n\ncheck({row['entry_point']})\n",
        cases=[],
        reference=row["prompt"] + row["canonical_solution"],
        source="humaneval",
        meta={"category": "humaneval"},
    )
