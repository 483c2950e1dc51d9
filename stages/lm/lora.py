"""Low-rank adapters to train: their configuration."""

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
        left_out = _left_out(model, lora.targets) if lora else set()
        if left_out:
            there = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in known.target_modules}))
            raise InputError(
                f"lora.targets: the checkpoint to start from is an adapter of {there}, "
                f"found {lora.targets}; give it the same"
            )


def _words(settings: dict[str, Any]) -> str:
    *most, last = (f"{name} {value:g}" for name, value in settings.items())
    return f"{', '.join(most)} and {last}"


def _left_out(model: Any, targets: str | list[str]) -> set[str]:
    """Names of modules that `targets` means and the model's adapter has not, or the other way round."""
    from peft.tuners.lora import LoraLayer

    adapted = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    if targets != "all-linear":
        wanted = {targets} if isinstance(targets, str) else {name.rsplit(".", 1)[-1] for name in targets}
        return wanted ^ adapted
    head = model.get_output_embeddings()
    inside = {id(part) for module in model.modules() if isinstance(module, LoraLayer) for part in module.modules()}
    return {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and id(module) not in inside
    }
