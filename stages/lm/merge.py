"""Adapters merged into ordinary model directories."""

import shutil
from pathlib import Path

import torch

from stages.common.errors import InputError
from stages.common.files import naming_a_full_disk, replacing_directory
from stages.lm import load
from stages.settings.compute import ComputeSettings


def is_adapter(path: Path) -> bool:
    """Whether a checkpoint is a PEFT adapter."""
    return (path / "adapter_config.json").is_file()


def merge(path: Path, out: Path, compute: ComputeSettings) -> bool:
    """Write `path` to `out` as a model that needs no PEFT, whole or not at all; False where it was one before.

    An adapter's products are added to its base's weights in float32 and rounded once, to `compute.dtype`; an adapter
    trained on a quantised base is merged onto the weights that were quantised. Raises InputError for a checkpoint that
    does not load, or whose weights are not finite.
    """
    load.expect_checkpoint(path)
    if out.resolve() == path.resolve():
        raise InputError(f"{out}: the checkpoint itself; give another directory")
    if not is_adapter(path):
        with naming_a_full_disk(out), replacing_directory(out) as directory:
            shutil.copytree(path, directory, dirs_exist_ok=True)
        return False
    tokenizer = load.load_tokenizer(path)
    model = load.load_model(path, compute.model_copy(update={"dtype": "float32"}))
    try:
        merged = model.merge_and_unload(safe_merge=True)
    except ValueError as error:  # its check for NaN
        raise InputError(f"{path}: cannot be merged: {str(error).splitlines()[0][:200]}") from None
    load.save(out, merged.to(getattr(torch, compute.dtype)), tokenizer)
    return True
