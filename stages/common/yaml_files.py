"""YAML files of a person's that a script edits: comments, quotes and line breaks stay."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.common.errors import InputError
from stages.common.yaml_reader import read_yaml


def round_trip() -> YAML:
    """A YAML reader and writer that keeps comments, quotes and the width of lines."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def read_document(path: Path) -> tuple[YAML, Any]:
    """The YAML that will write a file again, and what it holds, a map. InputError as `read_yaml`, which reads the file
    first: ruamel takes aliases that unfold without end."""
    if not isinstance(read_yaml(path), dict):
        raise InputError(f"{path}: expected a map of settings")
    yaml = round_trip()
    return yaml, yaml.load(path.read_text(encoding="utf-8"))


def append(items: Any, value: Any) -> None:
    """Append to a list that `round_trip` read; a blank line or comment that followed the list follows it still."""
    behind = items.ca.items.pop(len(items) - 1, None)
    items.append(value)
    if behind is not None:
        items.ca.items[len(items) - 1] = behind
