"""What must never be paid and what always must: `cases/hostile_python.jsonl` and `cases/honest_python.jsonl`.

Every hostile program is wrong, so that 1.0 could only come from forging. Every honest one passes its tests where both
run in one plain interpreter. Those of the family `documented limit` do too, but need what a judge never asks a
candidate for; one that earns 1.0 after all has become honest.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stages.common import records
from stages.common.records import Sample, Task, Verdict
from stages.settings.verify import VerifySettings
from stages.verifiers.pool import verify_samples
from tests.conftest import Run

CASES = Path(__file__).parent / "cases"
LIMITS = {"cpu_seconds": 1, "wall_factor": 2.0, "memory_mb": 1024}
SETTINGS = VerifySettings.parse({"limits": LIMITS, "cache": False}, "test")
LIMIT = "documented limit"
MIXED = 100  # samples of the file that is judged three times


def load(name: str) -> list[dict[str, Any]]:
    """The cases of one file."""
    return [json.loads(line) for line in (CASES / f"{name}_python.jsonl").read_text(encoding="utf-8").splitlines()]


HOSTILE, ALL_HONEST = load("hostile"), load("honest")
HONEST = [case for case in ALL_HONEST if case["family"] != LIMIT]
BEYOND = [case for case in ALL_HONEST if case["family"] == LIMIT]
EVERY = [*HOSTILE, *HONEST, *BEYOND]


def task_of(case: dict[str, Any]) -> Task:
    """A task named as the case."""
    fields = {key: case[key] for key in ("prompt", "entry_point", "tests", "cases")}
    return Task(task_id=case["name"], language="python", verifier="pytest", **fields)


@pytest.fixture(scope="module")
def judged() -> dict[str, Verdict]:
    """The verdicts by name, all judged in one go."""
    tasks = {case["name"]: task_of(case) for case in EVERY}
    samples = [Sample(case["name"], 0, case["completion"]) for case in EVERY]
    return {verdict.task_id: verdict for verdict in verify_samples(tasks, samples, SETTINGS)}


def test_names_are_different() -> None:
    assert len({case["name"] for case in EVERY}) == len(EVERY)


@pytest.mark.parametrize("name", [case["name"] for case in HOSTILE])
def test_forging_is_not_paid(judged: dict[str, Verdict], name: str) -> None:
    assert judged[name].reward < 1
    assert len(judged[name].detail) <= 200


@pytest.mark.parametrize("name", [case["name"] for case in HONEST])
def test_right_code_is_paid(judged: dict[str, Verdict], name: str) -> None:
    found = judged[name]
    assert (found.reward, found.detail) == (1.0, "")


@pytest.mark.parametrize("name", [case["name"] for case in BEYOND])
def test_limit_is_as_documented(judged: dict[str, Verdict], name: str) -> None:
    assert judged[name].reward < 1


def mixed() -> list[dict[str, Any]]:
    """Hostile and honest cases by turns, from all over both files.

    None that races with a timer of its own: which of two refusals it gets is the machine's choice.
    """
    half = MIXED // 2
    timeless = [[case for case in cases if "Timer(" not in case["completion"]] for cases in (HOSTILE, HONEST)]
    parts = [cases[:: max(1, len(cases) // half)][:half] for cases in timeless]
    return [case for pair in zip(*parts, strict=True) for case in pair]


@contextmanager
def busy_core() -> Iterator[None]:
    """A process that computes without an end."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_three_times_identical(stage: Run, tmp_path: Path) -> None:
    """Verdicts do not depend on what else the machine does, here with one core kept busy in the second run."""
    cases = mixed()
    records.write(tmp_path / "tasks.jsonl", [task_of(case) for case in cases])
    records.write(tmp_path / "samples.jsonl", [Sample(case["name"], 0, case["completion"]) for case in cases])
    (tmp_path / "params.yaml").write_text(f"verify: {json.dumps({'limits': LIMITS, 'cache': False})}\n")
    for turn in range(3):
        command = ("verify", "--tasks", "tasks.jsonl", "--samples", "samples.jsonl", "--out", f"{turn}.jsonl")
        if turn == 1:
            with busy_core():
                stage(*command)
        else:
            stage(*command)
    first, second, third = ((tmp_path / f"{turn}.jsonl").read_bytes() for turn in range(3))
    assert first == second == third
    assert first.count(b"\n") == len(cases)
