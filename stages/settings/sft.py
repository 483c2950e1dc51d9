"""Settings of supervised fine-tuning."""

from pydantic import Field

from stages.common.params import Settings
from stages.settings.training import TrainSettings


class SftSettings(Settings):
    """Fine-tuning on the reference solutions of the training tasks that have one."""

    train: TrainSettings = Field(description="Fine-tuning.")
