"""Settings of validation: what decides whether a cycle may be gone on from."""

from pydantic import Field

from stages.common.params import Settings
from stages.settings.sampling import SampleSettings
from stages.settings.scoring import ScoreSettings


class ValidationSettings(Settings):
    """pass@1 on the validation tasks after SFT and after each cycle; the benchmark is for reporting alone."""

    sample: SampleSettings = Field(
        default=SampleSettings(n=4, temperature=0.8), description="How completions are drawn."
    )
    resamples: int = Field(2000, ge=100, description="Bootstrap resamples of the tasks, for the 95 % interval.")
    stop: bool = Field(
        True, description="A cycle whose interval lies below its parent's has no children: they start from the parent."
    )

    @property
    def score(self) -> ScoreSettings:
        """How verdicts become pass@1."""
        return ScoreSettings(k=[1], resamples=self.resamples)
