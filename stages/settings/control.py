"""Settings of the controls: cycles trained again on samples that no verifier chose."""

from pydantic import Field

from stages.common.errors import InputError
from stages.common.params import Params, Settings


class ControlSettings(Settings):
    """One control's entry, under the number of its cycle."""

    parent: str = Field(description="The parent of that cycle, from which the control starts as well.")


def check_controls(params: Params) -> list[str]:
    """The names of the checkpoints that controls make. Raises InputError for one whose cycle or parent is another."""
    controls, cycles = params.raw.get("controls") or {}, params.raw.get("cycles") or {}
    if not isinstance(controls, dict):
        raise InputError(f"{params.path}: controls: expected a map, found {type(controls).__name__}")
    for number, entry in controls.items():
        where = f"{params.path}: controls.{number}"
        if not isinstance(number, str) or number not in cycles:
            raise InputError(f"{where}: expected the number of a cycle, in quotes: {', '.join(map(repr, cycles))}")
        parent = ControlSettings.parse(entry, where).parent
        if parent != (cycles[number] or {}).get("parent"):
            raise InputError(f"{where}.parent: found '{parent}', expected that of cycle {number}")
    return [f"control-{number}" for number in controls]
