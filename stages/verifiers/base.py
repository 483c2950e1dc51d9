"""What a verifier is: a class that judges the code of one sample, inside the sandbox.

A verifier of one's own is a class in an importable module, named `module:Class` in a task's `verifier` field; see
docs/CUSTOM_VERIFIERS.md for one in full.

Only the sandbox runs what comes from a sample. A fault of a tool or of the sandbox is a SandboxError, never a Finding.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.common.errors import InputError
from stages.common.files import content_hash
from stages.common.records import Task
from stages.sandbox import Sandbox
from stages.settings.verify import VerifySettings
from stages.verifiers.verdicts import Finding


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A known program: a `right` one must earn `reward`, a `wrong` and a `hostile` one must earn less than that.

    `reward` is below 1.0 only where the verifier pays no more as it is set up: one that compiles and cannot run.
    """

    kind: Literal["right", "wrong", "hostile"]
    task: Task
    code: str
    reward: float = 1.0


class Verifier(abc.ABC):
    """Judges samples of the tasks that name it. One instance serves all threads of a run: keep no state per sample."""

    def __init__(self, settings: VerifySettings) -> None:
        self.settings = settings

    def check(self) -> str | None:
        """None where the tools are here, else one line: what is missing and how to install it."""
        return None

    def check_task(self, task: Task) -> None:  # noqa: B027 - most verifiers take every task
        """Raise InputError for a task that this verifier cannot judge; its message goes behind the task's name."""

    def close(self) -> None:  # noqa: B027 - most verifiers hold nothing
        """Give back what it holds beyond this process, such as a connection; called when all samples are judged."""

    @abc.abstractmethod
    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """Judge `code`, the program that extract_code found. Runs in several threads, each with its own sandbox."""

    @abc.abstractmethod
    def selftests(self) -> Sequence[SelfTest]:
        """At least one program of each kind, small and quick; `make doctor` judges them with this very verifier."""

    def fingerprint(self) -> dict[str, Any]:
        """What verdicts depend on besides task and code: tool versions, flags. Never time or place."""
        return {}


def code_version(here: Path = Path(__file__).parent) -> str:
    """Digest of everything of ours that decides a verdict; `here` is the room of verifiers."""
    sandbox = sorted((here.parent / "sandbox").rglob("*.py"))
    extraction = sorted((here.parent / "extraction").rglob("*.py"))
    shared = [here.parent / "common" / name for name in ("comparing.py", "thinking.py")]
    return content_hash(*sorted(here.glob("*.py")), *sandbox, *extraction, *shared)[:16]


def expect_language(task: Task, languages: tuple[str, ...]) -> None:
    """InputError unless the task is in one of `languages`."""
    if task.language not in languages:
        raise InputError(f"language '{task.language}': verifier '{task.verifier}' expects {' or '.join(languages)}")
