"""C and C++ under gcc, clang and mingw: hostile programs (`cases/hostile_c.jsonl`), and what mingw pays without wine.

`max_reward` says what a hostile program may earn at most. In a completion, [text, count] is text that often.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.common.records import Sample, Task, Verdict
from stages.settings.verify import VerifySettings
from stages.verifiers import make
from stages.verifiers.pool import verify_samples
from tests.conftest import make_task

COMPILING = {"compile_cpu_seconds": 10}
SETTINGS = VerifySettings.parse(
    {"limits": {"cpu_seconds": 1, "memory_mb": 512}, "cache": False, "gcc": COMPILING, "clang": COMPILING}, "test"
)
HOSTILE = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases" / "hostile_c.jsonl").read_text(encoding="utf-8").splitlines()
]
EVERY = {"gcc": 1, "clang": 4}  # what is refused by its text is refused for both; clang sees each fourth
TESTS = "#include <assert.h>\nint main() {\n    assert(add(1, 2) == 3);\n}\n"


def text_of(completion: str | list) -> str:
    """A completion in full."""
    if isinstance(completion, str):
        return completion
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in completion)


def expect_tools(verifier: str) -> None:
    """Skip, saying what is lacking, where the verifier's tools are not there."""
    if lacking := make(verifier, SETTINGS).check():
        pytest.skip(lacking)


def judge(verifier: str, cases: list[dict[str, Any]]) -> list[Verdict]:
    """The verdicts, in order."""
    tasks, samples = {}, []
    for number, case in enumerate(cases):
        fields = {key: case[key] for key in ("language", "prompt", "entry_point", "tests", "cases")}
        tasks[str(number)] = Task(task_id=str(number), verifier=verifier, **fields)
        samples.append(Sample(str(number), 0, text_of(case["completion"])))
    return list(verify_samples(tasks, samples, SETTINGS))


@pytest.mark.parametrize("verifier", EVERY)
def test_forging_is_not_paid(verifier: str) -> None:
    expect_tools(verifier)
    cases = HOSTILE[:: EVERY[verifier]]
    paid = {
        case["name"]: (verdict.reward, verdict.level, verdict.detail)
        for case, verdict in zip(cases, judge(verifier, cases), strict=True)
        if verdict.reward == 1 or verdict.reward > case["max_reward"] or len(verdict.detail) > 200
    }
    assert not paid


def test_mingw_compiles_and_does_not_run() -> None:
    """Without wine a right program earns what compiling is worth."""
    expect_tools("mingw")
    fields = {"language": "cpp", "verifier": "mingw", "entry_point": "add"}
    solutions = {
        "int add(int a, int b) { return a + b; }": (0.5, "compiled"),
        "int add(int a, int b) { int unused; return a + b; }": (0.3, "compiles_with_warnings"),
        "int add(int a, int b) { return a + ; }": (0.0, "compile_error"),
    }
    tasks = {"t/0": make_task(0, tests=TESTS, **fields), "t/1": make_task(1, tests="", **fields)}
    samples = [Sample(task, at, code) for task in tasks for at, code in enumerate(solutions)]
    found = [(verdict.reward, verdict.level) for verdict in verify_samples(tasks, samples, SETTINGS)]
    assert found == [*solutions.values(), *solutions.values()]
