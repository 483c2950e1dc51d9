"""Check the whole of params.yaml, every profile in it: types, ranges, unknown keys, the chain of cycles.

python -m stages.settings
"""

import difflib
from typing import Any

from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.params import Params, Settings, argument_parser
from stages.settings.benchmark import BenchmarkSettings
from stages.settings.model import BaseSettings, ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.raft import CycleSettings, RaftSettings
from stages.settings.sampling import SampleSettings
from stages.settings.sft import SftSettings
from stages.settings.sources import HubSettings
from stages.settings.verify import VerifySettings
from stages.sources import SOURCES

TOP = ("profile", "seed", "sources", "models", "cycles", "profiles")
SECTIONS: dict[str, type[Settings]] = {
    "compute": ComputeSettings,
    "prompts": PromptSettings,
    "base": BaseSettings,
    "sft": SftSettings,
    "sample": SampleSettings,
    "verify": VerifySettings,
    "raft": RaftSettings,
    "benchmark": BenchmarkSettings,
}


def expect_keys(value: Any, known: tuple[str, ...], where: str) -> None:
    """Raise InputError unless `value` is a map with exactly the `known` keys."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a map, found {type(value).__name__}")
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            raise InputError(
                f"{where}: unknown key '{key}'; {f'did you mean {near[0]!r}?' if near else f'known: {known}'}"
            )
    for key in known:
        if key not in value:
            raise InputError(f"{where}: key '{key}' is missing")


def check_profile(profile: Any, where: str) -> None:
    """Validate each section of one profile; a source that is null is not used."""
    expect_keys(profile, ("sources", *SECTIONS), where)
    for name, kind in SECTIONS.items():
        kind.parse(profile[name], f"{where}.{name}")
    expect_keys(profile["sources"], tuple(SOURCES), f"{where}.sources")
    for name, source in SOURCES.items():
        if profile["sources"][name] is not None:
            source.settings.parse(profile["sources"][name], f"{where}.sources.{name}")


def check_chain(cycles: Any, models: Any, path: str) -> None:
    """Every cycle's parent must be a checkpoint made before it, and `models` must name checkpoints that are made."""
    made = ["base", "sft"]
    if not isinstance(cycles, dict):
        raise InputError(f"{path}: cycles: expected a map, found {type(cycles).__name__}")
    for number, entry in cycles.items():
        where = f"{path}: cycles.{number}"
        if not isinstance(number, str) or not number.isdigit():
            raise InputError(f"{where}: expected a number in quotes: DVC drops stages whose keys are bare numbers")
        parent = CycleSettings.parse(entry, where).parent
        if parent not in made:
            raise InputError(f"{where}.parent: found '{parent}', expected one made before it: {', '.join(made)}")
        made.append(f"cycle-{number}")
    if not isinstance(models, list) or not all(isinstance(m, str) for m in models) or len(set(models)) < len(models):
        raise InputError(f"{path}: models: expected a list of checkpoints, each once")
    for model in models:
        if model not in made:
            raise InputError(f"{path}: models: found '{model}', expected one of: {', '.join(made)}")


def main() -> None:
    """Check the file and say so."""
    params = Params(argument_parser(__doc__).parse_args().params or "params.yaml")
    path = str(params.path)
    expect_keys(params.raw, TOP, path)
    name, seed = params.profile, params.seed
    HubSettings.parse(params.raw["sources"], f"{path}: sources")
    for profile, value in params.raw["profiles"].items():
        check_profile(value, f"{path}: profiles.{profile}")
    check_chain(params.raw["cycles"], params.raw["models"], path)
    print(f"{path}: profile {name}, seed {seed}, {len(params.raw['cycles'])} cycles, all settings valid")


if __name__ == "__main__":
    run(main)
