"""A base model from the Hugging Face hub, at a pinned revision, or from a local directory."""

import shutil
import time
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from stages.common.errors import InputError
from stages.common.files import replacing_directory
from stages.lm import load, normal
from stages.settings.compute import ComputeSettings
from stages.settings.model import BaseSettings

# Weights in safetensors, configuration, tokenizer, licence; no pickles, which run code when they are loaded.
WANTED = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "README.md"]


def fetch(settings: BaseSettings, compute: ComputeSettings, out: Path) -> dict[str, Any]:
    """Copy the model to `out` with its tokenizer made fit for training, and load it as a check; returns timing.

    Prints a line for each change to the tokenizer. Raises InputError for an id without pinned revision, a hub that
    cannot be reached, and a broken checkpoint.
    """
    started = time.monotonic()
    source = Path(settings.hub or "")
    if not source.is_dir():
        source = _download(settings)
    with replacing_directory(out) as directory:
        for pattern in WANTED:
            for file in source.glob(pattern):
                shutil.copyfile(file, directory / file.name)
        model = load.load_model(directory, compute)
        rows = model.get_input_embeddings().weight.shape[0]
        del model  # it may have to be loaded again to grow
        for change in normal.normalise(directory, rows):
            print(f"{out}: {change}", flush=True)
        load.load_tokenizer(directory)
    return {"fetch_seconds": round(time.monotonic() - started, 3)}


def _download(settings: BaseSettings) -> Path:
    if settings.commit is None:
        raise InputError(f"base.revision: missing; pin a commit of {settings.hub}, so that a rerun gets the same files")
    try:
        folder = snapshot_download(settings.hub, revision=settings.commit, allow_patterns=WANTED)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise InputError(
            f"base.hub: cannot fetch {settings.hub} at {settings.commit}: {reason}; a local directory will do as well"
        ) from None
    return Path(folder)
