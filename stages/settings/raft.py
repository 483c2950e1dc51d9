"""Settings of RAFT (reward-ranked fine-tuning, Dong et al. 2023, https://arxiv.org/abs/2304.06767)."""

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.common.params import Settings
from stages.settings.training import TrainSettings, refuse


class ReplaySettings(Settings):
    """Examples of earlier training that join a cycle's own accepted samples."""

    cycles: bool = Field(True, description="All accepted samples of the earlier cycles.")
    sft: int = Field(0, ge=0, description="So many demonstrations of the SFT stage, drawn by the seed.")


class RaftSettings(Settings):
    """Which samples are accepted, and how they are trained on."""

    threshold: float = Field(1.0, gt=0, le=1, description="Least reward of an accepted sample.")
    per_task: int = Field(8, ge=1, description="Most accepted samples per task; the best rewards first.")
    deduplicate: bool = Field(True, description="Keep one of samples of a task whose code is the same.")
    start: Literal["parent", "base", "sft"] = Field(
        "parent", description="Weights that a cycle's training starts from."
    )
    replay: ReplaySettings = Field(default=ReplaySettings(), description="Examples of earlier training.")
    train: TrainSettings = Field(description="Fine-tuning on the accepted samples.")

    @model_validator(mode="after")
    def _no_validation(self) -> Self:
        refuse(self.train, early_stop="a cycle has no validation examples; leave it null")
        return self
