"""NumPy's arrays and scalars as values that cross: kind, shape and bytes. For tests and solutions that use NumPy.

Runs inside the sandbox. NumPy is asked for only where it has been imported already, or where an array comes.
"""

import base64
import math
import re
import sys
from typing import Any

KIND = re.compile(r"[<>|=](?:[biufcSU]\d{1,6}|[mM]8(?:\[\d{0,6}[a-zA-Z]{1,2}\])?)")
DIMENSIONS = 32
SHARED_BYTES = 1 << 20  # a larger array is copied: each message looks through all that is shared


def is_array(value: Any) -> bool:
    """Whether it is an array or scalar of a kind that can cross. One of objects cannot, nor one of a subclass."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, (numpy.ndarray, numpy.generic)):
        return False
    exact = type(value) is numpy.ndarray or type(value).__module__ == "numpy"
    return exact and KIND.fullmatch(value.dtype.str) is not None


def is_shared(value: Any) -> bool:
    """Whether it is an array whose changes in place cross, as a list's do; a larger or a read-only one is copied."""
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray:
        return False
    return value.flags.writeable and value.nbytes <= SHARED_BYTES and KIND.fullmatch(value.dtype.str) is not None


def contents(value: Any) -> list:
    """[kind, shape, bytes] of a shared array."""
    return [value.dtype.str, value.shape, value.tobytes()]


def empty(kind: Any, shape: Any) -> Any:
    """An array to be filled. ValueError or TypeError where there is none of that kind and shape, or none to share."""
    import numpy

    _expect_shape(kind, shape)
    if math.prod(shape) * numpy.dtype(kind).itemsize > SHARED_BYTES:
        raise ValueError("no array to share")
    return numpy.zeros(shape, kind)


def fill(value: Any, parts: list) -> None:
    """Replace what a shared array holds by `contents` of another one."""
    import numpy

    kind, shape, data = parts
    _expect_shape(kind, shape)
    now = numpy.frombuffer(data, dtype=kind).reshape(shape)
    if value.dtype.str != kind:
        value.dtype = kind
    if value.shape != shape:
        value.resize(shape, refcheck=False)
    value[...] = now


def to_parts(value: Any) -> list:
    """[kind, shape, bytes in base64, whether it is a scalar]."""
    numpy = sys.modules["numpy"]
    whole = numpy.ascontiguousarray(value)
    return [
        value.dtype.str,
        list(value.shape),
        base64.b64encode(whole.tobytes()).decode(),
        isinstance(value, numpy.generic),
    ]


def from_parts(kind: Any, shape: Any, data: Any, scalar: Any) -> Any:
    """The array or scalar again. ValueError or TypeError for parts that fit no array, ImportError without NumPy."""
    import numpy

    _expect_shape(kind, shape)
    array = numpy.frombuffer(base64.b64decode(data), dtype=kind).reshape(shape).copy()
    return array[()] if scalar is True else array


def _expect_shape(kind: Any, shape: Any) -> None:
    if not KIND.fullmatch(kind) or len(shape) > DIMENSIONS or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError("no array")
