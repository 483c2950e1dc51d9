"""Which checkpoint a cycle really starts from: its parent, or the one before it where the parent has regressed.

A checkpoint's lineage is a JSON file: `checkpoint`, the name of the one that children go on from; `regressed`; and the
validation figures of the one gone on from, `pass@1` with its interval (null where there are no validation tasks).
"""

import json
from pathlib import Path
from typing import Any

from stages.common.errors import InputError

FIGURES = ("pass@1", "pass@1_low", "pass@1_high")


def read_lineage(path: Path) -> dict[str, Any]:
    """A lineage file, decoded. Raises InputError where it is missing or broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the stage `validate` writes it") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    for name, kinds in {
        "checkpoint": str,
        "regressed": bool,
        **dict.fromkeys(FIGURES, (int, float, type(None))),
    }.items():
        if not isinstance(value, dict) or not isinstance(value.get(name), kinds):
            raise InputError(f"{path}: field '{name}' is missing or of the wrong type; run the stage `validate` again")
    return value


def judged(name: str, figures: dict[str, Any], parent: dict[str, Any] | None, stop: bool) -> dict[str, Any]:
    """The lineage of checkpoint `name` with validation `figures`, child of the one whose lineage is `parent`.

    It has regressed if its pass@1 interval lies below the one of what it was trained from.
    """
    low = parent["pass@1_low"] if parent else None
    regressed = bool(stop and low is not None and figures["pass@1_high"] is not None and figures["pass@1_high"] < low)
    kept = parent if regressed and parent else {"checkpoint": name, **figures}
    return {"checkpoint": kept["checkpoint"], "regressed": regressed, **{key: kept[key] for key in FIGURES}}


def start_of(parent: Path, lineage: Path | None, use_regressed: bool) -> Path:
    """The checkpoint to sample from and to train on, beside `parent` in its folder; says where it is another."""
    if lineage is None or use_regressed:
        return parent
    name = read_lineage(lineage)["checkpoint"]
    if name == parent.name:
        return parent
    start = parent.with_name(name)
    if not start.is_dir():
        raise InputError(f"{lineage}: goes on from '{name}', and {start} is not there: dvc checkout brings it back")
    print(f"{parent.name} has regressed: going on from {name} (use_regressed: true in the cycle's entry overrules it)")
    return start
