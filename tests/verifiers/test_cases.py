"""Verdicts on known sources: `cases/*.jsonl` say what each must earn."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.common.records import Sample, Task, Verdict
from stages.settings.verify import VerifySettings
from stages.verifiers.pool import verify_samples

CASES = Path(__file__).parent / "cases"
# A file of cases, the verifier, and the language where a case names none.
FILES = {
    "python": ("pytest", "python"),
    "gcc": ("gcc", "cpp"),
    "clang": ("clang", "cpp"),
    "mingw": ("mingw", "cpp"),
}
SETTINGS = VerifySettings.parse({"limits": {"cpu_seconds": 1, "memory_mb": 512}}, "test")


def load(name: str) -> list[dict[str, Any]]:
    """The cases of one file."""
    return [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


ALL = [(name, at) for name in FILES for at in range(len(load(name)))]


@pytest.fixture(scope="module")
def judged() -> dict[tuple[str, int], Verdict]:
    """All cases, judged in one go."""
    tasks, samples = {}, []
    for name, (verifier, language) in FILES.items():
        for at, case in enumerate(load(name)):
            task_id = f"{name}/{at}"
            fields = {key: case[key] for key in ("prompt", "entry_point", "tests", "cases")}
            tasks[task_id] = Task(task_id=task_id, language=case.get("language", language), verifier=verifier, **fields)
            samples.append(Sample(task_id, 0, case["completion"]))
    return dict(zip(ALL, verify_samples(tasks, samples, SETTINGS), strict=True))


@pytest.mark.parametrize("key", ALL, ids=lambda key: f"{key[0]}: {load(key[0])[key[1]]['name']}")
def test_verdict(judged: dict[tuple[str, int], Verdict], key: tuple[str, int]) -> None:
    case, verdict = load(key[0])[key[1]], judged[key]
    found = (verdict.reward, verdict.level, verdict.tests_passed, verdict.tests_total)
    assert found == (case["reward"], case["level"], case["passed"], case["total"]), verdict.detail
    assert len(verdict.detail) <= 200
    if "detail" in case:
        assert verdict.detail == case["detail"]
