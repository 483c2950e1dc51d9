"""The programs that go to cl, code with its tests, and what their runs say.

Tests are compiled in the unit of the code, behind it, and report when their main has returned. What remains: code that
finds its way in its own memory at run time could report a pass itself. Tests that must hold against that are to be
written as `cases`: the judge keeps those.
"""

import re
import secrets
from dataclasses import dataclass

from stages.common.records import Task
from stages.verifiers.c_macros import CL, restored
from stages.verifiers.c_text import CText
from stages.verifiers.c_unit import main_of
from stages.verifiers.msvc_host import Report, decode
from stages.verifiers.msvc_text import inspect, scrub
from stages.verifiers.outcomes import Test, combine, judge_cases, run_trouble
from stages.verifiers.verdicts import RAN, RUNS, RUNTIME_ERROR, WRONG_ANSWER, Finding

# The words of Microsoft's C library, and of others where cl runs under wine.
ASSERTION = re.compile(
    r"Assertion failed: (?P<what>.{1,200}?), file .{0,300}?(?P<file>[\w.]+), line (?P<line>\d+)"
    r"|(?P<file_>[\w.]+):(?P<line_>\d+): .{0,300}?Assertion `(?P<what_>.{1,200}?)' failed"
)


def count_tests(task: Task) -> int:
    """Test text that is compiled in counts as one test, each case as one."""
    return bool(task.tests.strip()) + len(task.cases)


def broken_tests(task: Task, standard: str) -> str | None:
    """Why the task's tests cannot be compiled, or must not be; None where they can, or where there are none."""
    if not task.tests.strip():
        return None
    tests = CText(task.tests, task.language, standard)
    return inspect(task.tests).refusal or tests.broken() or (None if main_of(tests) else "they have no main")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a tests' main must report when it returns, and the name of the function that does so. Neither can be known
    to the code under test when it is compiled; one that searches its own process at run time can find both."""

    name: str
    secret: str

    @classmethod
    def fresh(cls) -> "Evidence":
        """One for one job."""
        return cls(f"forge_{secrets.token_hex(16)}", secrets.token_hex(16))

    @property
    def source(self) -> str:
        """The function, a source of its own."""
        body = f'    puts("\\n{self.secret}");\n    fflush(stdout);\n'
        return f'#include <stdio.h>\nextern "C" void {self.name}() {{\n{body}}}\n'

    @property
    def guard(self) -> str:
        """A type whose objects report when they go."""
        name = self.name
        return f'extern "C" void {name}();\nstruct {name}_t {{ ~{name}_t() {{ {name}(); }} }};\n'


def unit_text(solution: CText, tests: CText, evidence: Evidence | None) -> str:
    """The tests behind the solution, which is a file of its own: what it leaves open cannot swallow them. Its main, if
    it has one, steps aside, as do its macros. The tests must have a main."""
    text = tests.text
    if evidence and (found := main_of(tests)):
        text = f"{text[: found.end()]} {evidence.name}_t {evidence.name}_v;{text[found.end() :]}"
    # Unlike main, another function must return a value.
    aside = "#pragma warning(disable: 4716)\n#define main solution_main\n" if solution.has_main else ""
    undone = "".join(f"#undef {macro}\n" for macro in sorted({*solution.macros, "main", "NDEBUG", "assert"}))
    undone += restored(solution.macros, tests, CL)
    return "".join(
        (
            f'{aside}#include "solution.{solution.language}"\n{undone}#pragma pack()\n#include <assert.h>\n',
            evidence.guard if evidence else "",
            f'#line 1 "tests.{tests.language}"\n{text}\n',
        )
    )


def judge(task: Task, report: Report, evidence: Evidence | None, reward: float) -> Finding:
    """What the runs are worth; `reward` is what compiling was."""
    runs = [
        {
            "exit": run.exit,
            "signal": None,
            "limit": run.limit,
            "stdout": decode(run.output),
            "stderr": scrub(decode(run.errors)),
        }
        for run in report.runs
    ]
    if not count_tests(task):
        trouble = run_trouble(runs[0])
        return Finding(reward, *trouble) if trouble else Finding(RUNS, RAN, "no tests")
    tests = [_judge_tests(runs.pop(0), evidence.secret)] if evidence else []
    return combine([*tests, *judge_cases(runs, task)], count_tests(task), failed_reward=reward)


def _judge_tests(run: dict, secret: str) -> Test:
    """Compiled-in tests pass where their main came to its end, and said so, and the process then ended well."""
    if found := ASSERTION.search(run["stderr"]):
        what, file, line = (found[name] or found[f"{name}_"] for name in ("what", "file", "line"))
        return Test(WRONG_ANSWER, f"{file} line {line}: assert({what})")
    if trouble := run_trouble(run):
        return Test(*trouble)
    return Test(None) if secret in run["stdout"].split() else Test(RUNTIME_ERROR, "ended before its tests did")
