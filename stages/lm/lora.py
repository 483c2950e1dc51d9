"""Low-rank adapters to train: their configuration."""

from typing import Any

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
        wanted = lora and (lora.rank, lora.alpha)
        if wanted != (known.r, known.lora_alpha):
            raise InputError(
                f"lora: the checkpoint to start from is an adapter of rank {known.r} and alpha {known.lora_alpha}, "
                f"found {'null' if wanted is None else 'rank {} and alpha {}'.format(*wanted)}; give it the same"
            )
