"""Values as JSON: what crosses between a judge and a candidate's process, each distrusting the other.

A value is an item: a JSON scalar stands for itself, `[n]` for node n of the message's table. Nodes are lists, flat, so
that neither depth nor cycles matter to the parser; an immutable one names only nodes before it. Exact builtin values
are copied; everything else stays where it is, and a handle crosses. Nothing that arrives is evaluated or imported.

| node                         | value                                                                        |
|------------------------------|------------------------------------------------------------------------------|
| [t, items], [f, items]       | tuple, frozenset                                                             |
| [TAG, number, items, class, extra] | a mutable container of mirrors.TAGS; `class` null, or of a subclass    |
| [m, number]                  | a container that both sides have                                             |
| [i, hex], [y, base64]        | a large int, bytes                                                           |
| [c, name, items]             | a value made by a constructor of CONSTRUCTED                                 |
| [k, name, item]              | a view of a dict                                                             |
| [T, name], [F, name]         | a type, a function by name                                                   |
| [K, number, ...], [K, number] | a class of the sender, described the first time                             |
| [h, number, class, base]     | an object of the sender; `base` is its builtin content, or null              |
| [e, number, class, items, text, cause] | an exception of the sender                                         |
| [r, number]                  | an object of the receiver                                                    |

Runs inside the sandbox and imports the standard library alone.
"""

import base64
import builtins
import collections
import datetime
import decimal
import fractions
import functools
import io
import itertools
import json
import math
import operator
import os
import pathlib
import re
import socket
import sys
import types
import uuid
from collections.abc import Callable
from typing import Any

import mirrors

MESSAGE_LIMIT = 64 << 20  # bytes
DEPTH_LIMIT = 400  # of immutable values, whose hash is computed by recursion in C
ATOMS = frozenset({int, float, str, bool, type(None)})
INT_BITS = 4096  # a longer int crosses in hexadecimal digits, which cost less
NOT_ATOMS = frozenset({list, dict})  # as json.loads gives them
VALUES = (bool, int, float, complex, str, bytes, tuple, frozenset)


class ProtocolError(Exception):
    """What came is no message."""


def _date_parts(value: datetime.date) -> tuple:
    return (value.year, value.month, value.day)


def _time_parts(value: Any) -> tuple:
    return (value.hour, value.minute, value.second, value.microsecond, value.tzinfo, value.fold)


def _make_time(hour: int, minute: int, second: int, micro: int, zone: Any, fold: int) -> datetime.time:
    return datetime.time(hour, minute, second, micro, zone, fold=fold)


def _make_datetime(*parts: Any) -> datetime.datetime:
    return datetime.datetime(*parts[:8], fold=parts[8])


# name: (type, its parts, how to make it of them)
CONSTRUCTED: dict[str, tuple[type, Callable, Callable]] = {
    "complex": (complex, lambda v: (v.real, v.imag), complex),
    "range": (range, lambda v: (v.start, v.stop, v.step), range),
    "slice": (slice, lambda v: (v.start, v.stop, v.step), slice),
    "decimal": (decimal.Decimal, lambda v: (str(v),), decimal.Decimal),
    "fraction": (fractions.Fraction, lambda v: (v.numerator, v.denominator), fractions.Fraction),
    "date": (datetime.date, _date_parts, datetime.date),
    "time": (datetime.time, _time_parts, _make_time),
    "datetime": (datetime.datetime, lambda v: (*_date_parts(v), *_time_parts(v)), _make_datetime),
    "timedelta": (datetime.timedelta, lambda v: (v.days, v.seconds, v.microseconds), datetime.timedelta),
    "timezone": (datetime.timezone, lambda v: (v.utcoffset(None),), datetime.timezone),
    "uuid": (uuid.UUID, lambda v: (v.hex,), uuid.UUID),
    "path": (pathlib.PosixPath, lambda v: (os.fspath(v),), pathlib.PosixPath),
    "purepath": (pathlib.PurePosixPath, lambda v: (os.fspath(v),), pathlib.PurePosixPath),
    "pattern": (re.Pattern, lambda v: (v.pattern, v.flags), re.compile),
    "ellipsis": (types.EllipsisType, lambda v: (), lambda: ...),
    "notimplemented": (types.NotImplementedType, lambda v: (), lambda: NotImplemented),
    "array": (__import__("array").array, lambda v: (v.typecode, v.tobytes()), __import__("array").array),
}
CONSTRUCTOR_OF = {kind: name for name, (kind, _, _) in CONSTRUCTED.items()}
VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}

# Types that both sides name the same way.
_TYPE_MODULES = (builtins, collections, datetime, decimal, fractions, functools, io, itertools, pathlib, types, re, uuid)
TYPE_NAMES: dict[type, str] = {}
for _module in _TYPE_MODULES:
    for _name, _kind in vars(_module).items():
        if isinstance(_kind, type) and not _name.startswith("_"):
            TYPE_NAMES.setdefault(_kind, f"{_module.__name__}.{_name}")
for _made in ([], (), "", b"", set(), {}, range(1)):
    TYPE_NAMES.setdefault(type(iter(_made)), f"iterator.{type(_made).__name__}")
TYPES = {name: kind for kind, name in TYPE_NAMES.items()}

FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)
# Functions that change nothing and may be taken by name from either side.
PURE = {
    f"{module.__name__}.{name}": function
    for module in (math, operator)
    for name, function in vars(module).items()
    if isinstance(function, types.BuiltinFunctionType)
}
PURE.update({f"builtins.{n}": getattr(builtins, n) for n in "abs all any chr divmod len max min ord pow round sum".split()})
PURE_NAMES = {id(function): name for name, function in PURE.items()}


def function_name(value: Any) -> str | None:
    """`module:name` of a function or method of the standard library, where it is there under that name."""
    if not isinstance(value, FUNCTIONS):
        return None
    owner = getattr(value, "__objclass__", None)
    module = getattr(owner or value, "__module__", None)
    name = f"{owner.__qualname__}.{value.__name__}" if owner else getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module.split(".")[0] not in sys.stdlib_module_names:
        return None
    return f"{module}:{name}" if find_function(f"{module}:{name}") is value else None


def find_function(name: str) -> Any:
    """The function of that name, or None; of modules that are loaded already."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def plain_value(value: Any, kind: type) -> Any:
    """An immutable value of a subclass as one of the builtin itself, without asking the subclass."""
    if kind is str:
        return str.__str__(value) if type(value) is str else "".join(str.__iter__(value))
    if kind is tuple:
        return tuple(tuple.__iter__(value))
    if kind is frozenset:
        return frozenset(frozenset.__iter__(value))
    if kind is bytes:
        return bytes(bytes.__iter__(value))
    if kind is complex:
        return complex.__add__(value, 0j)
    return int.__add__(value, 0) if kind is int else float.__add__(value, 0.0) if value == value else math.nan


def all_atoms(values: list) -> bool:
    """Whether each value stands for itself in JSON."""
    kinds = set(map(type, values))
    if not kinds <= ATOMS:
        return False
    if int not in kinds:
        return True
    if len(kinds) == 1:
        return max(values).bit_length() <= INT_BITS and min(values).bit_length() <= INT_BITS
    return all(type(value) is not int or value.bit_length() <= INT_BITS for value in values)


class Packer:
    """Items and nodes of one message. `party` says what crosses as what: see peer.Peer."""

    def __init__(self, party: Any) -> None:
        self.party = party
        self.nodes: list = []
        self._memo: dict[int, int] = {}
        self._kept: list = []  # an id means something only while its object lives
        self._shared: list[int] = []
        self._described: list[type] = []

    def item(self, value: Any) -> Any:
        """The item of a value that is an atom or has been packed; None inside a list stands for neither."""
        if type(value) in ATOMS and not (type(value) is int and value.bit_length() > INT_BITS):
            return value
        number = self._memo.get(id(value))
        return MISSING if number is None else [number]

    def node(self, value: Any, *node: Any) -> list[int]:
        """Add a finished node for `value`."""
        self.nodes.append(list(node))
        self._remember(value, len(self.nodes) - 1)
        return [len(self.nodes) - 1]

    def describe(self, kind: type) -> None:
        """Note that the message describes a class for the first time."""
        self._described.append(kind)

    def undo(self) -> None:
        """The message is not sent: what it would have told is not known there."""
        self.party.mirrors.forget(self._shared)
        for kind in self._described:
            self.party.unexport(kind)

    def forget(self) -> None:
        """Let go of the values that were packed."""
        self._memo.clear()
        self._kept.clear()

    def _remember(self, value: Any, number: int) -> None:
        self._memo[id(value)] = number
        self._kept.append(value)

    def pack(self, root: Any) -> Any:
        """The item of `root`; its nodes, and those of all that it holds, go to `nodes`."""
        stack: list[tuple] = [(root,)]
        while stack:
            task = stack.pop()
            if len(task) > 1:
                self._finish(*task)
            elif self.item(task[0]) is MISSING:
                self._begin(task[0], stack)
        return self.item(root)

    def _begin(self, value: Any, stack: list[tuple]) -> None:
        kind = type(value)
        base = mirrors.base_of(kind)
        if self.party.is_own_back(value):
            self.node(value, "r", self.party.number_of(value))
        elif base is not None:
            self._begin_container(value, kind, base, stack)
        elif kind in (tuple, frozenset):
            self._expand(value, list(value), ("t" if kind is tuple else "f",), None, stack)
        elif kind is bytes:
            self.node(value, "y", base64.b64encode(value).decode())
        elif kind is int:
            self.node(value, "i", hex(value))
        elif kind in CONSTRUCTOR_OF:
            name = CONSTRUCTOR_OF[kind]
            self._expand(value, list(CONSTRUCTED[name][1](value)), ("c", name), None, stack)
        elif kind in VIEWS:
            self._expand(value, [dict(value.mapping)], ("k", VIEWS[kind]), None, stack)
        elif isinstance(value, type) and value in TYPE_NAMES:
            self.node(value, "T", TYPE_NAMES[value])
        elif name := self.party.name_of_function(value):
            self.node(value, "F", name)
        else:
            self.party.pack_object(self, value)

    def _begin_container(self, value: Any, kind: type, base: type, stack: list[tuple]) -> None:
        number = self.party.mirrors.number(value)
        if number is not None:
            self.node(value, "m", number)
            return
        of = None if kind is base else self.class_item(kind)
        extra = None
        if base is collections.deque:
            extra = value.maxlen
        elif base is collections.defaultdict:
            extra = self.pack(value.default_factory)
        number = self.party.mirrors.share(value, pinned=of is not None)
        self._shared.append(number)
        head = (mirrors.TAGS[base], number)
        self.nodes.append(None)
        self._remember(value, len(self.nodes) - 1)
        self._expand(value, mirrors.contents(value, base), head, len(self.nodes) - 1, stack, (of, extra))

    def _expand(
        self, value: Any, children: list, head: tuple, at: int | None, stack: list[tuple], tail: tuple = ()
    ) -> None:
        task = (value, children, head, at, tail)
        if all_atoms(children):
            self._finish(*task)
            return
        stack.append(task)
        stack.extend((child,) for child in reversed(children) if self.item(child) is MISSING)

    def _finish(self, value: Any, children: list, head: tuple, at: int | None, tail: tuple) -> None:
        items = children if all_atoms(children) else [self.item(child) for child in children]
        node = [*head, items, *tail]
        if at is not None:
            self.nodes[at] = node
        elif self.item(value) is MISSING:
            self.nodes.append(node)
            self._remember(value, len(self.nodes) - 1)

    def class_item(self, kind: type) -> list[int]:
        """The item of a class of the sender, or of one that has a name."""
        found = self.item(kind)
        if found is not MISSING:
            return found
        if self.party.is_own_back(kind):
            return self.node(kind, "r", self.party.number_of(kind))
        if kind in TYPE_NAMES:
            return self.node(kind, "T", TYPE_NAMES[kind])
        return self.party.pack_class(self, kind)


MISSING = object()


class Unpacker:
    """Values of one message, made from its nodes. ProtocolError for anything that is not as it should be."""

    def __init__(self, party: Any, nodes: list) -> None:
        self.party = party
        self.values: list = []
        self._depths: list[int] = []
        fills = []
        try:
            for node in nodes:
                tag = node[0]
                if tag in mirrors.BASE_OF:
                    fills.append((node, len(self.values)))
                    value, depth = self._shell(node), 0
                elif tag in ("t", "f"):
                    value, depth = self._immutable(tag, node[1])
                else:
                    value, depth = self._single(tag, node), 0
                self.values.append(value)
                self._depths.append(depth)
            for node, at in fills:
                mirror = party.mirrors.table[node[1]]
                mirror.replace(self.items(node[2]))
        except ProtocolError:
            raise
        except MemoryError:
            raise
        except Exception as error:
            raise ProtocolError(f"{type(error).__name__}: {error}"[:200]) from None

    def value(self, item: Any) -> Any:
        """What an item stands for."""
        if type(item) is not list:
            if type(item) is dict:
                raise ProtocolError("no item")
            return item
        if len(item) != 1 or type(item[0]) is not int or not 0 <= item[0] < len(self.values):
            raise ProtocolError("no such node")
        return self.values[item[0]]

    def items(self, items: list) -> list:
        """What a list of items stands for."""
        if type(items) is not list:
            raise ProtocolError("no items")
        if NOT_ATOMS.isdisjoint(map(type, items)):
            return items
        return [self.value(item) for item in items]

    def _shell(self, node: list) -> Any:
        tag, number, _, of, extra = node
        base = mirrors.BASE_OF[tag]
        if of is not None:
            kind = self.value(of)
            if not (isinstance(kind, type) and issubclass(kind, base)):
                raise ProtocolError("no class of that kind")
            value = base.__new__(kind)
        elif base is collections.deque:
            value = collections.deque(maxlen=extra)
        else:
            value = base()
        if base is collections.defaultdict:
            value.default_factory = self.value(extra)
        self.party.mirrors.adopt(_natural(number), value, pinned=False)
        if of is not None:
            self.party.bind_container(value)
        return value

    def _immutable(self, tag: str, items: list) -> tuple[Any, int]:
        values = self.items(items)
        depth = 0
        if values is not items:
            depth = 1 + max((self._depths[item[0]] for item in items if type(item) is list), default=0)
            if depth > DEPTH_LIMIT:
                raise ProtocolError("a value nested too deeply")
        return (tuple(values) if tag == "t" else frozenset(values)), depth

    def _single(self, tag: str, node: list) -> Any:
        if tag == "i":
            return int(node[1], 16)
        if tag == "y":
            return base64.b64decode(node[1])
        if tag == "m":
            return self.party.mirrors.table[node[1]].object
        if tag == "c":
            return CONSTRUCTED[node[1]][2](*self.items(node[2]))
        if tag == "k":
            view = {"keys": dict.keys, "values": dict.values, "items": dict.items}[node[1]]
            return view(self.items(node[2])[0])
        if tag == "T":
            return TYPES[node[1]]
        return self.party.unpack_object(self, tag, node)


def _natural(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ProtocolError("no number")
    return number


class Line:
    """Messages over a socket: a length (4 bytes, big-endian), then JSON."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = connection.makefile("rb", buffering=1 << 16)

    def send(self, data: bytes) -> None:
        """EOFError where the other side has gone, ValueError for a message that is too long."""
        if len(data) > MESSAGE_LIMIT:
            raise ValueError("a value is too large to cross")
        try:
            self._connection.sendall(len(data).to_bytes(4, "big") + data)
        except OSError:
            raise EOFError from None

    def receive(self) -> list:
        """EOFError where the other side has gone, ProtocolError for what is no message."""
        size = int.from_bytes(self._exactly(4), "big")
        if size > MESSAGE_LIMIT:
            raise ProtocolError("a message is too long")
        try:
            message = json.loads(self._exactly(size))
        except (ValueError, RecursionError):
            raise ProtocolError("no JSON") from None
        if type(message) is not list or len(message) != 7:
            raise ProtocolError("no message")
        return message

    def _exactly(self, size: int) -> bytes:
        try:
            data = self._reader.read(size)
        except OSError:
            raise EOFError from None
        if len(data) < size:
            raise EOFError
        return data


def to_json(message: list) -> bytes:
    """A message as it goes over the line."""
    return json.dumps(message, separators=(",", ":"), check_circular=False).encode("ascii")
