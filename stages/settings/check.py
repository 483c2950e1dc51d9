"""The check of the whole of params.yaml, every profile in it: types, ranges, unknown keys, the chain of cycles."""

from typing import Any

from stages.common.errors import InputError, expect_known
from stages.common.params import TOP_KEYS, Params, Settings
from stages.common.running import laid_over
from stages.settings.benchmark import BenchmarkSettings
from stages.settings.checkpoints import made_beside
from stages.settings.compute import ComputeSettings
from stages.settings.cycle import check_chain
from stages.settings.data import DataSettings
from stages.settings.generate import check_specs
from stages.settings.grpo import GrpoSettings
from stages.settings.model import BaseSettings
from stages.settings.planning import PlanSettings
from stages.settings.prompts import PromptSettings
from stages.settings.raft import RaftSettings
from stages.settings.sampling import SampleSettings
from stages.settings.sft import SftSettings
from stages.settings.sources import HubSettings
from stages.settings.validation import ValidationSettings
from stages.settings.verify import VerifySettings
from stages.sources import SOURCES

SECTIONS: dict[str, type[Settings]] = {
    "compute": ComputeSettings,
    "data": DataSettings,
    "prompts": PromptSettings,
    "base": BaseSettings,
    "sft": SftSettings,
    "sample": SampleSettings,
    "verify": VerifySettings,
    "raft": RaftSettings,
    "grpo": GrpoSettings,
    "validation": ValidationSettings,
    "benchmark": BenchmarkSettings,
    "plan": PlanSettings,
}
OPTIONAL = ("grpo", "plan", "run")  # came later: files without it stay valid


def expect_keys(value: Any, known: tuple[str, ...], where: str) -> None:
    """Raise InputError unless `value` is a map with exactly the `known` keys, but for those that may be left out."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a map, found {type(value).__name__}")
    expect_known(value, known, where)
    for key in known:
        if key not in value and key not in OPTIONAL:
            raise InputError(f"{where}: key '{key}' is missing")


def check_profile(profile: Any, where: str) -> None:
    """Validate each section of one profile; a source that is null is not used."""
    expect_keys(profile, ("sources", *SECTIONS, "run"), where)
    profile = laid_over(profile, where)
    for name, kind in SECTIONS.items():
        kind.parse(profile.get(name), f"{where}.{name}")
    expect_keys(profile["sources"], tuple(SOURCES), f"{where}.sources")
    for name, source in SOURCES.items():
        if profile["sources"][name] is not None:
            source.settings.parse(profile["sources"][name], f"{where}.sources.{name}")


def check_all(params: Params) -> None:
    """Validate the file; raises InputError for the first fault."""
    path = str(params.path)
    expect_keys(params.raw, TOP_KEYS, path)
    _ = params.profile, params.seed
    HubSettings.parse(params.raw["sources"], f"{path}: sources")
    for profile, value in params.raw["profiles"].items():
        check_profile(value, f"{path}: profiles.{profile}")
    check_chain(params, made_beside(params))
    check_specs(params)
