"""Settings of a fine-tuning run, shared by base (pretraining), sft and raft."""

from typing import Literal

from pydantic import Field

from stages.common.params import Settings


class LoraSettings(Settings):
    """Low-rank adapters (Hu et al. 2021, https://arxiv.org/abs/2106.09685)."""

    rank: int = Field(16, ge=1, description="Rank of the update.")
    alpha: int = Field(32, ge=1, description="Scale; the update is multiplied by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the adapter.")
    targets: str | list[str] = Field("all-linear", description="Modules adapted: `all-linear`, or their names.")


class TrainSettings(Settings):
    """One run of TRL's SFTTrainer."""

    learning_rate: float = Field(gt=0, description="Peak learning rate.")
    epochs: int = Field(1, ge=1, description="Passes over the examples.")
    batch: int = Field(16, ge=1, description="Sequences per device and forward pass.")
    accumulation: int = Field(1, ge=1, description="Forward passes per optimizer step.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps with rising learning rate.")
    floor: float = Field(0.05, ge=0, le=1, description="The cosine schedule ends at this share of the peak rate.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decoupled weight decay.")
    beta2: float = Field(0.98, gt=0, lt=1, description="AdamW's decay of the second moment.")
    clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    max_length: int = Field(2048, ge=8, description="Longest example in tokens; longer ones are left out and counted.")
    optimizer: Literal["adamw_torch", "adamw_torch_fused"] = Field("adamw_torch", description="As TRL names it.")
    gradient_checkpointing: bool = Field(False, description="Recompute activations: less memory, a third more time.")
    lora: LoraSettings | None = Field(None, description="Train adapters; null trains all weights.")
    log_steps: int = Field(10, ge=1, description="Optimizer steps between points of the loss curve.")
    checkpoint_steps: int = Field(200, ge=1, description="Optimizer steps between checkpoints to resume from.")
