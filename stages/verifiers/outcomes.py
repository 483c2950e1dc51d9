"""From what a process did to a test's outcome, and from tests to a finding."""

import signal
from dataclasses import dataclass

from stages.common.comparing import EXACT, parse_comparison
from stages.common.records import Task
from stages.verifiers.outputs import difference, same
from stages.verifiers.verdicts import (
    PASS,
    RESOURCE_LIMIT,
    RUNS,
    RUNTIME_ERROR,
    SEVERITY,
    SOLVED,
    TIMEOUT,
    WRONG_ANSWER,
    Finding,
)

LIMITS = {
    "cpu": (TIMEOUT, "out of CPU time"),
    "wall": (TIMEOUT, "out of wall-clock time"),
    "output": (RESOURCE_LIMIT, "too much output"),
    "memory": (RESOURCE_LIMIT, "too much memory"),
}


@dataclass(frozen=True, slots=True)
class Test:
    """One test: `level` is None where it passed, else what went wrong; `detail` says where."""

    level: str | None
    detail: str = ""


def run_trouble(ended: dict) -> tuple[str, str] | None:
    """(level, detail) of a process that did not end well; None for an exit with code 0 within its limits."""
    if ended["limit"]:
        return LIMITS[ended["limit"]]
    last = (ended["stderr"].strip().splitlines() or [""])[-1]
    if ended["signal"] is not None:
        level = RESOURCE_LIMIT if ended["signal"] in (signal.SIGKILL, signal.SIGXFSZ) else RUNTIME_ERROR
        return level, f"killed by {_signal_name(ended['signal'])}"
    if ended["exit"] != 0:
        if last.startswith("MemoryError"):
            return RESOURCE_LIMIT, last
        return RUNTIME_ERROR, f"exit code {ended['exit']}: {last}".rstrip(": ")
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def judge_cases(runs: list[dict], task: Task) -> list[Test]:
    """The task's cases that were run, in order; there are fewer runs than cases where a limit ended the job."""
    return [
        judge_run(number, run, case["stdout"], task.compare)
        for number, (run, case) in enumerate(zip(runs, task.cases, strict=False), 1)
    ]


def judge_run(number: int, run: dict, expected: str, compare: str | dict = EXACT) -> Test:
    """Case `number` (from 1) of a program; `compare` is the task's."""
    trouble = run_trouble(run)
    if trouble:
        return Test(trouble[0], f"case {number}: {trouble[1]}")
    rule = parse_comparison(compare)
    if same(run["stdout"], expected, rule):
        return Test(None)
    return Test(WRONG_ANSWER, f"case {number}: {difference(run['stdout'], expected, rule)}")


def combine(tests: list[Test], total: int, failed_reward: float) -> Finding:
    """A pass where all `total` tests did; else the worst level, with its first test's detail.

    `failed_reward` is paid where a test crashed or passed a limit, 0.7 where all ran and a result was wrong.
    """
    passed = sum(test.level is None for test in tests)
    if passed == total and total:
        return Finding(SOLVED, PASS, "", passed, total)
    failed = [test for test in tests if test.level]
    level = max((test.level for test in failed), key=SEVERITY.index, default=RUNTIME_ERROR)
    detail = next((test.detail for test in failed if test.level == level), "a test is missing")
    return Finding(RUNS if level == WRONG_ANSWER else failed_reward, level, detail, passed, total)
