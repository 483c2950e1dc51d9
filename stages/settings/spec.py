"""A spec: what an LLM is to write, and what its examples must be like. One YAML file, `data/specs/NAME.yaml`."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from stages.common.errors import InputError
from stages.common.params import Settings, read_yaml
from stages.settings.generate import SPEC_NAME
from stages.settings.verify import VerifySettings


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_compiles)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Text = Annotated[str, Field(pattern=r"\S")]


class CategorySettings(Settings):
    """A field of problems."""

    description: Text = Field(description="What its problems are about.")
    topics: list[Text] = Field([], description="Narrower subjects; the answers take turns through them.")
    required: list[Pattern] = Field([], description="Patterns that the solutions of this category must match.")
    count: int | None = Field(None, ge=1, description="Examples per level; null: the spec's count.")


class LevelSettings(Settings):
    """A degree of difficulty."""

    description: Text = Field(description="What makes a problem one of this level.")


class CaseSettings(Settings):
    """An input and what is to be printed for it."""

    stdin: str = Field(description="Standard input.")
    stdout: str = Field(description="Standard output.")


class ExampleSettings(Settings):
    """A model example that prompts show. It must earn reward 1.0 itself."""

    problem: Text = Field(description="The statement.")
    solution: Text = Field(description="The program.")
    tests: str = Field("", description="Test source.")
    cases: list[CaseSettings] = Field([], description="Inputs and outputs.")

    @model_validator(mode="after")
    def _judged(self) -> Self:
        if bool(self.tests.strip()) == bool(self.cases):
            raise ValueError("expected either tests or cases")
        return self


class SpecSettings(Settings):
    """Categories x levels x count examples, each with a problem, a solution and tests or cases."""

    name: Name = Field(description="The file's name without .yaml.")
    language: Literal["python", "cpp", "c", "rust"] = Field(description="Of the solutions.")
    verifier: str = Field(min_length=1, description="Registry name or module:Class; pays 1.0 for what is kept.")
    style: Literal["tests", "cases", "either"] = Field(description="How examples are judged.")
    count: int = Field(ge=1, description="Examples per category and level.")
    categories: dict[Name, CategorySettings] = Field(min_length=1, description="Fields of problems.")
    levels: dict[Name, LevelSettings] = Field(min_length=1, description="Degrees of difficulty.")
    system: Text = Field(description="System prompt.")
    guide: Text = Field(description="Style guide: how problems, solutions and tests are to be.")
    required: list[Pattern] = Field([], description="Patterns (re.search, multi-line) that solutions must match.")
    forbidden: list[Pattern] = Field([], description="Patterns that solutions must not match.")
    clean: bool = Field(False, description="The solution, compiled by itself, must give no warning.")
    min_cases: int = Field(3, ge=1, description="Fewest cases of an example that is judged by cases.")
    examples: list[ExampleSettings] = Field(min_length=1, description="Model examples; prompts show two of them.")
    verify: dict[str, Any] = Field({}, description="Settings of verifying that replace the profile's.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.clean and (self.style != "tests" or self.language == "python"):
            raise ValueError("clean is for compiled languages and style 'tests'; use -Werror among flags elsewhere")
        for number, example in enumerate(self.examples):
            kind = "cases" if example.cases else "tests"
            if self.style not in ("either", kind):
                raise ValueError(f"examples.{number} has {kind}, and style is '{self.style}'")
        return self

    def cells(self, count: int | None = None) -> dict[tuple[str, str], int]:
        """Examples wanted by (category, level); `count` replaces the spec's own numbers."""
        return {
            (name, level): count or category.count or self.count
            for name, category in self.categories.items()
            for level in self.levels
        }


def load_spec(path: Path) -> SpecSettings:
    """Read a spec. InputError, one line with the key, where it is missing or faulty."""
    if not SPEC_NAME.fullmatch(path.stem):
        raise InputError(f"{path}: expected a name of lower-case letters, digits and _, such as rust_async.yaml")
    value = read_yaml(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a map of settings, found {type(value).__name__}")
    spec = SpecSettings.parse(value, str(path))
    if spec.name != path.stem:
        raise InputError(f"{path}: name: found '{spec.name}', expected '{path.stem}', as the file is called")
    VerifySettings.parse(spec.verify, f"{path}: verify")
    return spec


def verify_settings(spec: SpecSettings, profile: VerifySettings) -> VerifySettings:
    """The profile's settings of verifying, with the spec's own in their place."""
    return VerifySettings.parse(_merged(profile.model_dump(mode="json"), spec.verify), f"spec {spec.name}: verify")


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = _merged(found[key], value) if both else value
    return found
