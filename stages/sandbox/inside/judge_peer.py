"""The judge's side of the conversation with a candidate: asks, rebuilds what comes as its own values, and compares
those itself.

The candidate may call what the tests gave it and use their public attributes; it reaches nothing else of the judge.

Runs inside the sandbox and imports the standard library alone.
"""

import builtins
import numbers
import os
import random
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

import files
import remote
import vocabulary
from candidate_peer import named
from line import ProtocolError
from peer import Peer
from remote import ARITHMETIC, CONTAINS, ORDER, Handle, RemoteClass

NAMED = "_forge_named"
# What these have in their attributes is the judge's, whatever the attributes' names.
CLOSED = (
    types.FrameType,
    types.CodeType,
    types.TracebackType,
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    types.ModuleType,
)
READABLE = ("__name__", "__qualname__", "__doc__")
INPUT_METHODS = ("read", "readline")


class Gone(BaseException):
    """The candidate's process has ended, or says what is no message. No `except Exception` of a test catches it."""


class JudgePeer(Peer):
    """Asks the candidate's process at the other end of `connection`."""

    asks_identity = False
    fetches_ahead = True

    def __init__(self, connection: socket.socket, wishes: tuple[str, ...]) -> None:
        super().__init__(connection, 0)
        self.gone = False
        self._folder: files.SharedFolder | None = None
        self._wishes = wishes
        self.request("begin", wishes)
        if "files" in wishes:
            self._folder = files.SharedFolder()
        if "seed" in wishes:
            seed = random.seed
            random.seed = lambda *args: (seed(*args), self.request("seed", args))[0]

    def request(self, operation: str, *values: Any) -> Any:
        """What the candidate answers; raises what it raises, and Gone, then and ever after, when it has gone."""
        if self.gone:
            raise Gone
        before = self.unanswered
        try:
            return super().request(operation, *values)
        except ProtocolError:
            self.gone = True
        except BaseException:
            if self.unanswered == before:
                raise
            self.gone = True  # an end of the line, or an alarm of the tests: what is still to come fits no question
        raise Gone

    def extras(self) -> Any:
        """The files that the tests have written."""
        return [None, self._folder.changes()] if self._folder else None

    def take_extras(self, extras: Any) -> None:
        """What the candidate has printed and written."""
        if extras is None:
            return
        text, changes = extras
        if text and "output" in self._wishes and type(text) is str:
            sys.stdout.write(text)
        if self._folder:
            self._folder.apply(changes)

    def name_of_function(self, value: Any) -> str | None:
        """Any function of the standard library: the candidate has its own."""
        return super().name_of_function(value) or vocabulary.function_name(value)

    # Values of the candidate in the hands of the tests

    def get(self, target: Any, name: str) -> Any:
        """An attribute of a stand-in; what inspect.signature asks for is made here of the parameters' names."""
        found = super().get(target, name)
        if name == "__signature__":
            import inspect

            empty, kinds = inspect.Parameter.empty, list(inspect._ParameterKind)
            parameters = [
                inspect.Parameter(named, kinds[kind], default=default if given else empty)
                for named, kind, given, default in found
            ]
            return inspect.Signature(parameters)
        return found

    def guard(self, special: str, forward: Callable, plain: Callable | None) -> Callable:
        """Arithmetic, order and membership between the candidate's objects and the judge's values.

        What is not to be asked falls to the builtin base, where there is one.
        """
        if special in ARITHMETIC:
            return _arithmetic(forward, plain or _unsupported)
        if special in ORDER:
            return _order(forward, plain or _unsupported)
        return _contains(forward, plain or _is_element) if special == CONTAINS else forward

    def equal(self, handle: Handle, other: object) -> Any:
        """Never a matter of the candidate's `__eq__`: two objects of one class that has equality of its own are equal
        where their attributes are; all others are equal to themselves alone."""
        if remote.number_of(other) is not None and not isinstance(other, type):
            if type(handle) is not type(other) or not type(handle)._forge_equality:
                return False
            ours, theirs = self.request("state", handle), self.request("state", other)
            return type(ours) is tuple and bool(ours) and ours == theirs
        if type(other).__module__ in ("builtins", "collections", "decimal", "fractions", "datetime"):
            return False
        return NotImplemented

    # What the candidate may ask

    def _expect_given(self, target: Any) -> None:
        if id(target) not in self._export_numbers:
            raise ProtocolError("nothing that the tests gave")

    def _attribute(self, target: Any, name: Any) -> Any:
        self._expect_given(target)
        if type(name) is not str or isinstance(target, CLOSED):
            raise AttributeError("not for a candidate")
        if name.startswith("_") and name not in READABLE:
            raise AttributeError(f"'{type(target).__name__}' object has no attribute '{name}'")
        return getattr(target, name)

    def serve_call(self, target: Any, args: tuple, kwargs: tuple) -> Any:
        """Call a function or class of the tests."""
        self._expect_given(target)
        return target(*args, **named(kwargs))

    def serve_get(self, target: Any, name: str) -> Any:
        """A public attribute."""
        return self._attribute(target, name)

    def serve_method(self, target: Any, name: str, args: tuple, kwargs: tuple) -> Any:
        """Call a public method."""
        return self._attribute(target, name)(*args, **named(kwargs))

    def serve_method_attribute(self, target: Any, name: str, attribute: str) -> Any:
        """An attribute of a method."""
        raise AttributeError(attribute)

    def serve_special(self, target: Any, name: str, args: tuple, kwargs: tuple) -> Any:
        """A special method of the kind that operators and builtin functions call."""
        self._expect_given(target)
        if name not in remote.SPECIALS or isinstance(target, type):
            raise TypeError("not for a candidate")
        return getattr(type(target), name)(target, *args, **named(kwargs))

    def serve_set(self, target: Any, name: str, value: Any) -> None:
        """Set a public attribute of an instance; what its class does stays as it is."""
        self._attribute_is_data(target, name)
        setattr(target, name, value)

    def serve_delete(self, target: Any, name: str) -> None:
        """Delete such an attribute."""
        self._attribute_is_data(target, name)
        delattr(target, name)

    def _attribute_is_data(self, target: Any, name: Any) -> None:
        self._expect_given(target)
        fixed = isinstance(target, (type, types.FunctionType, types.MethodType, *CLOSED))
        if type(name) is not str or name.startswith("_") or fixed or callable(getattr(type(target), name, None)):
            raise AttributeError(f"attribute {str(name)[:100]!r} is not a candidate's to change")

    def serve_next(self, target: Any, _count: int) -> tuple:
        """One value of an iterator that the tests gave."""
        self._expect_given(target)
        try:
            return (next(target),), None
        except StopIteration as end:
            return (), end

    def serve_copy(self, target: Any, _deep: bool) -> Any:
        """Objects of the tests are not copied."""
        raise TypeError("an object of the tests cannot be copied")

    def serve_dir(self, target: Any) -> tuple:
        """The names of the public attributes."""
        self._expect_given(target)
        return () if isinstance(target, CLOSED) else tuple(name for name in dir(target) if not name.startswith("_"))

    def serve_input(self, prompt: str) -> str:
        """A line from the input that the tests have arranged."""
        if "input" not in self._wishes:
            raise EOFError
        return builtins.input(prompt)

    def serve_stdin(self, name: str, size: tuple) -> str:
        """Text from the input that the tests have arranged."""
        if "input" not in self._wishes or name not in INPUT_METHODS:
            raise ProtocolError("no input")
        return getattr(sys.stdin, name)(*size)


def _is_theirs(value: Any) -> bool:
    return isinstance(type(value), RemoteClass)


def _unsupported(_self: Any, *_: Any) -> Any:
    return NotImplemented


def _is_element(self: Any, item: Any) -> bool:
    return any(element is item or element == item for element in self)


def _arithmetic(forward: Callable, plain: Callable) -> Callable:
    def arithmetic(self: Any, other: Any, *rest: Any) -> Any:
        if _is_theirs(other) and plain is _unsupported:
            return forward(self, other, *rest)
        if not getattr(type(self), NAMED, False):
            return plain(self, other, *rest)
        result = forward(self, other, *rest)
        if isinstance(result, numbers.Number) and remote.number_of(result) is None:
            raise TypeError("an object of the solution and a number of the tests cannot make a number")
        return result

    return arithmetic


def _order(forward: Callable, plain: Callable) -> Callable:
    def order(self: Any, other: Any) -> Any:
        if plain is not _unsupported or not _is_theirs(other):
            return plain(self, other)
        result = forward(self, other)
        return result if result is NotImplemented else result is True

    return order


def _contains(forward: Callable, plain: Callable) -> Callable:
    def contains(self: Any, item: Any) -> bool:
        return forward(self, item) is True if getattr(type(self), NAMED, False) else plain(self, item)

    return contains


class Names(dict):
    """The global names of tests: their own, and behind these the candidate's, asked for as they are used.

    A builtin function is never the candidate's, unless it is the entry point; neither is a standard module.
    """

    def __init__(self, peer: JudgePeer, entry_point: str | None, own: dict) -> None:
        super().__init__(own)
        self.peer, self.entry_point = peer, entry_point

    def child(self) -> "Names":
        """A copy whose new names are its own."""
        return Names(self.peer, self.entry_point, self)

    def __missing__(self, name: str) -> Any:
        if name != self.entry_point:
            if hasattr(builtins, name) or (name.startswith("__") and name.endswith("__")):
                raise KeyError(name)
            if name in STANDARD:
                return STANDARD[name]()
        kind, value = self.look_up(name)
        if kind == "missing":
            raise KeyError(name)
        return value

    def look_up(self, name: str) -> tuple[str, Any]:
        """(kind, value) of a name of the candidate's module; functions and classes are kept."""
        kind, value = self.peer.request("name", name)
        if kind == "module":
            return (kind, __import__(value, fromlist=["_"])) if _is_library(value) else ("missing", None)
        if isinstance(value, RemoteClass):
            type.__setattr__(value, NAMED, True)
        if remote.number_of(value) is not None and callable(value):
            self.setdefault(name, value)
        return kind, value


def _is_library(name: Any) -> bool:
    """Whether a module's name is one of the standard library or of a package that tests may import."""
    top = name.split(".")[0] if type(name) is str else ""
    packages = os.environ.get("PYTHONPATH", "")
    return top in sys.stdlib_module_names or (top.isidentifier() and os.path.exists(os.path.join(packages, top)))


def _from(module: str, name: str) -> Callable[[], Any]:
    return lambda: getattr(__import__(module), name)


# What judges compare with. Tests that use these without a word of where they come from do not get the candidate's.
STANDARD: dict[str, Callable[[], Any]] = {
    name: (lambda name=name: __import__(name))
    for name in (
        *("math", "re", "copy", "itertools", "functools", "operator", "collections"),
        *("random", "string", "datetime", "json", "sys", "os", "pytest"),
    )
}
STANDARD.update({name: _from("math", name) for name in ("isclose", "fabs", "isnan", "isinf")})
STANDARD.update({"deepcopy": _from("copy", "deepcopy"), "approx": _from("pytest", "approx")})


class Solution(types.ModuleType):
    """The candidate's module as tests see it."""

    def __init__(self, names: Names) -> None:
        super().__init__("solution")
        types.ModuleType.__setattr__(self, "_forge_names", names)

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return [name for name in self._forge_names.peer.request("names") if type(name) is str]
        if name.startswith("__"):
            raise AttributeError(name)
        kind, value = Names(self._forge_names.peer, None, {}).look_up(name)
        if kind == "missing":
            raise AttributeError(f"module 'solution' has no attribute '{name}'")
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            types.ModuleType.__setattr__(self, name, value)
        else:
            self._forge_names.peer.request("rename", name, value)
            self._forge_names.pop(name, None)

    def __delattr__(self, name: str) -> None:
        self._forge_names.peer.request("unname", name)
        self._forge_names.pop(name, None)
