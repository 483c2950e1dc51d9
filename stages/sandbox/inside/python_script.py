"""What a Python program sees of itself: a file, a fresh `__main__`, and as much depth of recursion as a script has.

Runs inside the sandbox and imports the standard library alone.
"""

import builtins
import contextlib
import ctypes
import os
import re
import sys
import threading
import types
import warnings
from importlib.machinery import SourceFileLoader

from confine import PROGRAM_FOLDER
from supervise import write_all

NAME = "solution.py"
PATH = f"{PROGRAM_FOLDER}/{NAME}"
WORKING_FOLDER = "/tmp"
BROKEN_SOURCE = (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError)
# In one of the first two lines, the first of which is then empty or a comment.
DECLARATION = re.compile(
    r"(?:[ \t\f]*(?:#[^\r\n]*)?(?:\r\n?|\n))?[ \t\f]*#[^\r\n]*?coding[:=][ \t]*([-\w.]+)", re.ASCII
)
BYTE_ORDER_MARK = "\ufeff"
# An unlikely limit, which is looked for in the interpreter's thread state.
MARK = 0x5EED1
WORDS = 64  # C integers of a thread state; the two that count recursion are among the first

_first_filters = list(warnings.filters)


def put_source(source: str) -> None:
    """Write the program's file, for tracebacks, `inspect` and the program itself. One that is too large is left out."""
    with contextlib.suppress(OSError):
        descriptor = os.open(PATH, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            write_all(descriptor, encoded(source))
        finally:
            os.close(descriptor)


def encoded(source: str) -> bytes:
    """The bytes of the program's file."""
    return source.encode("utf-8", "surrogatepass")


def compile_source(source: str) -> types.CodeType | str:
    """The compiled module, or the first line of what is wrong with it. A declared encoding is obeyed."""
    try:
        return compile(encoded(source), PATH, "exec", dont_inherit=True)
    except BROKEN_SOURCE as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        return f"{line}{type(error).__name__}: {text}".rstrip(": ")


def wrong_encoding(source: str) -> Exception | None:
    """The error of a program that is sound but for the encoding that it declares; None for any other."""
    try:
        compile(source.removeprefix(BYTE_ORDER_MARK), PATH, "exec", dont_inherit=True)  # looks at no declaration
    except BROKEN_SOURCE:
        return None
    try:
        compile(encoded(source), PATH, "exec", dont_inherit=True)
    except BROKEN_SOURCE as error:
        return error
    return None


def hidden_text(source: str) -> str | None:
    """What is wrong with a program that declares an encoding in which its characters are others than those that are
    there to see, as in UTF-7; None where nothing is. Code that is meant for readers is to be judged as they read it."""
    found = DECLARATION.match(source.removeprefix(BYTE_ORDER_MARK))
    if not found:
        return None
    try:
        read = encoded(source).decode(found[1])
    except (LookupError, ValueError):
        return None  # it does not compile
    return None if _plain(read) == _plain(source) else f"SyntaxError: encoding {found[1]} hides what the program says"


def _plain(text: str) -> str:
    return text.encode("ascii", "ignore").decode()


def new_module(name: str, path: str | None = None) -> types.ModuleType:
    """An empty module `name`; with `path` one that was loaded from that file."""
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    if path:
        module.__file__ = path
        module.__loader__ = SourceFileLoader(name, path)
    sys.modules[name] = module
    return module


def become_script() -> None:
    """The interpreter as it is when it begins to run the program's file in its folder."""
    warnings.filters[:] = _first_filters
    warnings._filters_mutated()
    sys.argv, sys.orig_argv = [NAME], [sys.executable, NAME]
    sys.path[:0] = [PROGRAM_FOLDER, WORKING_FOLDER]  # a script's own folder is the one that it works in
    threading.main_thread()._set_native_id()  # it was forked behind the module's back
    main = new_module("__main__", PATH)
    main.__cached__ = None
    main.__annotations__ = {}


class RecursionCounter:
    """What is left of the recursion limit in the state of the thread that makes this, where an interpreter keeps it
    next to the limit. Made by the zygote, once: a fork has it in the same place."""

    def __init__(self) -> None:
        state = ctypes.pythonapi.PyThreadState_Get
        state.restype = ctypes.c_void_p
        self._words = (ctypes.c_int * WORDS).from_address(state())
        self._at = self._find()
        self._taken = 0
        if self._at is not None:
            self._taken = self._measure()

    def _find(self) -> int | None:
        words, limit = self._words, sys.getrecursionlimit()
        sys.setrecursionlimit(MARK)
        try:
            found = [at - 1 for at in range(1, WORDS) if words[at] == MARK and 0 < MARK - words[at - 1] < limit]
        finally:
            sys.setrecursionlimit(limit)
        return found[0] if len(found) == 1 else None

    def _measure(self) -> int:
        """How much of it a program's first frame takes when it is executed, beyond what a script's takes."""
        space = {"words": self._words, "at": self._at}
        before = self._words[self._at]
        exec("left = words[at]", space)
        return before - space["left"] - 1

    def fill(self) -> None:
        """Let the caller's frame and those below it not count: what it executes gets all of the limit, as a script."""
        if self._at is not None:
            own = 1  # this function's frame counts until it returns
            self._words[self._at] = sys.getrecursionlimit() + self._taken - own
