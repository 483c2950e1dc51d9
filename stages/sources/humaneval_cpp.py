"""HumanEval-X C++ (Zheng et al. 2023, Apache-2.0): 164 C++ functions to complete from their head. Benchmark only.

22 and 137 include boost, 162 must be linked with -lcrypto: without these their references do not compile.
"""

import re
from collections.abc import Iterator
from itertools import islice

from stages.common.records import Task
from stages.settings.sources import HumanEvalCppSettings
from stages.sources import Row
from stages.sources.hub import file_rows

DATASET = "THUDM/humaneval-x"
FILE = "data/cpp/data/humaneval.jsonl"
COLUMNS = dict.fromkeys(("task_id", "prompt", "canonical_solution", "test"), str)
# Some prompts have their comment behind the function's opening brace.
COMMENT = re.compile(r"(?://[^\n]*|/\*(?:(?!\*/).)*\*/)\s*\Z", re.DOTALL)
HEAD = re.compile(r"([A-Za-z_]\w*)[ \t]*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*\{\s*\Z")


def rows(settings: HumanEvalCppSettings, hub: str | None, seed: int) -> Iterator[Row]:
    """All tasks as benchmark; the ids are the published ones (CPP/0)."""
    table = file_rows(DATASET, FILE, COLUMNS, settings.path, settings.revision, hub)
    return (Row("benchmark", task(row, settings.verifier)) for row in islice(table, settings.limit))


def task(row: dict, verifier: str) -> Task:
    """The prompt is code up to the function's opening brace, and the published solution continues it."""
    head = HEAD.search(COMMENT.sub("", row["prompt"]))
    return Task(
        task_id=row["task_id"],
        language="cpp",
        prompt=row["prompt"],
        verifier=verifier,
        entry_point=head[1] if head else None,
        tests=row["test"],
        cases=[],
        reference=row["prompt"] + row["canonical_solution"],
        source="humaneval_cpp",
        meta={"category": "humaneval_cpp"},
    )
