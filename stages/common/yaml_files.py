"""YAML files of a person's that a script edits: comments, quotes and line breaks stay."""

from typing import Any

from ruamel.yaml import YAML


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


def append(items: Any, value: Any) -> None:
    """Append to a list that `round_trip` read; a blank line or comment that followed the list follows it still."""
    behind = items.ca.items.pop(len(items) - 1, None)
    items.append(value)
    if behind is not None:
        items.ca.items[len(items) - 1] = behind
