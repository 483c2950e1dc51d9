"""Settings of RAFT (reward-ranked fine-tuning, Dong et al. 2023, https://arxiv.org/abs/2304.06767)."""

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.common.params import Settings
from stages.settings.cycle import CycleSettings
from stages.settings.training import TrainSettings, refuse


class ReplaySettings(Settings):
    """Examples of earlier training that join a cycle's own accepted samples."""

    cycles: bool = Field(True, description="All accepted samples of the earlier cycles.")
    sft: int = Field(0, ge=0, description="So many demonstrations of the SFT stage, drawn by the seed.")


class HardnessSettings(Settings):
    """Accepted samples of hard tasks weigh more: there are few of them, and easy tasks would crowd them out (the bias
    that DART-Math describes and mends by more samples, Tong et al. 2024, https://arxiv.org/abs/2407.13690)."""

    most: int = Field(
        4,
        ge=1,
        description="An example of a task of whose samples a share p passed is trained on 1/p times an epoch, rounded, "
        "at most so often.",
    )


class RaftSettings(Settings):
    """Which samples are accepted, and how they are trained on."""

    threshold: float = Field(1.0, gt=0, le=1, description="Least reward of an accepted sample.")
    per_task: int = Field(8, ge=1, description="Most accepted samples per task; the best rewards first.")
    prefer: Literal["first", "shortest", "longest"] = Field(
        "first",
        description="Which of samples of equal reward are kept where more than per_task passed, by length of text.",
    )
    hardness: HardnessSettings | None = Field(None, description="Weighting by pass rate; null: all alike.")
    deduplicate: bool = Field(True, description="Keep one of samples of a task whose code is the same.")
    start: Literal["parent", "base", "sft"] = Field(
        "parent",
        description="Weights that a cycle's training starts from: RAFT goes on from the parent, ReST-EM begins again "
        "from the base model (Singh et al. 2023, https://arxiv.org/abs/2312.06585).",
    )
    rate_factor: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="Each cycle after the first multiplies the learning rate by this; a cycle's own rate is kept.",
    )
    replay: ReplaySettings = Field(default=ReplaySettings(), description="Examples of earlier training.")
    train: TrainSettings = Field(description="Fine-tuning on the accepted samples.")

    @model_validator(mode="after")
    def _no_validation(self) -> Self:
        refuse(self.train, early_stop="a cycle has no validation examples; leave it null")
        return self


def for_cycle(settings: RaftSettings, own: CycleSettings, place: int) -> RaftSettings:
    """The profile's settings for the cycle at `place` in the chain (1: the first), with those that its entry gives."""
    rate = settings.train.learning_rate * settings.rate_factor ** (place - 1)
    train = settings.train.model_copy(
        update={"learning_rate": rate if own.learning_rate is None else own.learning_rate}
    )
    threshold = settings.threshold if own.threshold is None else own.threshold
    return settings.model_copy(update={"threshold": threshold, "train": train})
