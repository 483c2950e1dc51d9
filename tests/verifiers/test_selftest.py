"""Self-tests of verifiers: what is told of one that judges well, one that does not, and one that lacks a tool."""

from collections.abc import Sequence

import pytest

from stages.common.errors import SandboxError
from stages.common.records import Task
from stages.sandbox import Sandbox, View
from stages.settings.verify import VerifySettings
from stages.verifiers.base import SelfTest, Verifier
from stages.verifiers.outcomes import combine, judge_run
from stages.verifiers.selftest import examine
from stages.verifiers.verdicts import CLEAN, SOLVED, Finding

SETTINGS = VerifySettings()
TASK = Task("selftest", "shell", "Print the line that is read.", "own", None, "", [{"stdin": "x\n", "stdout": "x\n"}])


class Shell(Verifier):
    """Judges shell scripts by what they print."""

    tests = (SelfTest("right", TASK, "cat"), SelfTest("wrong", TASK, "echo y"), SelfTest("hostile", TASK, "kill -9 1"))

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """One run per case."""
        limits = self.settings.limits.job()
        steps = [{"argv": ["/bin/sh", "code"], "stdin": case["stdin"], "limits": limits} for case in task.cases]
        report = sandbox.run({"kind": "steps", "files": {"code": code}, "steps": steps, "limits": limits}, View())
        assert report is not None
        tests = [judge_run(1, report["steps"][0], task.cases[0]["stdout"])]
        return combine(tests, 1, failed_reward=CLEAN)

    def selftests(self) -> Sequence[SelfTest]:
        """Those of the class."""
        return self.tests

    def fingerprint(self) -> dict:
        """A version that says its name, one that does not, and what is no version."""
        return {"shell": "shell 5.2", "tool": "7.1", "flags": ["-x"], "standard": "c17"}


class Credulous(Shell):
    """Pays whatever it sees."""

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """A pass."""
        return Finding(SOLVED, "pass", "", 1, 1)


class Strict(Shell):
    """Pays nothing."""

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """No pass."""
        return Finding(CLEAN, "timeout", "too late", 0, 1)


class Untested(Shell):
    """Brings no hostile program."""

    tests = Shell.tests[:2]


class Absent(Shell):
    """Has no tool."""

    def check(self) -> str | None:
        """Never there."""
        return "shellac not found; apt-get install shellac"


class Broken(Shell):
    """Has a tool that does not work."""

    def check(self) -> str | None:
        """Never well."""
        raise SandboxError("shellac compiles nothing")


class Raising(Shell):
    """Has a mistake in it."""

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """A KeyError."""
        return {}["finding"]


class Halfway(Shell):
    """Pays 0.5 at best, and says so."""

    tests = (
        SelfTest("right", TASK, "cat", 0.5),
        SelfTest("wrong", TASK, "echo y", 0.7),
        SelfTest("hostile", TASK, "echo", 0.7),
    )

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """Compiled."""
        return Finding(CLEAN, "compiled")


@pytest.mark.parametrize(
    ("kind", "state", "text"),
    [
        (Shell, "ok", "3 self-tests, shell 5.2, tool 7.1"),
        (Halfway, "ok", "3 self-tests, shell 5.2, tool 7.1"),
        (Credulous, "wrong", "self-test 2, a wrong program, earns 1.0 (pass); expected less than 1.0"),
        (Strict, "wrong", "self-test 1, a right program, earns 0.5 (timeout: too late); expected 1.0"),
        (Untested, "wrong", "it has no hostile self-test"),
        (Absent, "absent", "shellac not found; apt-get install shellac"),
        (Broken, "wrong", "shellac compiles nothing"),
        (Raising, "wrong", "KeyError: 'finding'"),
    ],
)
def test_what_is_told(kind: type[Verifier], state: str, text: str) -> None:
    found = examine(f"{__name__}:{kind.__name__}", SETTINGS)
    assert (found.state, found.text) == (state, text)


def test_unknown_verifier() -> None:
    found = examine("gccc", SETTINGS)
    assert found.state == "wrong"
    assert found.text.startswith("unknown verifier 'gccc'; did you mean 'gcc'?")
