"""The self-tests of verifiers: each judges programs of its own that are known to be right, wrong and hostile."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from stages.common.errors import InputError, SandboxError
from stages.sandbox import Sandbox
from stages.settings.verify import VerifySettings
from stages.verifiers import make
from stages.verifiers.base import SelfTest, Verifier

KINDS = get_args(SelfTest.__annotations__["kind"])
VERSION = re.compile(r"\b\d+[.-]\w")


@dataclass(frozen=True, slots=True)
class Examined:
    """What became of a verifier's self-tests: it can be used here ("ok"), lacks something that has to be installed or
    set ("absent"), or does not judge as it must ("wrong"). `text` is one line: tools, what is lacking, or what went
    wrong."""

    state: Literal["ok", "absent", "wrong"]
    text: str


def examine(name: str, settings: VerifySettings) -> Examined:
    """Make the verifier of that name as `settings` have it, and judge its self-tests in a sandbox of their own."""
    try:
        verifier = make(name, settings)
        if trouble := verifier.check():
            return Examined("absent", trouble)
        tests = list(verifier.selftests())
        with Sandbox() as sandbox:
            faults = [*_lacking(tests), *_faults(verifier, tests, sandbox)]
        if faults:
            return Examined("wrong", faults[0])
        return Examined("ok", ", ".join([f"{len(tests)} self-tests", *_tools(verifier.fingerprint())]))
    except (InputError, SandboxError) as error:
        return Examined("wrong", str(error))
    except Exception as error:  # a verifier of one's own may raise anything, and the others are still to be examined
        return Examined("wrong", f"{type(error).__name__}: {error}")


def _lacking(tests: list[SelfTest]) -> Iterator[str]:
    for kind in KINDS:
        if not any(test.kind == kind for test in tests):
            yield f"it has no {kind} self-test"


def _faults(verifier: Verifier, tests: list[SelfTest], sandbox: Sandbox) -> Iterator[str]:
    for number, test in enumerate(tests, 1):
        verifier.check_task(test.task)
        found = verifier.verify(test.task, test.code, sandbox)
        right = test.kind == "right"
        if found.reward != test.reward if right else found.reward >= test.reward:
            told = f"{found.level}: {found.detail}".rstrip(": ")
            expected = f"{'' if right else 'less than '}{test.reward}"
            yield f"self-test {number}, a {test.kind} program, earns {found.reward} ({told}); expected {expected}"


def _tools(fingerprint: dict[str, Any]) -> Iterator[str]:
    """The versions in a fingerprint, each under its name, and once where two tools say the same."""
    versions = {value: name for name, value in fingerprint.items() if isinstance(value, str) and VERSION.search(value)}
    for value, name in versions.items():
        yield value if name.rstrip("+") in value else f"{name} {value}"
