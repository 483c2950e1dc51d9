"""Plain CPython as a judge, to compare the Python verifier with: a program and its tests are one file, run by `python`.

Only for programs that are known to be harmless: whatever ends with exit code 0 has passed. It runs in the sandbox all
the same. A task names it as `tests.cpython:PlainPython`.
"""

import platform
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stages.common.records import Task
from stages.sandbox import Sandbox, View
from stages.sandbox.bubblewrap import interpreter
from stages.settings.verify import VerifySettings
from stages.verifiers.base import SelfTest, Verifier
from stages.verifiers.outcomes import Test, combine, judge_run, run_trouble
from stages.verifiers.packages import package_paths
from stages.verifiers.verdicts import CLEAN, Finding

NAME = "tests.cpython:PlainPython"
FILE = "main.py"


class PlainPython(Verifier):
    """Judges by the exit code of `python main.py`, and by the output where a task has cases."""

    def __init__(self, settings: VerifySettings) -> None:
        super().__init__(settings)
        packages = package_paths(("pytest", *settings.pytest.packages))
        self.view = View(packages=packages, tmp_mb=settings.limits.tmp_mb)

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """The tests behind the code, or the code alone, once for each case up to the first that fails."""
        if task.tests:
            ended = self._run(f"{code}\n\n{task.tests}", "", sandbox)
            trouble = run_trouble(ended)
            return combine([Test(*trouble) if trouble else Test(None)], 1, failed_reward=CLEAN)
        results = []
        for number, case in enumerate(task.cases, 1):
            ended = self._run(code, case["stdin"], sandbox)
            results.append(judge_run(number, ended, case["stdout"]))
            if results[-1].level:
                break
        return combine(results, len(task.cases), failed_reward=CLEAN)

    def _run(self, source: str, stdin: str, sandbox: Sandbox) -> dict:
        limits = self.settings.limits.job()
        step = {"argv": [interpreter(), "-s", "-B", FILE], "stdin": stdin, "limits": limits}
        job = {"kind": "steps", "files": {FILE: source}, "steps": [step], "limits": limits, "runs": 1}
        report = sandbox.run(job, self.view)
        assert report is not None, "a harmless program breaks its sandbox"
        return report["steps"][0]

    def selftests(self) -> Sequence[SelfTest]:
        """None that is hostile: it is for programs that are known to be harmless."""
        task = Task("selftest", "python", "Add two numbers.", NAME, "add", "assert add(1, 2) == 3\n", [])
        right, wrong = (f"def add(a, b):\n    return a {sign} b\n" for sign in "+-")
        return SelfTest("right", task, right), SelfTest("wrong", task, wrong)

    def fingerprint(self) -> dict[str, Any]:
        """The interpreter's version."""
        return {"python": platform.python_version()}


def by_cpython(task: Task) -> Task:
    """The same task, judged by plain CPython."""
    return replace(task, verifier=NAME)
