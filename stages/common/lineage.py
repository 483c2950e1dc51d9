"""Which checkpoint a cycle really starts from: its parent, or the one before it where the parent has regressed.

A checkpoint leaves two JSON files to its children. Its lineage, the decision: `checkpoint`, the name of the one that
they go on from, and `regressed`. And the validation figures of the one gone on from, `pass@1` with its interval (null
where there are no validation tasks): only the children's own validation reads these, so that new figures which change
no decision make no cycle run again.
"""

from pathlib import Path
from typing import Any

from stages.common.errors import InputError
from stages.common.json_reader import read_json

FIGURES = ("pass@1", "pass@1_low", "pass@1_high")


def _read(path: Path, kinds: dict[str, Any]) -> dict[str, Any]:
    value = read_json(path, "the stage `validate` writes it")
    for name, kind in kinds.items():
        if not isinstance(value, dict) or not isinstance(value.get(name), kind):
            raise InputError(f"{path}: field '{name}' is missing or of the wrong type; run the stage `validate` again")
    return value


def read_lineage(path: Path) -> dict[str, Any]:
    """A checkpoint's lineage. Raises InputError where the file is missing or broken."""
    return _read(path, {"checkpoint": str, "regressed": bool})


def read_figures(path: Path, use_regressed: bool) -> dict[str, Any]:
    """The figures of the checkpoint that a lineage names, or, where a cycle goes on from a regressed parent all the
    same, that parent's own. Raises InputError where the file is missing or broken."""
    kinds = {"checkpoint": str, **dict.fromkeys(FIGURES, (int, float, type(None)))}
    value = _read(path, {**kinds, "own": dict})
    return value["own"] if use_regressed else value


def judged(
    name: str, figures: dict[str, Any], parent: dict[str, Any] | None, stop: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Lineage and figures that checkpoint `name`, with the validation `figures`, leaves to its children; `parent` are
    the figures of the checkpoint that its cycle went on from.

    It has regressed if its pass@1 interval lies below that one's.
    """
    low = parent["pass@1_low"] if parent else None
    regressed = bool(stop and low is not None and figures["pass@1_high"] is not None and figures["pass@1_high"] < low)
    kept = parent if regressed and parent else {"checkpoint": name, **figures}
    left = {key: kept[key] for key in ("checkpoint", *FIGURES)}
    return {"checkpoint": kept["checkpoint"], "regressed": regressed}, {**left, "own": {"checkpoint": name, **figures}}


def beside(path: Path, parent: Path, start: Path) -> Path:
    """The file of `start` that stands beside the `parent`'s file at `path`; `path` itself where they are one."""
    return path if start == parent else path.with_name(start.name + path.suffix)


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
