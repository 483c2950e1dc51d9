"""Verdicts on known sources: `cases/*.jsonl` say what each must earn."""

import json
from functools import cache
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
    "python_modules": ("pytest", "python"),
    "gcc": ("gcc", "cpp"),
    "answers_python": ("pytest", "python"),
    "answers_gcc": ("gcc", "cpp"),
    "clang": ("clang", "cpp"),
    "mingw": ("mingw", "cpp"),
    "programs": ("pytest", "python"),
}
# A case may name others: touching 660 MiB alone takes more than a second of CPU on some machines.
LIMITS = {"cpu_seconds": 1, "memory_mb": 512}


@cache
def load(name: str) -> list[dict[str, Any]]:
    """The cases of one file."""
    return [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


ALL = [(name, at) for name in FILES for at in range(len(load(name)))]


@pytest.fixture(scope="module")
def judged() -> dict[tuple[str, int], Verdict]:
    """All cases, those with the same limits and packages judged in one go."""
    groups: dict[str, dict[tuple[str, int], Task]] = {}
    for name, at in ALL:
        verifier, language = FILES[name]
        case = load(name)[at]
        fields = {key: case[key] for key in ("prompt", "entry_point", "tests", "cases", "compare") if key in case}
        judged_by = {"language": case.get("language", language), "verifier": case.get("verifier", verifier)}
        task = Task(task_id=f"{name}/{at}", **judged_by, **fields)
        limits, packages = {**LIMITS, **case.get("limits", {})}, case.get("packages", [])
        groups.setdefault(json.dumps({"limits": limits, "pytest": {"packages": packages}}), {})[name, at] = task
    verdicts: dict[tuple[str, int], Verdict] = {}
    for section, tasks in groups.items():
        settings = VerifySettings.parse(json.loads(section), "test")
        samples = [Sample(task.task_id, 0, load(name)[at]["completion"]) for (name, at), task in tasks.items()]
        by_id = {task.task_id: task for task in tasks.values()}
        verdicts.update(zip(tasks, verify_samples(by_id, samples, settings), strict=True))
    return verdicts


@pytest.mark.parametrize("key", ALL, ids=lambda key: f"{key[0]}: {load(key[0])[key[1]]['name']}")
def test_verdict(judged: dict[tuple[str, int], Verdict], key: tuple[str, int]) -> None:
    case, verdict = load(key[0])[key[1]], judged[key]
    found = (verdict.reward, verdict.level, verdict.tests_passed, verdict.tests_total)
    assert found == (case["reward"], case["level"], case["passed"], case["total"]), verdict.detail
    assert len(verdict.detail) <= 200
    if "detail" in case:
        assert verdict.detail == case["detail"]
