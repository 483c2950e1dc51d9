"""Mutable builtin containers that two processes hold a copy of each, kept equal while only one of them runs at a time.

A container that is sent to the other process gets a number there and here. Whoever hands control over first tells the
numbers whose contents it has changed. Nothing but the table still holding a container means that nobody can see it
change any more, and its number is given up.

Runs inside the sandbox and imports the standard library alone.
"""

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from itertools import chain
from operator import is_
from typing import Any

import arrays

# The order matters: the first base that fits says how to read and fill an object.
DICTS = (Counter, OrderedDict, defaultdict, dict)
BASES = (list, *DICTS, set, bytearray, deque)
TAGS = {list: "l", dict: "d", Counter: "C", OrderedDict: "O", defaultdict: "D", set: "s", bytearray: "b", deque: "q"}
BASE_OF = {tag: base for base, tag in TAGS.items()}
ARRAY = "a"  # the tag of NumPy's arrays, which have no base class here: that is not to be imported


def base_of(kind: type) -> type | None:
    """The builtin container that `kind` is or derives from."""
    if kind in TAGS:
        return kind
    return next((base for base in BASES if issubclass(kind, base)), None)


def _methods_of(base: type) -> type:
    """An OrderedDict keeps an order of its own, which the methods of dict do not know of."""
    return OrderedDict if base is OrderedDict else dict


def contents(value: Any, base: type | None) -> list:
    """What it holds, flat: elements, or keys and values by turns; never through methods of a subclass. `base` is None
    for an array."""
    if base is None:
        return arrays.contents(value)
    if base in DICTS:
        return list(chain.from_iterable(_methods_of(base).items(value)))
    return list(base.__iter__(value))


def fill(value: Any, base: type | None, items: list) -> None:
    """Replace what it holds. ValueError or TypeError for items that such a container cannot hold."""
    if base is None:
        arrays.fill(value, items)
        return
    if base in DICTS:
        of = _methods_of(base)
        of.clear(value)
        for key, item in zip(items[::2], items[1::2], strict=True):
            of.__setitem__(value, key, item)
    elif base is list:
        list.__setitem__(value, slice(None), items)
    elif base is bytearray:
        bytearray.__setitem__(value, slice(None), bytes(items))
    else:
        base.clear(value)
        for item in items:
            (set.add if base is set else deque.append)(value, item)


UNSEEN = object()


class Mirror:
    """One shared container: the object here, and what it held when both sides were last equal."""

    __slots__ = ("base", "object", "pinned", "seen")

    def __init__(self, value: Any, pinned: bool) -> None:
        self.object, self.pinned = value, pinned
        self.base = base_of(type(value))
        self.seen = contents(value, self.base)

    def changed(self) -> list | None:
        """The contents where they are not what they were."""
        now = contents(self.object, self.base)
        alike = arrays.same(now, self.seen) if self.base is None else all(map(is_, now, self.seen))
        if len(now) == len(self.seen) and alike:
            return None
        self.seen = now
        return now

    def replace(self, items: list) -> None:
        """Take over what the other side has made of it."""
        fill(self.object, self.base, items)
        self.seen = contents(self.object, self.base)


class Mirrors:
    """All shared containers of one side. Numbers made here are `first`, `first` + 2, ...; the other side's the rest."""

    def __init__(self, first: int) -> None:
        self.table: dict[int, Mirror] = {}
        self.numbers: dict[int, int] = {}
        self._next = first

    def number(self, value: Any) -> int | None:
        """The number of a container that is shared already."""
        return self.numbers.get(id(value))

    def share(self, value: Any, pinned: bool = False) -> int:
        """A new number; `pinned`: the other side may need the object even when nothing here holds it."""
        number, self._next = self._next, self._next + 2
        self.adopt(number, value, pinned)
        return number

    def adopt(self, number: int, value: Any, pinned: bool = False) -> None:
        """Enter a container under a number that the other side has made."""
        if number in self.table:
            raise ValueError("a number twice")
        self.table[number] = Mirror(value, pinned)
        self.numbers[id(value)] = number

    def forget(self, numbers: Iterable[int]) -> None:
        """Numbers that the other side has given up."""
        for number in numbers:
            mirror = self.table.pop(number, None)
            if mirror is not None:
                del self.numbers[id(mirror.object)]

    def changes(self) -> list[tuple[int, list]]:
        """(number, contents) of all that changed here since both sides were equal."""
        return [(number, now) for number, mirror in self.table.items() if (now := mirror.changed()) is not None]

    def doubt(self, numbers: Iterable[int]) -> None:
        """The other side has not been told of these changes."""
        for number in numbers:
            if number in self.table:
                self.table[number].seen = [UNSEEN]

    def release(self) -> list[int]:
        """Give up what nothing else here holds; call when nothing of a message is in local variables any more."""
        free = [
            number
            for number, mirror in self.table.items()
            if not mirror.pinned and sys.getrefcount(mirror.object) <= UNHELD
        ]
        self.forget(free)
        return free


def _references_of_unheld() -> int:
    probe = Mirrors(0)
    probe.adopt(0, [], pinned=True)
    return next(iter([sys.getrefcount(mirror.object) for _, mirror in probe.table.items()]))


UNHELD = _references_of_unheld()
