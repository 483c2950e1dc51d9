"""params.yaml: loading, and the base class of the validated objects in `stages/settings/`.

Every setting reaches a script this way and no other; paths come by flag.
"""

import argparse
import difflib
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from stages.common.errors import InputError, expect_known
from stages.common.running import laid_over
from stages.common.yaml_reader import read_yaml

DEFAULT_PATH = Path("params.yaml")
TOP_KEYS = ("profile", "seed", "sources", "models", "cycles", "controls", "grpo", "specs", "profiles")


class Settings(BaseModel):
    """A section of params.yaml: typed strictly, unknown keys refused, numbers finite, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def parse(cls, value: Any, where: str) -> Self:
        """Validate a decoded section; `where` (file and key) opens the one-line message of an InputError."""
        if value is not None and not isinstance(value, dict):
            raise InputError(f"{where}: expected a map of settings, found {value!r}")
        try:
            return cls.model_validate(value or {})
        except ValidationError as error:
            raise InputError(_one_line(cls, error, where)) from None


Section = TypeVar("Section", bound=Settings)


def _one_line(model: type[BaseModel], error: ValidationError, where: str) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join([where, *map(str, first["loc"])])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
        return f"{key}: unknown key; {hint}{more}"
    if first["type"] == "missing":
        return f"{key}: missing{more}"
    found = repr(first["input"])[:60]
    message = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{key}: found {found}: {message}{more}"


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the model nested at `location` knows; parts that are no field lead into a list or a map."""
    for part in location:
        if part not in model.model_fields:
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return list(model.model_fields)


class Params:
    """params.yaml, decoded; sections are validated as they are asked for. Without `profiles` they stand at the top.

    A file that is not there counts as empty when it was not asked for by name, so that a script whose settings all
    have defaults (verify, for one) runs anywhere.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path or DEFAULT_PATH)
        value = {} if path is None and not self.path.exists() else read_yaml(self.path)
        if not isinstance(value, dict):
            raise InputError(f"{self.path}: expected a map of settings, found {type(value).__name__}")
        if "profiles" in value:
            expect_known(value, TOP_KEYS, str(self.path))
        self._value = value

    @property
    def seed(self) -> int:
        """The seed of the whole run."""
        seed = self._value.get("seed", 0)
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise InputError(f"{self.path}: seed: expected an integer of 0 or more, found {seed!r}")
        return seed

    @property
    def profile(self) -> str | None:
        """The active profile; None in a file without profiles."""
        profiles = self._value.get("profiles")
        if profiles is None:
            return None
        name = self._value.get("profile")
        if not isinstance(profiles, dict) or not isinstance(name, str) or name not in profiles:
            known = ", ".join(map(str, profiles)) if isinstance(profiles, dict) else "none"
            raise InputError(f"{self.path}: profile: found {name!r}, expected one of: {known}")
        return name

    def section(self, kind: type[Section], key: str) -> Section:
        """The active profile's section `key` (dots go down), under what section `run` lays over it, validated."""
        where = f"profiles.{self.profile}" if self.profile else ""
        value: Any = self._value["profiles"][self.profile] if self.profile else self._value
        beside = isinstance(value, dict) and value.get("run") is not None
        if isinstance(value, dict):
            value = laid_over(value, f"{self.path}: {where}" if where else str(self.path))
        for part in key.split("."):
            if not isinstance(value, dict | None):
                raise InputError(f"{self.path}: {where}: expected a map of settings, found {value!r}")
            value = (value or {}).get(part)
            where = f"{where}.{part}".lstrip(".")
        try:
            return kind.parse(value, f"{self.path}: {where}")
        except InputError as error:
            raise InputError(f"{error}; section `run` is laid over it" if beside else str(error)) from None

    def top(self, kind: type[Section], key: str) -> Section:
        """A section outside the profiles, such as `sources` or `cycles.2`, as a validated `kind`."""
        value: Any = self._value
        for part in key.split("."):
            if not isinstance(value, dict) or (value and part not in value and "." in key):
                raise InputError(f"{self.path}: {key}: no such entry")
            value = value.get(part)
        return kind.parse(value, f"{self.path}: {key}")

    @property
    def raw(self) -> dict:
        """The decoded file, for whole-file checks."""
        return self._value


def argument_parser(docstring: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring, with the `--params` flag that every stage has."""
    parser = argparse.ArgumentParser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, metavar="FILE", help="settings file (default: params.yaml)")
    return parser
