"""The one reader of JSON files: strict where Python's own is not, and every fault is one line that says where.

Refused: NaN, Infinity and numbers that are infinite as floats (1e999), a key that comes twice in an object, integers of
thousands of digits, bytes that are not UTF-8, nesting beyond Python's stack. A byte order mark is skipped.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from stages.common.errors import InputError

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
SHOWN = 60  # characters of what was found


class _RefusedError(ValueError):
    """JSON that Python would take."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _RefusedError(f"key {json.dumps(twice)[:SHOWN]} comes twice in one object")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _RefusedError(f"found {text[:SHOWN]}, expected a number that is finite as a float")
    return value


def _no_constant(text: str) -> float:
    raise _RefusedError(f"found {text}, expected a finite number")


# Measured: no slower than json.loads for a sample, 1.7 times its time for a task of 100 cases.
_strict = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant).decode
_foreign = json.JSONDecoder().decode


def decode(text: str | bytes, where: str, note: str = "") -> Any:
    """Decode one line of JSON Lines. `where` (file:line) opens the message of the InputError that a fault raises, and
    `note` ends it where the text is no JSON at all."""
    try:
        return _strict(_text(text))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON: {error.msg} at column {error.colno}{note}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {_words(error)}") from None


def read_json(path: Path, hint: str = "", foreign: bool = False) -> Any:
    """Decode a JSON file. Raises InputError with the line of a fault; `hint` tells what to do about a missing file.

    `foreign`: a file of another project, such as a model's config.json, which is read as Python reads it.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{hint and f'; {hint}'}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: expected a JSON file, found a directory") from None
    try:
        return (_foreign if foreign else _strict)(_text(content))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}:{_line_of_fault(_text(content))}: {_words(error)}") from None


def read_map(path: Path, hint: str = "", foreign: bool = False) -> dict[str, Any]:
    """Decode a JSON file that holds an object; InputError for any other, and as `read_json`."""
    value = read_json(path, hint, foreign)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _text(content: str | bytes) -> str:
    text = content if isinstance(content, str) else content.decode("utf-8")
    return text.removeprefix("\ufeff")


def _words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "JSON nested too deeply"
    # Else it is Python's own, of an integer that would take too long to convert.
    return str(error) if isinstance(error, _RefusedError) else "found an integer of thousands of digits"


def _line_of_fault(text: str) -> int:
    """The line of the first token that was refused. The decoder does not tell, so the tokens are gone through again."""
    objects: list[set[str] | None] = []
    last, line, at = "", 1, 0
    for token in TOKEN.finditer(text):
        found = token[0]
        line, at = line + text.count("\n", at, token.start()), token.start()
        if found in "{[":
            objects.append(set() if found == "{" else None)
        elif found in "}]":
            objects.pop()
        elif found == ":" and objects[-1] is not None:
            if (key := json.loads(last)) in objects[-1]:
                return line
            objects[-1].add(key)
        elif found[0] not in '",:' and _is_refused(found):
            return line
        last = found
    return line


def _is_refused(token: str) -> bool:
    try:
        _strict(token)
    except ValueError:
        return True
    return False
