"""Edits of params.yaml by a script: its comments stay, and nothing is written that does not hold."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from stages.common.errors import HaloForgeError, InputError
from stages.common.files import replacing
from stages.common.params import Params
from stages.common.yaml_files import append, read_document
from stages.settings.check import check_all


def edit(path: Path, change: Callable[[Any], bool]) -> bool:
    """Apply `change` to the decoded file, which tells whether it changed anything; check the whole, then write it.

    Raises InputError, naming the fault, where the file would not hold; it is then as it was.
    """
    yaml, document = read_document(path)
    if not change(document):
        return False
    check = path.with_name(f".{path.name}.checked.tmp")
    try:
        with check.open("w", encoding="utf-8") as file:
            yaml.dump(document, file)
        check_all(Params(check))
    except InputError as error:
        raise InputError(str(error).replace(str(check), str(path))) from None
    finally:
        check.unlink(missing_ok=True)
    with replacing(path) as file:
        yaml.dump(document, file)
    return True


def add_entry(document: Any, section: str, number: str, parent: str, model: str) -> bool:
    """Add `section`.`number`: {parent} and the checkpoint that it makes; whether either was not there."""
    entries, models = document[section], document["models"]
    known = number in entries and model in models
    if number not in entries:
        entry = CommentedMap(parent=parent)
        entry.fa.set_flow_style()
        entries[DoubleQuotedScalarString(number)] = entry
        entries.fa.set_block_style()
    if model not in models:
        append(models, model)
    return not known


def reproduce(*targets: str) -> None:
    """`dvc repro`; HaloForgeError where it fails."""
    command = ["dvc", "repro", *targets]
    print(" ".join(command), flush=True)
    if code := subprocess.run(command, check=False).returncode:
        raise HaloForgeError(f"dvc repro ended with exit code {code}, see above")
