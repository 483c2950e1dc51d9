"""The judge's side of the conversation with a candidate: asks, rebuilds what comes as its own values, and compares
those itself.

The candidate may call what the tests gave it and use their public attributes; it reaches nothing else of the judge.

Runs inside the sandbox and imports the standard library alone.
"""

import builtins
import enum
import functools
import importlib
import itertools
import numbers
import os
import random
import socket
import sys
import time
import types
from collections.abc import Callable, Sequence
from typing import Any

import agreement
import describe
import files
import notices
import remote
import vocabulary
from agreement import refusal, says_equal
from candidate_peer import named, run_coroutine
from line import ProtocolError
from peer import Peer
from remote import ARITHMETIC, CONTAINS, ORDER, Handle, RemoteClass

NAMED = "_forge_named"
MISSING = "\0missing"  # no name
# What these have in their attributes is the judge's, whatever the attributes' names.
CLOSED = (
    types.FrameType,
    types.CodeType,
    types.TracebackType,
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    types.ModuleType,
    functools.partial,
    functools.partialmethod,
)
READABLE = ("__name__", "__qualname__", "__doc__")
# Asked of objects of every class.
_OF_CONTAINERS = ("len", "iter", "next", "reversed", "getitem", "setitem", "delitem", "missing", "length_hint")
_OF_OTHERS = ("call", "str", "repr", "format", "enter", "aenter", "aiter", "anext")
ASKED_OF_ALL = frozenset(f"__{name}__" for name in (*_OF_CONTAINERS, *_OF_OTHERS))
ELEMENTS = ("__iter__", "__getitem__")
LOOKED = "_forge_looked"
LOOK_LIMIT = 100_000  # elements of an object that are fetched at once
STEPS = ("__next__", "__anext__", "send", "throw", "asend", "athrow", "__getitem__")
CLASS_NAMES = ("__module__", "__qualname__", "__firstlineno__", "__static_attributes__", "__annotations__")
INPUT_METHODS = ("read", "readline")


class Gone(BaseException):
    """The candidate's process has ended, or says what is no message. No `except Exception` of a test catches it."""


class JudgePeer(Peer):
    """Asks the candidate's process at the other end of `connection`."""

    asks_identity = False
    fetches_ahead = True

    def __init__(
        self, connection: socket.socket, wishes: tuple[str, ...], guarded: Sequence = (), assertions: Sequence = ()
    ) -> None:
        super().__init__(connection, 0)
        self._guarded, self._assertions = guarded, assertions
        self.gone = False
        self.classes: frozenset[str] = frozenset()  # names that the tests take for classes, however they are spelt
        # Assertions that failed in calls of the candidate's, and what the judge itself has refused.
        self.failed = agreement.refusals
        self.kept: dict[str, Any] = {}  # functions and classes of the candidate's, by the names that it has for them
        self.found = 0  # names of the candidate's that the tests have asked for and got
        self.entry_name = ""  # of the code under test, where the task names it
        self._hashes: dict[tuple[type, int], int] = {}  # by class and the judge's hash, the candidate's
        self._entry_number: int | None = None
        self._entry_used = False
        self._folder: files.SharedFolder | None = None
        self._wishes = wishes
        self._told: list = []  # warnings and log records of the candidate's that the tests have not got yet
        self._library = {name: _of_library(name) for name in wishes if "." in name}
        self._environment = dict(os.environ) if "environment" in wishes else {}
        if wishes:
            self.request("begin", wishes)
        if "files" in wishes:
            self._folder = files.SharedFolder()
        if "seed" in wishes:
            _tell_also(random, "seed", lambda *args: self.request("seed", args))
            if "numpy" in sys.modules:
                _tell_also(sys.modules["numpy"].random, "seed", lambda *args: self.request("seed_numpy", args))
        if "doctest" in wishes:
            self._run_their_doctests_also()
        if "sleep" in wishes:
            _tell_also(time, "sleep", lambda *_: self.request("wait"))

    def request(self, operation: str, *values: Any) -> Any:
        """What the candidate answers; raises what it raises, and Gone, then and ever after, when it has gone."""
        if self.gone:
            raise Gone
        before = self.unanswered
        try:
            found = super().request(operation, *values)
            self._pass_on_notices()
            if _is_every_failure(found):
                raise refusal("an exception of the solution's that every failure is one of")
            return found
        except ProtocolError:
            self.gone = True
        except (StopIteration, StopAsyncIteration) as error:
            if _may_stop(operation, values, error):
                raise
            raise refusal(f"the solution raised {type(error).__name__}", RuntimeError) from None
        except BaseException:
            if self.unanswered == before:
                self._pass_on_notices()
                raise
            self.gone = True  # an end of the line, or an alarm of the tests: what is still to come fits no question
        raise Gone

    def _run_their_doctests_also(self) -> None:
        """Let doctest.testmod count the failures of the solution's own examples. No pass rests on its word."""
        import doctest

        run = doctest.testmod

        def testmod(*args: Any, **kwargs: Any) -> Any:
            ours, (failed, tried) = run(*args, **kwargs), self.request("doctest")
            return doctest.TestResults(ours.failed + int(failed), ours.attempted + int(tried))

        doctest.testmod = testmod

    def _pass_on_notices(self) -> None:
        """Raise again what the candidate has warned of and logged; not while that is going on."""
        if self._told:
            told, self._told = self._told, []
            notices.raise_again(told)

    def extras(self) -> Any:
        """The files that the tests have written, and the environment where they have changed it."""
        changes = self._folder.changes() if self._folder else None
        environment = None
        if "environment" in self._wishes and self._environment != os.environ:
            self._environment = dict(os.environ)
            environment = self._environment
        return [changes, environment] if changes or environment is not None else None

    def take_extras(self, extras: Any) -> None:
        """What the candidate has printed and written."""
        if extras is None:
            return
        outputs, changes, told, rebound = extras
        self._told += told
        for name in rebound:
            self.kept.pop(name, None)
        if "output" in self._wishes:
            for text, stream in zip(outputs, (sys.stdout, sys.stderr), strict=True):
                if type(text) is str and text:
                    stream.write(text)
        if self._folder:
            self._folder.apply(changes)

    # Whether the tests have used the code under test

    def note_found(self, name: str, value: Any) -> None:
        """The tests have got a name of the candidate's. A function is used when something is done with it, a class by
        being named: `raises(Error)` asks the candidate nothing."""
        self.found += 1
        if name == self.entry_name and not self._entry_used:
            self._entry_number = None if isinstance(value, type) else remote.number_of(value)
            self._entry_used = self._entry_number is None

    def number_of(self, value: Any) -> int:
        """The number of an object of the candidate's that is sent back to it, which is how one is used."""
        number = super().number_of(value)
        if number == self._entry_number:
            self._entry_used = True
        return number

    def unused_entry(self) -> str | None:
        """The entry point's name, if the tests have not used it; MISSING, if the candidate has none."""
        if not self.entry_name or self._entry_used:
            return None
        return MISSING if self.request("name", self.entry_name)[0] == "missing" else self.entry_name

    def name_of_function(self, value: Any) -> str | None:
        """Any function of the standard library: the candidate has its own."""
        return super().name_of_function(value) or vocabulary.function_name(value)

    # Values of the candidate in the hands of the tests

    def guard(self, special: str, forward: Callable, instead: Callable | None, plain: type | None) -> Callable:
        """What is asked of the candidate's objects, and what is not; see `_guarded`."""
        if special in ("__exit__", "__aexit__"):
            return _leaving(forward) if special == "__exit__" else _leaving_later(forward)
        if plain is not None and issubclass(plain, BaseException):
            return forward
        return _guarded(special, forward, instead)

    def overrides(self, kind: type) -> bool:
        """Only a class that the tests name may do otherwise than the builtin class that it derives from."""
        return getattr(kind, NAMED, False) or issubclass(kind, BaseException)

    def plain_method(self, value: Any, name: str, home: type, plain: Any) -> Callable:
        """A method of a class that is not named: what the builtin class does, if the candidate's does the same."""
        method = remote.Method(value, name, home)

        def theirs(_: Any, *args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return functools.partial(agreement.agreed, name, theirs, plain, value)

    def guard_identity(self, special: str, forward: Callable, instead: Callable) -> Callable:
        """Equality, hash and truth of a class that derives from a builtin one are that one's, and must be its own."""
        return agreement.identity(special, forward, instead)

    def truth(self, handle: Handle) -> bool:
        """An object is true, unless it is empty and of a class that the tests name. TypeError for one that says
        otherwise of itself, since CPython would go by that."""
        kind = type(handle)
        sized = remote.has_special(kind, "__len__")
        true = len(handle) != 0 if sized and getattr(kind, NAMED, False) else True
        special = "__bool__" if kind._forge_truth else "__len__" if sized else None
        if special and bool(self.request("special", handle, special, (), (), None)) != true:
            raise refusal(f"an object of the solution has a {special} that does not count, and says otherwise")
        return true

    def hashed(self, handle: Handle) -> int:
        """Equal objects have equal hashes; TypeError for those that have equality and no hash, and where equal ones
        have unequal hashes by their class."""
        kind = type(handle)
        if kind._forge_equality and not kind._forge_hash:
            raise TypeError(f"unhashable type: '{kind.__name__}'")
        found = hash(self.request("state", handle)) if kind._forge_equality else super().hashed(handle)
        if kind._forge_hash:
            told = self.request("special", handle, "__hash__", (), (), None)
            if type(told) is not int or self._hashes.setdefault((kind, found), told) != told:
                raise refusal("equal objects of the solution have unequal hashes")
        return found

    def derive(self, name: str, bases: tuple, namespace: dict, options: dict) -> type:
        """A class of the tests that derives from one of the candidate's: made there, of functions that stay here."""
        if options or any(remote.number_of(base) is None for base in bases):
            raise TypeError(f"class {name} cannot derive from a class of the solution in this way")
        members = tuple(_member(key, value) for key, value in namespace.items() if key not in CLASS_NAMES)
        made = self.request("derive", name, bases, members)
        type.__setattr__(made, NAMED, True)
        return made

    def note_swallowed(self, error: BaseException, trace: Any) -> None:
        """Count an error that a `with` block of the tests has swallowed together with assertions of the block."""
        line = trace.tb_lineno if trace is not None else 0
        if any(first <= line <= last and line <= end for first, end, last in self._guarded):
            self.failed[id(error)] = error

    def to_tell(self, error: BaseException) -> BaseException:
        """An assertion that fails in a callback counts, whatever the candidate makes of it."""
        if isinstance(error, AssertionError) or type(error).__name__ == "Failed" or self._in_assertion(error):
            self.failed[id(error)] = error
        return error

    def _in_assertion(self, error: BaseException) -> bool:
        """Whether it was raised where an assertion of the tests was being worked out."""
        lines = [tb.tb_lineno for tb in _frames(error) if tb.tb_frame.f_code.co_filename == "tests.py"]
        return any(first <= line <= last for line in lines for first, last in self._assertions)

    def to_raise(self, value: Any) -> BaseException:
        """One that comes back counts where it is raised."""
        self.failed.pop(id(value), None)
        return super().to_raise(value)

    def equal(self, handle: Handle, other: object) -> Any:
        """Never a matter of the candidate's `__eq__` alone: two objects of one class that has equality of its own are
        equal where their attributes are, and TypeError where `__eq__` says otherwise; all others are equal to
        themselves alone."""
        own = type(handle)._forge_equality
        if remote.number_of(other) is not None and not isinstance(other, type):
            same = handle is other or (own and type(handle) is type(other) and self._alike(handle, other))
            if own and says_equal(self._ask(handle, "__eq__", other)) != same:
                raise refusal("objects of the solution that are equal by their __eq__ or their attributes, not both")
            return same
        if own:
            state = self.request("state", handle)
            agreement.expect_unequal(other, lambda value: says_equal(self._ask(handle, "__eq__", value)), state)
            if type(other).__module__ == "test_task" and type(type(other)) is type and not isinstance(other, type):
                agreement.expect_unequal(
                    None, lambda _: says_equal(self._ask(handle, "__eq__", object.__new__(type(other))))
                )
        if type(other).__module__ in ("builtins", "collections", "decimal", "fractions", "datetime"):
            return False
        return NotImplemented

    def unequal(self, handle: Handle, other: object, equal: Any) -> Any:
        """The contrary of equality; TypeError where the class's own `__ne__` says otherwise."""
        found = super().unequal(handle, other, equal)
        if type(handle)._forge_inequality:
            if remote.number_of(other) is None:
                agreement.expect_unequal(other, lambda value: self._differs_not(handle, value))
            elif found is not NotImplemented and bool(self._ask(handle, "__ne__", other)) != found:
                raise refusal("an object of the solution has a __ne__ that is not the contrary of its __eq__")
        return found

    def _differs_not(self, handle: Handle, other: Any) -> bool:
        """Whether an object says by its `__ne__` that it equals another one."""
        told = self._ask(handle, "__ne__", other)
        return told is not NotImplemented and not told

    def _alike(self, handle: Handle, other: Any) -> bool:
        """Whether two objects hold the same attributes, and any."""
        ours, theirs = self.request("state", handle), self.request("state", other)
        return type(ours) is tuple and bool(ours) and ours == theirs

    def _ask(self, handle: Handle, special: str, *args: Any) -> Any:
        return self.request("special", handle, special, args, (), None)

    # What the candidate may ask

    def _expect_given(self, target: Any) -> None:
        if id(target) not in self._export_numbers:
            raise ProtocolError("nothing that the tests gave")

    def _attribute(self, target: Any, name: Any) -> Any:
        self._expect_given(target)
        if type(name) is not str or isinstance(target, CLOSED) or (_is_mock(target) and hasattr(type(target), name)):
            raise AttributeError("not for a candidate")
        if name in ("__signature__", "__code__") and isinstance(target, types.FunctionType):
            return describe.signature(target, defaults=False) if name == "__signature__" else _Code(target)
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

    def serve_method(self, target: Any, name: str, args: tuple, kwargs: tuple, _home: Any) -> Any:
        """Call a public method; those of generators are known."""
        if isinstance(target, types.GeneratorType) and name in ("send", "throw", "close"):
            self._expect_given(target)
            return getattr(target, name)(*args)
        return self._attribute(target, name)(*args, **named(kwargs))

    def serve_method_attribute(self, target: Any, name: str, attribute: str) -> Any:
        """An attribute of a method."""
        raise AttributeError(attribute)

    def serve_special(self, target: Any, name: str, args: tuple, kwargs: tuple, _home: Any) -> Any:
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
        fixed = _is_mock(target) or isinstance(target, (type, types.FunctionType, types.MethodType, *CLOSED))
        if type(name) is not str or name.startswith("_") or fixed or callable(getattr(target, name, None)):
            raise AttributeError(f"attribute {str(name)[:100]!r} is not a candidate's to change")

    def serve_members(self, target: Any) -> tuple:
        """The members of an enumeration of the tests."""
        return tuple(self._enumeration(target))

    def serve_item(self, target: Any, key: Any) -> Any:
        """One of them by its name."""
        return self._enumeration(target)[key]

    def serve_length(self, target: Any) -> int:
        """How many there are."""
        return len(self._enumeration(target))

    def _enumeration(self, target: Any) -> Any:
        self._expect_given(target)
        if not isinstance(target, enum.EnumType):
            raise TypeError(f"'{type(target).__name__}' object is not iterable")
        return target

    def serve_next(self, target: Any, _count: int) -> tuple:
        """One value of an iterator that the tests gave."""
        self._expect_given(target)
        try:
            return (next(target),), None
        except StopIteration as end:
            return (), end

    def serve_run(self, target: Any) -> Any:
        """Run a coroutine of the tests to its end."""
        self._expect_given(target)
        return run_coroutine(target)

    def serve_step(self, target: Any, value: Any) -> Any:
        """The next value of an asynchronous generator of the tests."""
        self._expect_given(target)
        return run_coroutine(target.asend(value))

    def serve_throw_later(self, target: Any, error: BaseException) -> Any:
        """Raise an error in an asynchronous generator of the tests; its next value."""
        self._expect_given(target)
        return run_coroutine(target.athrow(error))

    def serve_close_later(self, target: Any) -> None:
        """End an asynchronous generator of the tests."""
        self._expect_given(target)
        return run_coroutine(target.aclose())

    def serve_replaced(self, name: str) -> bool:
        """Whether the tests have put another function in the place of one of the library, which they may do."""
        return self._replacement(name) is not None

    def serve_library(self, name: str, args: tuple, kwargs: tuple) -> Any:
        """Call such a function; one of the library itself is never called here, where the tests are."""
        function = self._replacement(name)
        if function is None:
            raise ProtocolError("no function of the tests")
        return function(*args, **named(kwargs))

    def _replacement(self, name: Any) -> Any:
        if type(name) is not str or name not in self._library:
            raise ProtocolError("no function of the tests")
        found = _of_library(name)
        return None if found is self._library[name] else found

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


def _tell_also(module: types.ModuleType, name: str, tell: Callable) -> None:
    """Let a function of a library be followed by a word to the candidate's side."""
    function = getattr(module, name)

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        found = function(*args)
        tell(*args)
        return found

    setattr(module, name, call)


def _of_library(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _is_mock(value: Any) -> bool:
    """Whether it is of unittest.mock: what such an object has been told and has seen is the tests'."""
    return any(base.__module__ == "unittest.mock" for base in type(value).__mro__)


def _is_every_failure(value: Any) -> bool:
    """Whether `except` with such a value, or one in it, would catch a failing assertion."""
    if isinstance(value, tuple):
        return any(map(_is_every_failure, value))
    return isinstance(value, type) and value in (AssertionError, Exception, BaseException)


def _is_theirs(value: Any) -> bool:
    return isinstance(type(value), RemoteClass)


def _frames(error: BaseException) -> Any:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _may_stop(operation: str, values: tuple, error: BaseException) -> bool:
    """Whether an answer may end an iteration of the judge's; elsewhere that would end a loop over the tests."""
    if operation in ("next", "step", "throw_later"):
        return True
    if operation == "run":  # `__anext__` may be a coroutine
        return isinstance(error, StopAsyncIteration)
    return operation in ("method", "special") and values[1] in STEPS


def _guarded(special: str, forward: Callable, instead: Callable | None) -> Callable:
    """A special method of a class of the candidate's, `instead` being that of the builtin class it derives from.

    Of a class that the tests do not name only what any container, function or text does is asked; what its builtin base
    has an answer to is answered by that, and must be the candidate's answer as well: such an object came where a plain
    value was expected.
    """

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not getattr(type(self), NAMED, False):
            if instead is not None and special != "__repr__":
                return agreement.agreed(special, forward, instead, self, *args, **kwargs)
            if special == "__len__" and any(remote.has_special(type(self), name) for name in ELEMENTS):
                return _counted(self, forward)
            if special == "__iter__":
                return _elements(self, forward)
            if special not in ASKED_OF_ALL:
                return _refused(special, forward, self, args)
        elif special in ARITHMETIC or special in ORDER:
            return _between(special, forward, instead, self, args)
        result = forward(self, *args, **kwargs)
        if special == "__len__" and remote.has_special(type(self), "__iter__"):
            _expect_elements(self, result)
        return result

    return method


def _elements(self: Any, forward: Callable) -> Any:
    """An iterator over the elements: those that `_counted` has just fetched, which are given out once, or new ones."""
    mine = remote.own(self)
    party = mine[remote.PARTY]
    stamp, kept, fresh = mine.get(LOOKED, (None, (), False))
    if fresh and stamp == party.requests:
        mine[LOOKED] = (stamp, kept, False)
        return iter(kept)
    begun = forward(self)
    if remote.number_of(begun) is not None:
        remote.own(begun)[remote.AHEAD] = remote.Ahead()
    first = list(itertools.islice(begun, LOOK_LIMIT))
    if len(first) == LOOK_LIMIT:
        return itertools.chain(first, begun)
    mine[LOOKED] = (party.requests, first, False)
    return iter(first)


def _counted(self: Any, forward: Callable) -> int:
    """The length, which must be the number of elements that there are to compare: those of the last iteration, where
    the candidate has done nothing since, or of one more."""
    mine = remote.own(self)
    party = mine[remote.PARTY]
    stamp, kept, fresh = mine.get(LOOKED, (None, (), False))
    known = stamp == party.requests
    told = forward(self)
    if not known:
        kept, fresh = list(iter(self)), True
    mine[LOOKED] = (party.requests, kept, fresh)
    return agreement.expect(told == len(kept), "__len__", len(kept))


def _expect_elements(self: Any, count: Any) -> None:
    """TypeError for an object that has fewer elements to compare than it says."""
    if type(count) is int and not remote.has_special(type(self), "__next__"):
        found = sum(1 for _ in itertools.islice(iter(self), max(count, 0)))
        if found < count:
            raise refusal(f"an object that says it has {count} elements has {found}")


def _refused(special: str, forward: Callable, self: Any, args: tuple) -> Any:
    if special == CONTAINS:
        return any(element is args[0] or element == args[0] for element in self)
    if special in ORDER:
        return _unasked(special, forward, self, args[0])
    if special in ARITHMETIC:
        return _unasked(special, forward, self, *args)
    raise refusal(f"an object of the solution has no {special} that is asked")


def _unasked(special: str, forward: Callable, self: Any, other: Any, *more: Any) -> Any:
    """NotImplemented, for what an object is not asked. Where it would have had an answer, to another object or to other
    values of that kind, the error that Python makes of it must not be taken for the solution's."""
    values = (other,) if _is_theirs(other) else agreement.DECOYS.get(type(other), ())
    for value in values:
        try:
            told = forward(self, value, *more)
        except TypeError:
            continue
        if told is not NotImplemented:
            refusal(f"an object of the solution has a {special} that is not asked")
            break
    return NotImplemented


def _between(special: str, forward: Callable, instead: Callable | None, self: Any, args: tuple) -> Any:
    """Arithmetic and order of an object with another one, or with a value of the tests."""
    theirs = bool(args) and _is_theirs(args[0])
    if special in ORDER:
        if theirs or not args:
            return forward(self, *args)
        return instead(self, *args) if instead else _unasked(special, forward, self, *args)
    result = forward(self, *args)
    if args and not theirs and isinstance(result, numbers.Number) and remote.number_of(result) is None:
        raise refusal("an object of the solution and a number of the tests cannot make a number")
    return result


def _leaving(forward: Callable) -> Callable:
    """`__exit__`: a context manager of the candidate's swallows no assertion of the tests."""

    def leave(self: Any, kind: Any, error: Any, trace: Any) -> bool:
        return _swallow(self, forward(self, kind, error, trace), error, trace)

    return leave


def _leaving_later(forward: Callable) -> Callable:
    async def leave(self: Any, kind: Any, error: Any, trace: Any) -> bool:
        return _swallow(self, await forward(self, kind, error, trace), error, trace)

    return leave


def _swallow(self: Any, wanted: Any, error: Any, trace: Any) -> bool:
    """Whether a candidate's wish to swallow an error is granted; the judge notes the assertions that are lost by it."""
    if not isinstance(error, Exception) or isinstance(error, AssertionError) or not wanted:
        return False
    remote.own(self)[remote.PARTY].note_swallowed(error, trace)
    return True


def _member(key: str, value: Any) -> tuple[str, str, Any]:
    if isinstance(value, types.FunctionType):
        return key, "function", value
    if isinstance(value, staticmethod | classmethod):
        return key, "static" if isinstance(value, staticmethod) else "class", value.__func__
    if isinstance(value, property):
        return key, "property", (value.fget, value.fset, value.fdel)
    return key, "value", value


class _Code:
    """What of a function's code object a candidate may know."""

    def __init__(self, function: types.FunctionType) -> None:
        code = function.__code__
        self.co_argcount, self.co_kwonlyargcount = code.co_argcount, code.co_kwonlyargcount
        self.co_varnames = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        self.co_name, self.co_flags = code.co_name, code.co_flags


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
            if name in STANDARD and (self.entry_point or name not in ALSO_CLASSES):
                return STANDARD[name]()
        kind, value = self.look_up(name)
        if kind == "missing":
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or self.get(name, MISSING) is not MISSING

    def get(self, name: Any, default: Any = None) -> Any:
        """As a dict's; tests ask `globals()` so."""
        try:
            return self[name]
        except KeyError:
            return default

    def copy(self) -> "Names":
        """As a dict's, for who runs code with names of its own, as doctest does."""
        return self.child()

    def look_up(self, name: str) -> tuple[str, Any]:
        """(kind, value) of a name of the candidate's module; functions and classes are kept until it says that the
        name has come to mean something else."""
        if name in self.peer.kept:
            return "value", self.peer.kept[name]
        kind, value = self.peer.request("name", name)
        if kind == "module":
            return (kind, __import__(value, fromlist=["_"])) if _is_library(value) else ("missing", None)
        if kind != "missing":
            self.peer.note_found(name, value)
        if isinstance(value, RemoteClass) and (name in self.peer.classes or name.lstrip("_")[:1].isupper()):
            type.__setattr__(value, NAMED, True)
        if remote.number_of(value) is not None and callable(value):
            self.peer.kept[name] = value
        return kind, value


class Builtins(dict):
    """The builtin names, and behind these the candidate's. The body of a class looks its names up in itself, in the
    global names, passing `Names.__missing__` by, and here."""

    def __init__(self, names: Names) -> None:
        super().__init__(vars(builtins))
        self._names = names

    def __missing__(self, name: str) -> Any:
        return self._names[name]


def _is_library(name: Any) -> bool:
    """Whether a module's name is one of the standard library or of a package that tests may import."""
    top = name.split(".")[0] if type(name) is str else ""
    packages = os.environ.get("PYTHONPATH", "")
    return top in sys.stdlib_module_names or (top.isidentifier() and os.path.exists(os.path.join(packages, top)))


def _from(module: str, name: str) -> Callable[[], Any]:
    return lambda: getattr(__import__(module), name)


MATH = ("isclose", "fabs", "isnan", "isinf", "sqrt", "ceil", "floor", "factorial", "gcd", "pi", "inf", "nan")
# What tests compare with. Those that use these without a word of where they come from do not get the candidate's.
STANDARD: dict[str, Callable[[], Any]] = {
    name: (lambda name=name: __import__(name))
    for name in (
        *("math", "re", "copy", "itertools", "functools", "operator", "collections"),
        *("random", "string", "datetime", "json", "sys", "os", "pytest"),
    )
}
STANDARD.update({name: _from("math", name) for name in MATH})
STANDARD.update({"deepcopy": _from("copy", "deepcopy"), "approx": _from("pytest", "approx")})
ALSO_CLASSES = ("Counter", "OrderedDict", "defaultdict", "deque")  # where there is no entry point, a task may want them
STANDARD.update({name: _from("collections", name) for name in ALSO_CLASSES})
STANDARD.update({"Decimal": _from("decimal", "Decimal"), "Fraction": _from("fractions", "Fraction")})


class Solution(types.ModuleType):
    """The candidate's module as tests see it."""

    def __init__(self, names: Names) -> None:
        super().__init__("solution")
        types.ModuleType.__setattr__(self, "_forge_names", names)
        types.ModuleType.__setattr__(self, "_forge_originals", {})

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            told = [name for name in self._forge_names.peer.request("names") if type(name) is str]
            return [name for name in told if name not in STANDARD and not hasattr(builtins, name)]
        if name.startswith("__"):
            raise AttributeError(name)
        kind, value = Names(self._forge_names.peer, None, {}).look_up(name)
        if kind == "missing":
            raise AttributeError(f"module 'solution' has no attribute '{name}'")
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            types.ModuleType.__setattr__(self, name, value)
            return
        if name not in self._forge_originals:
            self._forge_originals[name] = getattr(self, name, MISSING)
        self._rename(name, value)

    def __delattr__(self, name: str) -> None:
        """What was set is taken back: patches look for what was there in `__dict__`, and delete what was not."""
        original = self._forge_originals.pop(name, MISSING)
        if original is MISSING:
            self._forge_names.peer.request("unname", name)
        else:
            self._rename(name, original)

    def _rename(self, name: str, value: Any) -> None:
        self._forge_names.peer.request("rename", name, value)
