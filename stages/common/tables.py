"""Reading the metrics that stages have written."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.common.errors import InputError

Row = dict[str, Any]
TRIMMED = "pass@1_trimmed"  # pass@1 with the usual trimming of answers


def read_json(path: Path) -> dict[str, Any]:
    """Decode a metrics file; InputError if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the stage that writes it") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None


def read_csv(path: Path) -> list[Row]:
    """Rows of a CSV file; InputError if it is missing."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the stage that writes it") from None


def figure(figures: Row, key: str, path: Path) -> Any:
    """figures[key]; InputError where an older format, or another program, wrote the file without it."""
    if key not in figures:
        found = ", ".join(list(figures)[:4]) or "nothing"
        raise InputError(f"{path}: found {found}, expected '{key}' as well; run the stage that writes it again")
    return figures[key]


def strict_names(found: Iterable[str]) -> list[str]:
    """The names of the figures pass@k among those of a benchmark, without their intervals and the trimmed one."""
    return [name for name in found if name.startswith("pass@") and name.removeprefix("pass@").isdigit()]
