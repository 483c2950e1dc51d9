"""Settings of the cycles, and the chain that they and `models` make."""

from collections.abc import Sequence

from pydantic import Field

from stages.common.errors import InputError
from stages.common.params import Params, Settings


class CycleSettings(Settings):
    """One cycle's entry: its parent, and settings that differ from the profile's (null: the profile's)."""

    parent: str = Field(pattern=r"^(sft|cycle-[1-9][0-9]*)$", description="The checkpoint sampled and trained on.")
    temperature: float | None = Field(None, ge=0, allow_inf_nan=False, description="Overrides sample.temperature.")
    threshold: float | None = Field(None, gt=0, le=1, description="Overrides raft.threshold.")
    learning_rate: float | None = Field(None, gt=0, description="Overrides raft.train.learning_rate.")
    use_regressed: bool = Field(False, description="Go on from the parent even if validation says that it regressed.")


def depth(params: Params, number: str) -> int:
    """A cycle's place in the chain: 1 for a child of sft. In a file without cycles, the cycle's number."""
    cycles = params.raw.get("cycles") or {}
    place = 1
    while number in cycles:
        parent = CycleSettings.parse(cycles[number], f"{params.path}: cycles.{number}").parent
        if parent == "sft" or place > len(cycles):
            return place
        number, place = parent.removeprefix("cycle-"), place + 1
    return place


def check_chain(params: Params, others: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """The numbers of the cycles and the checkpoints to benchmark; `others` are checkpoints that no cycle makes.

    Raises InputError unless every cycle's parent is a checkpoint made before it, and `models` names ones that are made.
    """
    path, cycles, models = params.path, params.raw.get("cycles"), params.raw.get("models")
    made = ["base", "sft"]
    if not isinstance(cycles, dict):
        raise InputError(f"{path}: cycles: expected a map, found {type(cycles).__name__}")
    for number, entry in cycles.items():
        where = f"{path}: cycles.{number}"
        if not isinstance(number, str) or not number.isdigit():
            raise InputError(f"{where}: expected a number in quotes: DVC drops stages whose keys are bare numbers")
        parent = CycleSettings.parse(entry, where).parent
        if parent not in made:
            raise InputError(f"{where}.parent: found '{parent}', expected one made before it: {', '.join(made[1:])}")
        made.append(f"cycle-{number}")
    made += others
    if not isinstance(models, list) or not all(isinstance(m, str) for m in models) or len(set(models)) < len(models):
        raise InputError(f"{path}: models: expected a list of checkpoints, each once")
    for model in models:
        if model not in made:
            raise InputError(f"{path}: models: found '{model}', expected one of: {', '.join(made)}")
    return list(cycles), models
