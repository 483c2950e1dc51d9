"""What the synthetic tasks are made of: steps and final operations on a list of ints or a string, as functions.

Only meaning lives here; `english.py` words the operations and `python.py` writes them as code, so that a task in
another language is one more renderer. Every operation is total: an empty list or string has a result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

Constant = int | str | tuple[str, str] | None
LETTERS = ("a", "e", "n", "o", "t")
SWAPS = (("a", "o"), ("e", "a"), ("n", "m"), ("o", "u"), ("s", "z"), ("t", "d"))


@dataclass(frozen=True, slots=True)
class Kind:
    """An operation without its constant. `apply(value, constant)` returns the next value."""

    name: str
    apply: Callable[[Any, Any], Any]
    constants: tuple[Constant, ...] = (None,)


@dataclass(frozen=True, slots=True)
class Operation:
    """A kind with its constant."""

    kind: Kind
    constant: Constant

    def __call__(self, value: Any) -> Any:
        return self.kind.apply(value, self.constant)

    def __str__(self) -> str:
        return self.kind.name if self.constant is None else f"{self.kind.name} {self.constant!r}"


@dataclass(frozen=True, slots=True)
class Category:
    """The kinds of steps and of final operations that fit one type of argument."""

    name: str
    steps: tuple[Kind, ...]
    finals: tuple[Kind, ...]


LIST = Category(
    "list",
    steps=(
        Kind("add", lambda xs, k: [x + k for x in xs], tuple(range(1, 10))),
        Kind("subtract", lambda xs, k: [x - k for x in xs], tuple(range(1, 10))),
        Kind("multiply", lambda xs, k: [x * k for x in xs], (3, 4, 5, 6)),
        Kind("double", lambda xs, _: [x * 2 for x in xs]),
        Kind("square", lambda xs, _: [x * x for x in xs]),
        Kind("negate", lambda xs, _: [-x for x in xs]),
        Kind("absolute", lambda xs, _: [abs(x) for x in xs]),
        Kind("modulo", lambda xs, k: [x % k for x in xs], (3, 4, 5, 6, 7)),
        Kind("take_first", lambda xs, k: xs[:k], (2, 3, 4, 5, 6)),
        Kind("take_last", lambda xs, k: xs[-k:], (2, 3, 4, 5, 6)),
        Kind("drop_first", lambda xs, k: xs[k:], (2, 3, 4)),
        Kind("drop_last", lambda xs, k: xs[:-k], (2, 3, 4)),
        Kind("reverse", lambda xs, _: xs[::-1]),
        Kind("sort_up", lambda xs, _: sorted(xs)),
        Kind("sort_down", lambda xs, _: sorted(xs, reverse=True)),
        Kind("positive", lambda xs, _: [x for x in xs if x > 0]),
        Kind("greater", lambda xs, k: [x for x in xs if x > k], (2, 3, 4, 5, 6, 7, 8, 9)),
        Kind("less", lambda xs, k: [x for x in xs if x < k], (2, 3, 4, 5, 6, 7, 8, 9)),
        Kind("even", lambda xs, _: [x for x in xs if x % 2 == 0]),
        Kind("odd", lambda xs, _: [x for x in xs if x % 2 == 1]),
        Kind("every_second", lambda xs, _: xs[::2]),
    ),
    finals=(
        Kind("itself", lambda xs, _: xs),
        Kind("sum", lambda xs, _: sum(xs)),
        Kind("minimum", lambda xs, _: min(xs, default=0)),
        Kind("maximum", lambda xs, _: max(xs, default=0)),
        Kind("length", lambda xs, _: len(xs)),
        Kind("first", lambda xs, _: xs[0] if xs else 0),
        Kind("last", lambda xs, _: xs[-1] if xs else 0),
    ),
)

STRING = Category(
    "string",
    steps=(
        Kind("upper", lambda s, _: s.upper()),
        Kind("lower", lambda s, _: s.lower()),
        Kind("swap_case", lambda s, _: s.swapcase()),
        Kind("reverse", lambda s, _: s[::-1]),
        Kind("take_first", lambda s, k: s[:k], (2, 3, 4, 5, 6)),
        Kind("take_last", lambda s, k: s[-k:], (2, 3, 4, 5, 6)),
        Kind("drop_first", lambda s, k: s[k:], (2, 3, 4)),
        Kind("drop_last", lambda s, k: s[:-k], (2, 3, 4)),
        Kind("every_second", lambda s, _: s[::2]),
        Kind("sort", lambda s, _: "".join(sorted(s))),
        Kind("replace", lambda s, k: s.replace(k[0], k[1]), SWAPS),
        Kind("remove", lambda s, k: s.replace(k, ""), LETTERS),
        Kind("append", lambda s, k: s + k, ("b", "x", "y", "!", "-")),
        Kind("prepend", lambda s, k: k + s, ("b", "x", "y", "!", "-")),
        Kind("repeat", lambda s, k: s * k, (2, 3, 4)),
    ),
    finals=(
        Kind("itself", lambda s, _: s),
        Kind("length", lambda s, _: len(s)),
        Kind("count", lambda s, k: s.count(k), LETTERS),
        Kind("distinct", lambda s, _: len(set(s))),
        Kind("first", lambda s, _: s[:1]),
    ),
)

CATEGORIES = (LIST, STRING)


@dataclass(frozen=True, slots=True)
class Program:
    """One to three steps and a final operation: what a task asks for."""

    category: Category
    steps: tuple[Operation, ...]
    final: Operation

    def __call__(self, value: Any) -> Any:
        for step in self.steps:
            value = step(value)
        return self.final(value)

    def __str__(self) -> str:
        """The sequence with its constants: the same text for the same program, whatever its wording."""
        return f"{self.category.name}: {', '.join(map(str, self.steps))} -> {self.final}"


@cache
def _expanded(kinds: tuple[Kind, ...]) -> tuple[Operation, ...]:
    return tuple(Operation(kind, constant) for kind in kinds for constant in kind.constants)


def step_operations(category: Category) -> tuple[Operation, ...]:
    """Every step of a category with every constant."""
    return _expanded(category.steps)


def final_operations(category: Category) -> tuple[Operation, ...]:
    """Every final operation of a category with every constant."""
    return _expanded(category.finals)
