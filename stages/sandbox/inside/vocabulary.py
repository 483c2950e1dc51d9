"""What two processes name the same way: types, constructors of values, functions of the standard library.

Runs inside the sandbox and imports the standard library alone.
"""

import builtins
import collections
import contextlib
import datetime
import decimal
import fractions
import functools
import importlib
import io
import itertools
import math
import operator
import os
import pathlib
import re
import sys
import types
import uuid
from collections.abc import Callable
from typing import Any

VALUES = (bool, int, float, complex, str, bytes, tuple, frozenset)


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
    "nothing": (types.TracebackType, lambda v: (), lambda: None),  # a traceback leads to frames, and does not cross
    "memoryview": (memoryview, lambda v: (v.tobytes(),), memoryview),
}
CONSTRUCTOR_OF = {kind: name for name, (kind, _, _) in CONSTRUCTED.items()}
VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}

# Types that both sides name the same way.
_TYPE_MODULES = (
    builtins,
    collections,
    datetime,
    decimal,
    fractions,
    functools,
    io,
    itertools,
    pathlib,
    types,
    re,
    uuid,
)
TYPE_NAMES: dict[type, str] = {}
for _module in _TYPE_MODULES:
    for _name, _kind in vars(_module).items():
        if isinstance(_kind, type) and not _name.startswith("_"):
            TYPE_NAMES.setdefault(_kind, f"{_module.__name__}.{_name}")
for _made in ([], (), "", b"", set(), {}, range(1)):
    TYPE_NAMES.setdefault(type(iter(_made)), f"iterator.{type(_made).__name__}")
TYPES = {name: kind for kind, name in TYPE_NAMES.items()}

FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)
STEERING = ("unittest", "doctest", "bdb", "pdb", "test", "antigravity", "this", "idlelib", "turtledemo", "lib2to3")
PURE_BUILTINS = ("abs", "all", "any", "chr", "divmod", "len", "max", "min", "ord", "pow", "round", "sum")
# Functions that change nothing and may be taken by name from either side.
PURE = {
    f"{module.__name__}.{name}": function
    for module in (math, operator)
    for name, function in vars(module).items()
    if isinstance(function, types.BuiltinFunctionType)
}
PURE.update({f"builtins.{n}": getattr(builtins, n) for n in PURE_BUILTINS})
PURE_NAMES = {id(function): name for name, function in PURE.items()}


def exception_name(kind: type) -> str | None:
    """`module:name` of an exception of the standard library, where it is there under that name."""
    module, name = kind.__module__, kind.__qualname__
    known = isinstance(module, str) and isinstance(name, str) and find_exception(f"{module}:{name}") is kind
    return f"{module}:{name}" if known else None


def find_exception(name: str) -> type | None:
    """The exception of that name, of a module that is loaded or can be; None for those with which tests are steered."""
    module = name.partition(":")[0]
    if module.split(".")[0] not in sys.stdlib_module_names or module.split(".")[0] in STEERING:
        return None
    with contextlib.suppress(ImportError):
        importlib.import_module(module)
    found = find_function(name)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


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
        return "".join(str.__iter__(value))
    if kind is tuple:
        return tuple(tuple.__iter__(value))
    if kind is frozenset:
        return frozenset(frozenset.__iter__(value))
    if kind is bytes:
        return bytes(bytes.__iter__(value))
    return kind.__pos__(value)
