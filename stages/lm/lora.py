"""Low-rank adapters to train: their configuration."""

import re
from typing import Any

import torch

from stages.common.errors import InputError
from stages.settings.training import LoraSettings


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
        found = {"rank": known.r, "alpha": known.lora_alpha, "dropout": known.lora_dropout}
        wanted = {name: getattr(lora, name) for name in found} if lora else None
        if wanted != found:
            raise InputError(
                f"lora: the checkpoint to start from is an adapter of {_words(found)}, "
                f"found {_words(wanted) if wanted else 'null'}; give it the same"
            )
        there, wanted_there = _targets(model, lora.targets) if lora else (set(), set())
        if there != wanted_there:
            names = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in there}))
            raise InputError(
                f"lora.targets: the checkpoint to start from is an adapter of {names}, found {lora.targets}, which "
                f"means {len(wanted_there)} modules where that has {len(there)}; give it the same"
            )


def _words(settings: dict[str, Any]) -> str:
    *most, last = (f"{name} {value:g}" for name, value in settings.items())
    return f"{', '.join(most)} and {last}"


def _targets(model: Any, targets: str | list[str]) -> tuple[set[str], set[str]]:
    """(paths of the modules that the model's adapter has, those that `targets` means, by PEFT's rules)."""
    from peft.tuners.lora import LoraLayer

    base = model.get_base_model()
    head = base.get_output_embeddings()
    adapted = {name for name, module in base.named_modules() if isinstance(module, LoraLayer)}
    plain = {
        name
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and not any(name.startswith(f"{path}.") for path in adapted)
    }
    if targets == "all-linear":
        return adapted, {name for name in adapted | plain if base.get_submodule(name) is not head}
    if isinstance(targets, str):
        return adapted, {name for name in adapted | plain if re.fullmatch(targets, name)}
    return adapted, {name for name in adapted | plain if any(f".{name}".endswith(f".{t}") for t in targets)}
