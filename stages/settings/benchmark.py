"""Settings of the benchmark."""

from typing import Self

from pydantic import Field, model_validator

from stages.common.params import Settings
from stages.settings.sampling import SampleSettings
from stages.settings.scoring import ScoreSettings


class BenchmarkSettings(Settings):
    """Held-out pass@k."""

    sample: SampleSettings = Field(description="How completions are drawn.")
    score: ScoreSettings = Field(default=ScoreSettings(), description="How verdicts become figures.")

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if max(self.score.k) > self.sample.n or min(self.score.k) < 1:
            raise ValueError(f"score.k: every k must lie in 1..sample.n = {self.sample.n}")
        return self
