"""Verifier `pytest`: Python modules with asserts, pytest tests or HumanEval's check, and programs with cases.

Tests run in a judge's sandbox, the code under test in another one. See inside/python_judge.py.
"""

import platform
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

from stages.common.records import Task
from stages.sandbox import Sandbox, View
from stages.settings.verify import VerifySettings
from stages.verifiers.base import SelfTest, Verifier, expect_language
from stages.verifiers.ledger import Ledger, read_candidate, read_ledger
from stages.verifiers.outcomes import Test, combine, judge_cases, run_trouble
from stages.verifiers.packages import package_paths
from stages.verifiers.verdicts import (
    BROKEN,
    CLEAN,
    COMPILE_ERROR,
    PASS,
    RAN,
    RESOURCE_LIMIT,
    RUNS,
    RUNTIME_ERROR,
    TASK_ERROR,
    WARNINGS,
    WRONG_ANSWER,
    Finding,
)

# Loading pytest takes a tenth of a second, so that tests which lean on it get an interpreter that has it loaded. Wider
# than what inside/python_plan.py takes for such tests.
NEEDS_PYTEST = re.compile(
    r"\bpytest|\bunittest\b|^class\s+Test|^@|^async\s|^def\s+(?:test\w*\s*\(\s*[^)\s]|setup_|teardown_)", re.MULTILINE
)
NEEDS_HYPOTHESIS = re.compile(r"\bhypothesis\b")
WARM = ("numpy", "pandas")  # packages that take long to load and can be loaded once for all samples
NO_TESTS = {
    "steps": "",
    "total": 0,
    "functions": 0,
    "wishes": [],
    "guarded": [],
    "assertions": [],
    "failures": [],
    "classes": [],
    "bodies": False,
}
TOKEN_BYTES = 16
# Packages that solutions take for given; a module of another name is rather one that nobody has.
COMMON = (
    "bs4 cv2 gmpy2 matplotlib more_itertools networkx numba numpy pandas PIL requests scipy seaborn sklearn "
    "sortedcontainers statsmodels sympy torch tqdm yaml"
)
MISSING = re.compile(rf"ModuleNotFoundError: No module named '(?:{'|'.join(COMMON.split())})(?:\.[\w.]{{1,60}})?'")
OFFERED = "what can be imported is set by verify.pytest.packages"
LEVEL_OF = {"wrong": WRONG_ANSWER, "error": RUNTIME_ERROR, "resource": RESOURCE_LIMIT}


class Python(Verifier):
    """Judges Python. Each assert at module level, each pytest item and each case is one test."""

    def __init__(self, settings: VerifySettings) -> None:
        super().__init__(settings)
        self.limits = settings.limits.job()
        packages = package_paths(("pytest", *settings.pytest.packages))
        warm = tuple(name for name in WARM if name in settings.pytest.packages)
        self.plain = View(packages=packages, tmp_mb=settings.limits.tmp_mb, preload=warm)
        # Of each task's tests, what the sandbox has made of their text, for the task's next samples.
        self._plans: dict[str, tuple[dict, str | None]] = {}
        # A copy of the interpreter that holds pytest is slower to make, so only tests that need it get one.
        loaded = (*warm, "pytest", "unittest.mock", "asyncio", "python_items")
        self.with_pytest = View(packages=packages, tmp_mb=settings.limits.tmp_mb, preload=loaded)
        packages = package_paths(("pytest", "hypothesis", *settings.pytest.packages))
        loaded = (*loaded, "hypothesis", "property_tests")
        self.with_hypothesis = View(packages=packages, tmp_mb=settings.limits.tmp_mb, preload=loaded)

    def check_task(self, task: Task) -> None:
        """Python only."""
        expect_language(task, ("python",))

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """Tests first, then cases; a task with neither is run as a program, for 0.7 at most."""
        return _with_advice(self._verify(task, code, sandbox))

    def _verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        if not code.strip():
            return Finding(BROKEN, COMPILE_ERROR, "no code", 0, len(task.cases))
        if not task.tests.strip():
            return self._program(task, code, sandbox)
        finding = self._tests(task, code, sandbox)
        if task.cases and finding.level == PASS:
            cases = self._program(task, code, sandbox)
            passed, total = finding.tests_passed + cases.tests_passed, finding.tests_total + cases.tests_total
            return Finding(cases.reward, cases.level, cases.detail, passed, total)
        return finding

    def _program(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        stdins = [case["stdin"] for case in task.cases] or [""]
        job = {"kind": "program", "code": code, "stdins": stdins, "limits": self.limits, "runs": len(stdins)}
        report = sandbox.run(job, self.plain)
        if report is None:
            return Finding(BROKEN, RUNTIME_ERROR, "breaks its sandbox", 0, len(task.cases))
        if report["compile"] is not None:
            return Finding(BROKEN, COMPILE_ERROR, report["compile"], 0, len(task.cases))
        if not task.cases:
            trouble = run_trouble(report["runs"][0])
            return Finding(CLEAN, *trouble) if trouble else Finding(RUNS, RAN, "no tests")
        return combine(judge_cases(report["runs"], task), len(task.cases), failed_reward=CLEAN)

    def _tests(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        judge_view = self._judge_view(task.tests)
        plan, broken = self._plan(task, sandbox, judge_view)
        token = secrets.token_hex(TOKEN_BYTES)
        judge = {"kind": "judge", "plan": plan, "token": token, "entry_point": task.entry_point, "limits": self.limits}
        solution = {"kind": "candidate", "code": code, "limits": self.limits}
        reports = sandbox.run_pair(judge, judge_view, solution, self.plain)
        if reports is None:
            return Finding(BROKEN, RUNTIME_ERROR, "breaks its sandbox")
        judged, candidate = reports
        ledger = read_ledger(judged["said"], token, plan, judged["ended"]["exit"])
        facts = read_candidate(candidate["said"])
        if facts["compile"] is not None:
            return Finding(BROKEN, COMPILE_ERROR, facts["compile"], 0, ledger.total)
        if not facts["loaded"]:
            level, detail = _load_trouble(facts, candidate["ended"])
            return Finding(WARNINGS, level, f"on import: {detail}", 0, ledger.total)
        if broken := broken or ledger.missing:
            return Finding(CLEAN, TASK_ERROR, f"the tests are broken: {broken}")
        return _judge(ledger, judged["ended"], candidate["ended"])

    def _judge_view(self, tests: str) -> View:
        """What the judge of these tests has loaded."""
        if NEEDS_HYPOTHESIS.search(tests):
            return self.with_hypothesis
        return self.with_pytest if NEEDS_PYTEST.search(tests) else self.plain

    def _plan(self, task: Task, sandbox: Sandbox, view: View) -> tuple[dict, str | None]:
        """The plan of a task's tests, and what is wrong with their text."""
        if task.task_id not in self._plans:
            job = {"kind": "plan", "tests": task.tests, "entry_point": task.entry_point, "prompt": task.prompt}
            report = sandbox.run({**job, "limits": self.limits}, view)
            if report is None:
                return NO_TESTS, "reading them ends the process"
            self._plans[task.task_id] = report["plan"] or NO_TESTS, report["broken"]
        return self._plans[task.task_id]

    def selftests(self) -> Sequence[SelfTest]:
        """Sums: added, subtracted, and an object that claims to equal everything."""
        tests = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\n"
        task = Task("selftest", "python", "Add two numbers.", "pytest", "add", tests, [])
        claim = "class Any:\n    def __eq__(self, other):\n        return True\n\n\ndef add(a, b):\n    return Any()\n"
        return (
            SelfTest("right", task, "def add(a, b):\n    return a + b\n"),
            SelfTest("wrong", task, "def add(a, b):\n    return a - b\n"),
            SelfTest("hostile", task, claim),
        )

    def fingerprint(self) -> dict[str, Any]:
        """The interpreter, pytest, hypothesis and the importable packages."""
        versions = {name: metadata.version(name) for name in ("pytest", "hypothesis", *self.settings.pytest.packages)}
        return {"python": platform.python_version(), "packages": versions}


def _with_advice(finding: Finding) -> Finding:
    """A finding that says which setting offers a package that the code imports in vain."""
    missing = MISSING.search(finding.detail)
    if not missing:
        return finding
    return replace(finding, detail=f"{finding.detail[: missing.end()]}; {OFFERED}{finding.detail[missing.end() :]}")


def _load_trouble(facts: dict, ended: dict) -> tuple[str, str]:
    if facts["load"] is not None:
        kind = LEVEL_OF.get(facts["load_kind"], RUNTIME_ERROR)
        return (RUNTIME_ERROR if kind == WRONG_ANSWER else kind), facts["load"]
    return run_trouble(ended) or (RUNTIME_ERROR, "ends the process")


def _judge(ledger: Ledger, judge_ended: dict, candidate_ended: dict) -> Finding:
    """Results count as they came; the verdict is a pass only with all the evidence, and a candidate that ended well."""
    tests = [_test(*result) for result in ledger.results]
    trouble = run_trouble(candidate_ended)
    if trouble or not ledger.complete:
        trouble = trouble or run_trouble(judge_ended) or (RUNTIME_ERROR, "ended before its tests did")
        tests = [*tests[: max(0, ledger.total - 1)], Test(*trouble)]
    elif ledger.trouble:
        tests.append(_test(*ledger.trouble))
    elif not any(test.level for test in tests):
        if not ledger.asserted:
            return Finding(RUNS, RAN, "the tests assert nothing")
        if ledger.unused:
            return Finding(CLEAN, TASK_ERROR, f"the tests do not use {ledger.unused}")
        tests = tests or [Test(None)]
    return combine(tests, max(ledger.total, len(tests)), failed_reward=CLEAN)


def _test(kind: str, label: str, message: str) -> Test:
    return Test(None) if kind == "pass" else Test(LEVEL_OF.get(kind, RUNTIME_ERROR), f"{label}: {message}".strip(": "))
