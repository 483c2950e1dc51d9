"""docs/PARAMS.md: every key of params.yaml, from the models that validate it.

python -m tests.params_table --write    renews the page
"""

import argparse
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from stages.common.params import Settings
from stages.settings.check import SECTIONS
from stages.settings.control import ControlSettings
from stages.settings.cycle import CycleSettings
from stages.settings.generate import GenerateSettings
from stages.settings.grpo import GrpoRunSettings
from stages.settings.sources import HubSettings
from stages.sources import SOURCES

PAGE = Path(__file__).parent.parent / "docs" / "PARAMS.md"
HEAD = """# Every key of params.yaml

Made from the models that validate the file (`python -m tests.params_table --write`); a test compares them. A key
without a default must be given. `P` stands for a profile, `N` for a number, `NAME` for a name. What
`profiles.P.run` holds is laid over the rest of its profile. A group of keys that occurs in several places stands
here once.

| key | what it is |
| --- | --- |
| `profile` | The profile of `profiles` that is in force; `dvc exp run -S profile=smoke` switches for one run. |
| `seed` | Every draw of the pipeline follows from it. |
| `models` | The checkpoints that are benchmarked and reported: `base`, `sft`, `cycle-1` and so on. |
"""
ROOTS: dict[str, type[Settings]] = {
    "sources": HubSettings,
    "cycles.N": CycleSettings,
    "controls.N": ControlSettings,
    "grpo.N": GrpoRunSettings,
    "specs.NAME": GenerateSettings,
    **{f"profiles.P.{name}": kind for name, kind in SECTIONS.items()},
    **{f"profiles.P.sources.{name}": source.settings for name, source in SOURCES.items()},
}


def inner(kind: Any) -> Iterator[type[Settings]]:
    """The models within a type: itself, in a union, in a list."""
    if isinstance(kind, type) and issubclass(kind, Settings):
        yield kind
    for argument in get_args(kind):
        yield from inner(argument)


def places() -> dict[type[Settings], list[str]]:
    """Where in the file each model occurs, in the file's order."""
    found: dict[type[Settings], list[str]] = {}
    waiting = list(ROOTS.items())
    while waiting:
        at, kind = waiting.pop(0)
        found.setdefault(kind, []).append(at)
        deeper = [
            (f"{at}.{name}", model) for name, field in kind.model_fields.items() for model in inner(field.annotation)
        ]
        waiting = deeper + waiting
    return found


def named(kind: Any) -> str:
    """A type in the words of a reader."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if each is type(None) else named(each) for each in arguments)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is typing.Annotated:
        return named(arguments[0])
    if origin is not None:
        return f"{origin.__name__} of {', '.join(map(named, arguments))}" if arguments else origin.__name__
    if isinstance(kind, type) and issubclass(kind, Settings):
        return "group"
    return getattr(kind, "__name__", str(kind))


def default(field: FieldInfo) -> str:
    """The default as YAML has it; nothing where the key must be given."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Settings):
        return "its defaults"
    words = {None: "null", True: "true", False: "false", "": '""'}
    return f"`{words.get(value, value) if isinstance(value, str | bool | type(None)) else value}`"


def cell(text: str) -> str:
    """Text that stays in one cell."""
    return " ".join(text.split()).replace("|", "\\|")


def row(name: str, field: FieldInfo) -> str:
    """A key's line; a group without words of its own is told by its model's."""
    models = ((model.__doc__ or "").split("\n")[0] for model in inner(field.annotation))
    about = field.description or next(models, "")
    return f"| `{name}` | {cell(named(field.annotation))} | {cell(default(field))} | {cell(about)} |"


def text() -> str:
    """The page."""
    lines = [HEAD]
    for kind, found in places().items():
        if not kind.model_fields:
            continue
        lines.append(f"## {', '.join(f'`{at}`' for at in found)}\n")
        lines.append("| key | type | default | what it is |\n| --- | --- | --- | --- |")
        for name, field in kind.model_fields.items():
            lines.append(row(field.alias or name, field))
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(text(), encoding="utf-8")
    else:
        print(text())


if __name__ == "__main__":
    main()
