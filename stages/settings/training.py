"""Settings of a fine-tuning run, shared by base (pretraining), sft and raft."""

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.common.params import Settings

MOST_LOGITS = 2**24  # of a pass on the CPU that are held at once, 64 MiB in float32; beyond, TRL's head takes tiles


class LoraSettings(Settings):
    """Low-rank adapters (Hu et al. 2021, https://arxiv.org/abs/2106.09685)."""

    rank: int = Field(16, ge=1, description="Rank of the update.")
    alpha: int = Field(32, ge=1, description="Scale; the update is multiplied by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the adapter.")
    targets: str | list[str] = Field("all-linear", description="Modules adapted: `all-linear`, or their names.")
    quantize: Literal["nf4"] | None = Field(
        None,
        description="QLoRA (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314): the frozen weights are held in 4 "
        "bits (nf4, constants quantised as well) while the adapter trains; needs bitsandbytes.",
    )


class EarlyStopSettings(Settings):
    """End a training whose validation loss no longer falls, and keep the checkpoint with the lowest."""

    every: int = Field(50, ge=1, description="Optimizer steps between validation losses; a multiple of log_steps.")
    patience: int = Field(3, ge=1, description="Validation losses in a row without a new lowest before the end.")
    margin: float = Field(0.0, ge=0, description="Least fall of the loss (nats per token) that counts as a new lowest.")


class TrainSettings(Settings):
    """One run of TRL's SFTTrainer."""

    learning_rate: float = Field(gt=0, description="Peak learning rate.")
    epochs: int = Field(1, ge=1, description="Passes over the examples.")
    batch: int = Field(16, ge=1, description="Sequences (packed: rows) per device and forward pass.")
    accumulation: int = Field(1, ge=1, description="Forward passes per optimizer step.")
    batching: Literal["shuffled", "by_length", "packed"] = Field(
        "shuffled",
        description="How examples share a forward pass: in random order, padded; those of like length together, which "
        "pads little; packed into rows of max_length, without padding, each example attending to itself only.",
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps with rising learning rate.")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="The rate after the warm-up.")
    floor: float = Field(0.05, ge=0, le=1, description="The cosine schedule ends at this share of the peak rate.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decoupled weight decay.")
    beta2: float = Field(0.98, gt=0, lt=1, description="AdamW's decay of the second moment.")
    clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    max_length: int = Field(2048, ge=8, description="Longest example in tokens; longer ones are left out and counted.")
    optimizer: Literal["adamw_torch", "adamw_torch_fused", "adamw_bnb_8bit"] = Field(
        "adamw_torch", description="As TRL names it; adamw_bnb_8bit needs bitsandbytes."
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations: less memory, a third more time.")
    liger: bool = Field(False, description="Liger's fused kernels (https://arxiv.org/abs/2410.10989), for GPUs.")
    lora: LoraSettings | None = Field(None, description="Train adapters; null trains all weights.")
    early_stop: EarlyStopSettings | None = Field(None, description="Stop on validation loss; null: all epochs.")
    launch: Literal["accelerate"] | None = Field(
        None, description="`accelerate`: train in all processes that launch_config names (docs/SCALING.md)."
    )
    launch_config: str | None = Field(None, description="Accelerate's configuration file, such as one below toolbox/.")
    log_steps: int = Field(10, ge=1, description="Optimizer steps between points of the loss curve.")
    checkpoint_steps: int = Field(200, ge=1, description="Optimizer steps between checkpoints to resume from.")

    @model_validator(mode="after")
    def _agreeing(self) -> Self:
        if self.early_stop and self.early_stop.every % self.log_steps:
            raise ValueError(f"early_stop.every must be a multiple of log_steps = {self.log_steps}")
        if self.schedule != "cosine" and "floor" in self.model_fields_set:
            raise ValueError(f"floor: only the cosine schedule has one, and schedule is {self.schedule}")
        if (self.launch is None) != (self.launch_config is None):
            raise ValueError("launch and launch_config go together: give both or neither")
        return self


def refuse(settings: TrainSettings, **unfit: str) -> TrainSettings:
    """`settings`, unless one of the fields `unfit` is set, for the reason given with it (ValueError)."""
    for name, reason in unfit.items():
        if getattr(settings, name) is not None:
            raise ValueError(f"train.{name}: {reason}")
    return settings
