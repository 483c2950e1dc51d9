"""NumPy's arrays and scalars as values that cross: kind, shape and bytes. For tests and solutions that use NumPy.

Runs inside the sandbox. NumPy is asked for only where it has been imported already, or where an array comes.
"""

import base64
import re
import sys
from typing import Any

KIND = re.compile(r"[<>|=][biufcSU]\d{1,6}")
DIMENSIONS = 32


def is_array(value: Any) -> bool:
    """Whether it is an array or scalar of a kind that can cross. One of objects cannot, nor one of a subclass."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, (numpy.ndarray, numpy.generic)):
        return False
    exact = type(value) is numpy.ndarray or type(value).__module__ == "numpy"
    return exact and KIND.fullmatch(value.dtype.str) is not None


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

    if not KIND.fullmatch(kind) or len(shape) > DIMENSIONS or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError("no array")
    array = numpy.frombuffer(base64.b64decode(data), dtype=kind).reshape(shape).copy()
    return array[()] if scalar is True else array
