"""Objects of the candidate's that derive from a builtin class and were expected to be plain: their methods.

CPython would go by the candidate's override, which a judge cannot trust; the builtin method, which it can trust, may
hide that the override is wrong. So both are asked, and where they differ the test fails.

Runs inside the sandbox and imports the standard library alone.
"""

import collections
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import mirrors

LOOK_LIMIT = 100_000  # elements of an iterator that are compared
STATE_LIMIT = 8  # of an object's own values, which its equality is tried on
# Values by their type that a candidate's equality is tried on in place of what its object is compared with.
DECOYS: dict[type, tuple] = {
    **{type(None): (None,), bool: (True, False), int: (-86028121, 86028157), float: (-0.7548776662, 1324717.957)},
    **{str: ("", "\x00forge"), bytes: (b"", b"\x00forge"), list: ([], [None, [None]]), tuple: ((), (None, (None,)))},
    **{dict: ({}, {None: None}), set: (set(), {None}), frozenset: (frozenset(), frozenset({None}))},
}


# Errors that are the judge's and not the solution's, by their ids: the tests fail also where they catch one.
refusals: dict[int, BaseException] = {}


def refusal(message: str, kind: type[Exception] = TypeError) -> Exception:
    """An error to raise in the place of an answer that does not count; tests that expect an error must not take it for
    the solution's."""
    error = kind(message)
    refusals[id(error)] = error
    return error


def agreed(name: str, theirs: Callable, ours: Callable, value: Any, *args: Any, **kwargs: Any) -> Any:
    """What method `name` of `value` gives, by the builtin class (`ours`) and by the candidate's (`theirs`) alike.

    Raises what the candidate's raises, else what the builtin one raises; TypeError where they differ in the result or
    in what they make of a container.
    """
    base = mirrors.base_of(type(value))
    twin = value if base is None else _copy(value, base)
    error = expected = None
    try:
        expected = ours(twin, *args, **kwargs)
        expected = list(itertools.islice(expected, LOOK_LIMIT)) if isinstance(expected, Iterator) else expected
    except Exception as raised:
        error = raised
    found = theirs(value, *args, **kwargs)
    if error is not None:
        raise error
    if base is not None:
        expect(mirrors.contents(value, base) == mirrors.contents(twin, base), name, None)
    if expected is twin:
        return expect(found is value, name, value)
    if type(expected) is list and isinstance(found, Iterator):
        return iter(expect(list(itertools.islice(found, LOOK_LIMIT)) == expected, name, expected))
    return expect([found] == [expected] or repr(found) == repr(expected) == "nan", name, expected)


def identity(special: str, theirs: Callable, ours: Callable) -> Callable:
    """The special method `__eq__`, `__ne__`, `__hash__` or `__bool__` that answers as the builtin class does, with a
    TypeError where the candidate's own says otherwise. What a value is compared with is not told unless it is equal."""

    def alone(self: Any) -> Any:
        return expect(theirs(self) == ours(self), special, ours(self))

    def compared(self: Any, other: Any) -> Any:
        found = ours(self, other)
        if found is (special == "__eq__"):
            told = theirs(self, other)
            expect(told is NotImplemented or bool(told) is found, special, None)
        else:
            expect_unequal(other, lambda value: _differs(special, theirs(self, value), ours(self, value)))
        return found

    return compared if special in ("__eq__", "__ne__") else alone


def _differs(special: str, told: Any, found: Any) -> bool:
    """Whether a candidate takes for equal what is not."""
    equal = special == "__eq__"
    return found is not equal and told is not NotImplemented and bool(told) is equal


def says_equal(told: Any) -> bool:
    """Whether an answer of a candidate's `__eq__` stands for equality: whatever is true does."""
    return told is not NotImplemented and bool(told)


def expect_unequal(value: Any, takes_for_equal: Callable[[Any], bool], state: Any = ()) -> None:
    """TypeError where a candidate takes its object for equal to values that it is not equal to: others of the kind of
    `value`, which is what it is compared with and must not learn, among them those that it holds itself (`state`: pairs
    of a name and a value). Raises what asking raises."""
    held = [pair[1] for pair in state if type(pair[1]) is type(value) and type(value) in DECOYS][:STATE_LIMIT]
    for other in (*DECOYS.get(type(value), ()), *held):
        if takes_for_equal(other):
            raise refusal("an object of the solution says that it equals a value that it does not equal")


def expect(same: bool, name: str, value: Any) -> Any:
    """`value`; TypeError unless the candidate and the judge have found the same."""
    if not same:
        raise refusal(f"an object of the solution has a {name} that does not go with what it holds")
    return value


def _copy(value: Any, base: type) -> Any:
    """A plain container with the same contents."""
    if base is collections.deque:
        twin: Any = collections.deque(maxlen=value.maxlen)
    else:
        twin = base()
    if base is collections.defaultdict:
        twin.default_factory = value.default_factory
    mirrors.fill(twin, base, mirrors.contents(value, base))
    return twin
