"""The errors that users cause or can mend, told apart from bugs."""


class HaloForgeError(Exception):
    """A fault that the user can mend. Its message is one line: where, what was found, what was expected."""


class InputError(HaloForgeError):
    """A file, record or setting does not have the expected form."""


class SandboxError(HaloForgeError):
    """The sandbox or a toolchain is missing or broken. Never a reward: the stage stops."""
