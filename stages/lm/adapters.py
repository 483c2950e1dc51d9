"""Low-rank adapters: their configuration, and the base model that each belongs to."""

import json
from pathlib import Path
from typing import Any

from stages.common.errors import InputError
from stages.common.files import content_hash, write_json
from stages.settings.training import LoraSettings

BASE_FILE = "halo_forge_base.json"  # beside an adapter: the digest of the weights that it was trained on


def adapter(lora: LoraSettings | None) -> Any:
    """PEFT's configuration of the adapter to train; None for all weights."""
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets,
        task_type="CAUSAL_LM",
    )


def expect_same_adapter(model: Any, lora: LoraSettings | None) -> None:
    """An adapter that a checkpoint brings is trained on as it is: settings that say otherwise would do nothing."""
    for known in getattr(model, "peft_config", {}).values():
        wanted = lora and (lora.rank, lora.alpha)
        if wanted != (known.r, known.lora_alpha):
            raise InputError(
                f"lora: the checkpoint to start from is an adapter of rank {known.r} and alpha {known.lora_alpha}, "
                f"found {'null' if wanted is None else 'rank {} and alpha {}'.format(*wanted)}; give it the same"
            )


def base_of(path: Path) -> Path:
    """The directory of an adapter's base model. Raises InputError where it is not there."""
    named = json.loads((path / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    places = (Path(named or ""), path.parent / Path(named or "").name)
    base = next((place for place in places if named and place.is_dir()), None)
    if base is None:
        raise InputError(f"{path}: adapter of the base model '{named}', which is not there")
    return base


def weights_hash(directory: Path) -> str:
    """Digest of a checkpoint's weights (all its safetensors files, by name)."""
    return content_hash(*sorted(directory.glob("*.safetensors")))


def remember_base(directory: Path, base: Path) -> None:
    """Write beside an adapter which weights it was trained on."""
    write_json(directory / BASE_FILE, {"weights": weights_hash(base)})


def expect_same_base(path: Path, base: Path) -> None:
    """Raise InputError where `base` has other weights than those that the adapter at `path` was trained on; an adapter
    that does not say is taken."""
    file = path / BASE_FILE
    if not file.is_file():
        return
    known, found = json.loads(file.read_text(encoding="utf-8"))["weights"], weights_hash(base)
    if known != found:
        raise InputError(
            f"{path}: adapter of another base model: {base} has the weights {found[:12]}, expected {known[:12]}"
        )
