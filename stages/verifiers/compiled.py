"""What compiled languages share: one job that compiles and then runs, and the ladder for it."""

import abc
import re
import secrets

from stages.common.errors import SandboxError
from stages.common.records import Task
from stages.sandbox import Sandbox, View
from stages.verifiers.base import Verifier
from stages.verifiers.outcomes import Test, combine, judge_cases, run_trouble
from stages.verifiers.verdicts import (
    BROKEN,
    CLEAN,
    COMPILE_ERROR,
    COMPILED,
    COMPILED_WITH_WARNINGS,
    RAN,
    RUNS,
    RUNTIME_ERROR,
    TASK_ERROR,
    WARNINGS,
    WRONG_ANSWER,
    Finding,
)

ERROR = re.compile(r"^(?:[^:\n]*?([\w.+-]+):(\d+):(?:\d+:)? )?[^\n]*?\b(?:fatal )?error: ([^\n]+)", re.MULTILINE)
LINK_ERROR = re.compile(r"undefined reference to [^\n]*|multiple definition of [^\n;]*|cannot find -l\S+")
WARNING = re.compile(r"\bwarning: ")
ASSERTION = re.compile(r"([\w.+-]+):(\d+): [^\n]*Assertion [`'](.*?)' failed")
PROGRAM = "program"


class Compiled(Verifier):
    """A verifier that compiles. `cases` run the program once each; test text is compiled in and counts as one test."""

    view: View

    @abc.abstractmethod
    def build(self, task: Task, code: str, link: bool) -> tuple[dict[str, str], list[str]]:
        """Files by name, and the command that makes /tmp/program of them (or, without `link`, just compiles)."""

    @abc.abstractmethod
    def good_program(self, task: Task) -> tuple[dict[str, str], list[str]]:
        """Like `build`, for a program known to compile: it tells a broken compiler from broken code."""

    @abc.abstractmethod
    def has_main(self, code: str) -> bool:
        """Whether the code is a program, not a library."""

    @abc.abstractmethod
    def compile_limits(self) -> dict:
        """Limits of a compilation."""

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """Compile; then run the tests, the cases, or just the program."""
        if not code.strip():
            return Finding(BROKEN, COMPILE_ERROR, "no code", 0, count_tests(task))
        if task.tests.strip() and not self.has_main(task.tests):
            return Finding(CLEAN, TASK_ERROR, "the tests are broken: they have no main", 0, count_tests(task))
        runnable = bool(task.tests.strip() or task.cases) or self.has_main(code)
        files, command = self.build(task, code, runnable)
        steps = self._steps(task, files, command) if runnable else [self._compile_step(command)]
        report = self._run(files, steps, sandbox)
        if report is None:
            return Finding(BROKEN, RUNTIME_ERROR, "breaks its sandbox", 0, count_tests(task))
        compiled, runs = report["steps"][0], report["steps"][1:]
        if compiled["exit"] != 0 or compiled["limit"]:
            return self._not_compiled(task, compiled, sandbox)
        reward = WARNINGS if WARNING.search(compiled["stderr"]) else CLEAN
        if not runnable:
            return Finding(reward, COMPILED if reward == CLEAN else COMPILED_WITH_WARNINGS, "no tests")
        return _judge(task, runs, reward)

    def _compile_step(self, command: list[str]) -> dict:
        return {"argv": command, "limits": self.compile_limits(), "needed": True}

    def _steps(self, task: Task, files: dict[str, str], command: list[str]) -> list[dict]:
        limits = self.settings.limits.job()
        run = {"argv": [f"/tmp/{PROGRAM}"], "limits": limits}
        runs = [{**run, "stdin": case["stdin"]} for case in task.cases]
        if task.tests.strip():
            runs.insert(0, {**run, "evidence": secrets.token_hex(16)})
        runs = runs or [run]
        runs[0]["remove"] = sorted(files)  # a program has no need of its own source, or the tests'
        return [self._compile_step(command), *runs]

    def _run(self, files: dict[str, str], steps: list[dict], sandbox: Sandbox) -> dict | None:
        patience = max((step["limits"] for step in steps), key=lambda limits: limits["wall_seconds"])
        job = {"kind": "steps", "files": files, "steps": steps, "limits": patience, "runs": len(steps)}
        return sandbox.run(job, self.view)

    def _not_compiled(self, task: Task, compiled: dict, sandbox: Sandbox) -> Finding:
        """A compiler that gives no reason is a suspect itself, until it has compiled a known-good program."""
        if compiled["limit"]:
            level, detail = run_trouble(compiled)
            return Finding(BROKEN, level, f"compiling: {detail}", 0, count_tests(task))
        reason = compile_error(compiled["stderr"])
        if reason is None or "internal compiler error" in reason or "cannot execute" in reason:
            files, command = self.good_program(task)
            good = self._run(files, [self._compile_step(command)], sandbox)
            if good is None or good["steps"][0]["exit"] != 0:
                said = (good["steps"][0]["stderr"].strip().splitlines() or ["nothing"])[-1] if good else "nothing"
                raise SandboxError(f"{command[0]} does not compile a known-good program; it says: {said[:200]}")
        return Finding(BROKEN, COMPILE_ERROR, reason or "the compiler crashes", 0, count_tests(task))


def count_tests(task: Task) -> int:
    """Test text that is compiled in counts as one test, each case as one."""
    return bool(task.tests.strip()) + len(task.cases)


def compile_error(diagnostics: str) -> str | None:
    """The first error with its line, on one line; None where there is none."""
    if found := LINK_ERROR.search(diagnostics):
        return found[0]
    if found := ERROR.search(diagnostics):
        where = f"{found[1]} line {found[2]}: " if found[2] else ""
        return f"{where}{found[3]}"
    return None


def _judge(task: Task, runs: list[dict], reward: float) -> Finding:
    tests = []
    runs = list(runs)
    if not task.tests.strip() and not task.cases:
        trouble = run_trouble(runs[0])
        return Finding(reward, *trouble) if trouble else Finding(RUNS, RAN, "no tests")
    if task.tests.strip():
        tests.append(_judge_tests(runs.pop(0)))
    return combine([*tests, *judge_cases(runs, task.cases)], count_tests(task), failed_reward=reward)


def _judge_tests(run: dict) -> Test:
    """Compiled-in tests pass where their main came to its end, and said so, and the process then ended well."""
    if found := ASSERTION.search(run["stderr"]):
        return Test(WRONG_ANSWER, f"{found[1]} line {found[2]}: assert({found[3]})")
    if trouble := run_trouble(run):
        return Test(trouble[0], trouble[1])
    return Test(None) if run["evidence"] else Test(RUNTIME_ERROR, "ended before its tests did")
