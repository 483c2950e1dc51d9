"""A filter for a program that has no business starting others: threads it may have, child processes not.

A function under test that forks could try every answer, each in a process of its own, and go on with the one that
passed. Runs inside the sandbox and imports the standard library alone.
"""

import platform
import struct

from confine import libc
from seccomp import Filter, install

# clone, fork, vfork; clone3 is refused to all that runs in a sandbox
NUMBERS = {"x86_64": (56, (57, 58)), "aarch64": (220, ())}
THREAD = 0x00010000  # CLONE_THREAD
LOAD, JUMP_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1  # EPERM
NUMBER, FIRST_ARGUMENT = 0, 16


def refuse_children() -> None:
    """From here on, for this process and what it turns into. Does nothing on a machine with unknown call numbers."""
    if platform.machine() not in NUMBERS:
        return
    clone, others = NUMBERS[platform.machine()]
    rows = [(LOAD, 0, 0, NUMBER)]
    rows += [(JUMP_EQUAL, len(others) - at + 4, 0, number) for at, number in enumerate(others)]
    rows += [
        (JUMP_EQUAL, 1, 0, clone),
        (RETURN, 0, 0, ALLOW),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP_SET, 0, 1, THREAD),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    install(libc, Filter(b"".join(struct.pack("=HBBI", *row) for row in rows)))
