"""Reading the metrics that stages have written."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.common.errors import InputError
from stages.common.json_reader import read_map

Row = dict[str, Any]
TRIMMED = "pass@1_trimmed"  # pass@1 with the usual trimming of answers


def read_json(path: Path) -> dict[str, Any]:
    """Decode a metrics file; InputError if it is missing or broken."""
    return read_map(path, "run the stage that writes it")


def read_csv(path: Path) -> list[Row]:
    """Rows of a CSV file; InputError if it is missing or broken."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the stage that writes it") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not CSV in UTF-8: {error}") from None


def figure(figures: Row, key: str, path: Path) -> Any:
    """figures[key]; InputError where an older format, or another program, wrote the file without it."""
    if key not in figures:
        found = ", ".join(list(figures)[:4]) or "nothing"
        raise InputError(f"{path}: found {found}, expected '{key}' as well; run the stage that writes it again")
    return figures[key]


def strict_names(found: Iterable[str]) -> list[str]:
    """The names of the figures pass@k among those of a benchmark, without their intervals and the trimmed one."""
    return [name for name in found if name.startswith("pass@") and name.removeprefix("pass@").isdigit()]
