"""The errors that users cause or can mend, told apart from bugs."""

import difflib
from collections.abc import Sequence


class HaloForgeError(Exception):
    """A fault that the user can mend. Its message is one line: where, what was found, what was expected."""


class InputError(HaloForgeError):
    """A file, record or setting does not have the expected form."""


class SandboxError(HaloForgeError):
    """The sandbox or a toolchain is missing or broken. Never a reward: the stage stops."""


def expect_known(value: dict, known: Sequence[str], where: str) -> None:
    """Raise InputError for a key that is not among `known`, with the nearest that is."""
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            raise InputError(f"{where}: unknown key '{key}'; {hint}")
