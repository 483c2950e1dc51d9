"""What compiled languages share: one job that compiles and then runs, and the ladder for it."""

import abc
from dataclasses import dataclass, replace

from stages.common.errors import SandboxError
from stages.common.records import Task
from stages.sandbox import Sandbox, View
from stages.verifiers.base import Verifier
from stages.verifiers.outcomes import LIMITS, Test, combine, judge_cases, run_trouble
from stages.verifiers.verdicts import (
    BROKEN,
    CLEAN,
    COMPILE_ERROR,
    COMPILED,
    COMPILED_WITH_WARNINGS,
    PASS,
    RAN,
    RESOURCE_LIMIT,
    RUNS,
    RUNTIME_ERROR,
    TASK_ERROR,
    WARNINGS,
    Finding,
)

PROGRAM = "/tmp/program"


@dataclass(frozen=True)
class Build:
    """How a program is made and run.

    `files` ({name: text}) lie in /tmp, `steps` (see sandbox/inside/steps.py) compile them, `run` is the step that runs
    what they make; None: it is only compiled. `secret` is whatever the verifier needs to read the evidence.
    """

    files: dict[str, str]
    steps: list[dict]
    run: dict | None
    tests: int = 0  # compiled in
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a compiler has said: the first error in words for a verdict (None: none), and whether it has warned.

    `in_tests`: the error is one in the tests' text that may be their own, with its place; `dubious`: the compiler may
    be at fault, and not the code; `exhausted`: it ran out of memory.
    """

    error: str | None
    warned: bool = False
    in_tests: str | None = None
    dubious: bool = False
    exhausted: bool = False


class Compiled(Verifier):
    """A verifier that compiles. `cases` run the program once each, test text is compiled in."""

    view: View

    @abc.abstractmethod
    def broken_tests(self, task: Task) -> str | None:
        """Why the tests cannot be compiled with anything; None where nothing is seen."""

    @abc.abstractmethod
    def is_program(self, task: Task, code: str) -> bool:
        """Whether the code has a main."""

    @abc.abstractmethod
    def refusal(self, task: Task, code: str) -> str | None:
        """Why the code must not be compiled beside tests; None where it may."""

    @abc.abstractmethod
    def build(self, task: Task, code: str, program: bool) -> Build:
        """The code by itself, as a program or a library."""

    @abc.abstractmethod
    def build_tests(self, task: Task, code: str) -> Build:
        """The code with the task's tests."""

    @abc.abstractmethod
    def good_build(self, task: Task) -> Build:
        """A program that is known to compile: it tells a broken compiler from broken code."""

    @abc.abstractmethod
    def diagnose(self, task: Task, code: str, build: Build, steps: list[dict]) -> Diagnosis:
        """What the reports on a build's steps say. They may be fewer, since the first failure ends a job."""

    @abc.abstractmethod
    def judge_tests(self, task: Task, build: Build, run: dict) -> list[Test]:
        """The tests that were compiled in, as far as they came, by the report on their run."""

    def are_broken(self, task: Task, diagnosis: Diagnosis, sandbox: Sandbox) -> bool:
        """Whether an error in the tests' text is theirs, and not that the code lacks what they use."""
        return False

    def count_tests(self, task: Task) -> int:
        """Test text that is compiled in counts as one test, each case as one."""
        return bool(task.tests.strip()) + len(task.cases)

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """Compile; then run the tests, and the cases where those have passed, or just the program."""
        if not code.strip():
            return Finding(BROKEN, COMPILE_ERROR, "no code", 0, self.count_tests(task))
        if not task.tests.strip():
            return self._program(task, code, sandbox)
        finding = self._tests(task, code, sandbox)
        if finding.level != PASS:
            return replace(finding, tests_total=self.count_tests(task))
        if not task.cases:
            return finding
        cases = self._program(task, code, sandbox)
        passed = finding.tests_passed + cases.tests_passed
        return Finding(cases.reward, cases.level, cases.detail, passed, finding.tests_total + cases.tests_total)

    def _tests(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        total = self.count_tests(task)
        if broken := self.broken_tests(task):
            return Finding(CLEAN, TASK_ERROR, f"the tests are broken: {broken}", 0, total)
        if refusal := self.refusal(task, code):
            return Finding(BROKEN, COMPILE_ERROR, refusal, 0, total)
        build = self.build_tests(task, code)
        steps = [*build.steps, *([build.run] if build.run else [])]
        outcome = self._compiled(task, code, build, steps, sandbox)
        if isinstance(outcome, Finding):
            return outcome
        reward, runs = outcome
        if build.run is None:
            return _only_compiled(reward, self.unrun(task), total)
        tests = self.judge_tests(task, build, runs[0])
        return combine(tests, max(build.tests, len(tests)), failed_reward=reward)

    def _program(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        build = self.build(task, code, bool(task.cases) or self.is_program(task, code))
        stdins = [case["stdin"] for case in task.cases] or [""]
        runs = [{**build.run, "stdin": stdin} for stdin in stdins] if build.run else []
        outcome = self._compiled(task, code, build, [*build.steps, *runs], sandbox)
        if isinstance(outcome, Finding):
            return outcome
        reward, reports = outcome
        if build.run is None:
            return _only_compiled(reward, self.unrun(task), len(task.cases))
        if task.cases:
            return combine(judge_cases(reports, task), len(task.cases), failed_reward=reward)
        trouble = run_trouble(reports[0])
        return Finding(reward, *trouble) if trouble else Finding(RUNS, RAN, "no tests")

    def unrun(self, task: Task) -> str:
        """Why nothing was run, for a verdict."""
        return "no tests"

    def _compiled(
        self, task: Task, code: str, build: Build, steps: list[dict], sandbox: Sandbox
    ) -> Finding | tuple[float, list[dict]]:
        """The finding where it does not compile; else what compiling is worth, and the reports on the runs."""
        total = build.tests + len(task.cases) if build.tests else self.count_tests(task)
        report = self.run_steps(build, steps, sandbox)
        if report is None:
            return Finding(BROKEN, RUNTIME_ERROR, "breaks its sandbox", 0, total)
        compiled, runs = report[: len(build.steps)], report[len(build.steps) :]
        for step in compiled:
            if step["limit"]:
                level, detail = LIMITS[step["limit"]]
                return Finding(BROKEN, level, f"compiling: {detail}", 0, total)
        diagnosis = self.diagnose(task, code, build, compiled)
        failed = any(step["exit"] != 0 for step in compiled)
        if diagnosis.exhausted:
            return Finding(BROKEN, RESOURCE_LIMIT, f"compiling: {diagnosis.error}", 0, total)
        if failed and (diagnosis.error is None or diagnosis.dubious):
            self._expect_working(task, sandbox)
        if failed and diagnosis.in_tests and self.are_broken(task, diagnosis, sandbox):
            return Finding(CLEAN, TASK_ERROR, f"the tests are broken: {diagnosis.error}", 0, total)
        if failed or diagnosis.error:
            return Finding(BROKEN, COMPILE_ERROR, diagnosis.error or "the compiler crashes", 0, total)
        return (WARNINGS if diagnosis.warned else CLEAN), runs

    def run_steps(self, build: Build, steps: list[dict], sandbox: Sandbox) -> list[dict] | None:
        """Reports on `steps` among a build's files; None where the job breaks its sandbox."""
        patience = max((step["limits"] for step in steps), key=lambda limits: limits["wall_seconds"])
        job = {"kind": "steps", "files": build.files, "steps": steps, "limits": patience, "runs": len(steps)}
        report = sandbox.run(job, self.view)
        return report and report["steps"]

    def _expect_working(self, task: Task, sandbox: Sandbox) -> None:
        """SandboxError where the compiler, which gave no reason, does not compile a known-good program either."""
        build = self.good_build(task)
        good = self.run_steps(build, build.steps, sandbox)
        if good is None or any(step["exit"] != 0 for step in good):
            said = (good[-1]["stderr"].strip().splitlines() or ["nothing"])[-1] if good else "nothing"
            command = build.steps[0]["argv"][0]
            raise SandboxError(f"{command} does not compile a known-good program; it says: {said[:200]}")


def _only_compiled(reward: float, why: str, total: int) -> Finding:
    return Finding(reward, COMPILED if reward == CLEAN else COMPILED_WITH_WARNINGS, why, 0, total)
