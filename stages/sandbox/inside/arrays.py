"""NumPy's arrays and scalars as values that cross, for tests and solutions that use NumPy; array.array as well.

An array that holds its own memory is shared like a list: both sides have a copy, and changes in place cross
(mirrors.py). A view crosses as a view of the array whose memory it shows. What is larger than SHARED_BYTES does not
cross: a copy would hide what is done to it. A scalar, and an array that shows memory of no array, is copied.

Runs inside the sandbox. NumPy is asked for only where it has been imported already, or where an array comes.
"""

import array
import base64
import math
import re
import sys
from typing import Any

KIND = re.compile(r"[<>|=](?:[biufcSU]\d{1,6}|[mM]8(?:\[\d{0,6}[a-zA-Z]{1,2}\])?)")
OBJECTS = "|O"
DIMENSIONS = 32
SHARED_BYTES = 64 << 20


def is_array(value: Any) -> bool:
    """Whether it is an array or scalar of a kind that can cross by its bytes. One of a subclass cannot."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, (numpy.ndarray, numpy.generic)):
        return False
    exact = type(value) is numpy.ndarray or type(value).__module__ == "numpy"
    return exact and KIND.fullmatch(value.dtype.str) is not None


def is_shared(value: Any) -> bool:
    """Whether it is an array whose changes in place cross: one that holds its memory."""
    if type(value) is array.array:
        return _expect_size(value.itemsize * len(value))
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray or not value.flags.owndata or not value.flags.writeable:
        return False
    known = KIND.fullmatch(value.dtype.str) is not None or value.dtype.str == OBJECTS
    return known and (value.flags.c_contiguous or value.flags.f_contiguous) and _expect_size(value.nbytes)


def owner(value: Any) -> Any:
    """The array whose memory a view shows; None for what is no view of one that is shared."""
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray or KIND.fullmatch(value.dtype.str) is None:
        return None
    base = value.base
    while type(base) is numpy.ndarray and base.base is not None:
        base = base.base
    return base if type(base) is numpy.ndarray and base.dtype.str != OBJECTS and is_shared(base) else None


def _expect_size(size: int) -> bool:
    """True; TypeError for what is too large to be shared."""
    if size > SHARED_BYTES:
        raise TypeError(f"an array of {size} bytes; at most {SHARED_BYTES} can be handed over")
    return True


# Shared arrays


def describe(value: Any) -> tuple:
    """(kind, shape, whether it is laid out by columns) of an array that is to be made on the other side; of array.array
    its type code alone."""
    if type(value) is array.array:
        return (value.typecode,)
    return value.dtype.str, value.shape, value.flags.f_contiguous and not value.flags.c_contiguous


def contents(value: Any) -> list:
    """[type code, bytes] of an array.array; [kind, shape, bytes] of an array, or the objects in place of its bytes."""
    if type(value) is array.array:
        return [value.typecode, value.tobytes()]
    if value.dtype.str == OBJECTS:
        return [OBJECTS, value.shape, *value.ravel().tolist()]
    return [value.dtype.str, value.shape, value.tobytes()]


def same(now: list, seen: list) -> bool:
    """Whether contents are what they were."""
    if now[0] != OBJECTS:
        return now == seen
    return now[:2] == seen[:2] and all(one is other for one, other in zip(now, seen, strict=True))


def empty(kind: Any, *layout: Any) -> Any:
    """An array to be filled, as `describe` tells of it. ValueError or TypeError where there is none such."""
    if not layout:
        return array.array(kind)
    import numpy

    shape, by_columns = layout
    _expect_shape(kind, shape)
    if math.prod(shape) * numpy.dtype(kind).itemsize > SHARED_BYTES:
        raise ValueError("no array to share")
    return numpy.zeros(shape, kind, order="F" if by_columns else "C")


def fill(value: Any, parts: list) -> None:
    """Replace what a shared array holds by `contents` of another one. ValueError or TypeError where it does not fit."""
    if type(value) is array.array:
        kind, data = parts
        if kind != value.typecode:
            raise ValueError("no such array")
        del value[:]
        value.frombytes(data)
        return
    import numpy

    kind, shape, *data = parts
    _expect_shape(kind, shape)
    if kind == OBJECTS:
        now = numpy.empty(math.prod(shape), dtype=object)
        now[:] = data
    else:
        now = numpy.frombuffer(data[0], dtype=kind)
    if value.dtype.str != kind:
        value.dtype = kind
    if value.shape != shape:
        value.resize(shape, refcheck=False)
    value[...] = now.reshape(shape)


# Views


def view_parts(value: Any, base: Any) -> list:
    """[kind, shape, strides, first byte in its owner's memory, whether it can be written to]."""
    first = value.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return [value.dtype.str, list(value.shape), list(value.strides), first, bool(value.flags.writeable)]


def view(base: Any, kind: Any, shape: Any, strides: Any, first: Any, writeable: Any) -> Any:
    """The view again. ValueError or TypeError for one that leaves its owner's memory."""
    import numpy

    _expect_shape(kind, shape)
    if type(base) is not numpy.ndarray or any(type(step) is not int for step in (*strides, first)):
        raise ValueError("no view")
    memory = base if base.flags.c_contiguous else base.T
    found = numpy.ndarray(tuple(shape), kind, memory, first, tuple(strides))
    found.flags.writeable = writeable is True
    return found


# Copies


def to_parts(value: Any) -> list:
    """[kind, shape, bytes in base64, whether it is a scalar, whether it can be written to]."""
    numpy = sys.modules["numpy"]
    whole = numpy.ascontiguousarray(value)
    return [
        value.dtype.str,
        list(value.shape),
        base64.b64encode(whole.tobytes()).decode(),
        isinstance(value, numpy.generic),
        bool(value.flags.writeable),
    ]


def from_parts(kind: Any, shape: Any, data: Any, scalar: Any, writeable: Any) -> Any:
    """The array or scalar again. ValueError or TypeError for parts that fit no array, ImportError without NumPy."""
    import numpy

    _expect_shape(kind, shape)
    found = numpy.frombuffer(base64.b64decode(data), dtype=kind).reshape(shape).copy()
    found.flags.writeable = writeable is True
    return found[()] if scalar is True else found


def _expect_shape(kind: Any, shape: Any) -> None:
    known = kind == OBJECTS or KIND.fullmatch(kind)
    if not known or len(shape) > DIMENSIONS or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError("no array")
