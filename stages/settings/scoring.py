"""Settings of what becomes of verdicts: pass@k and its intervals."""

from pydantic import Field

from stages.common.params import Settings


class ScoreSettings(Settings):
    """How verdicts become figures."""

    k: list[int] = Field(default=[1, 4, 8], min_length=1, description="The k of pass@k.")
    resamples: int = Field(2000, ge=100, description="Bootstrap resamples of the tasks, for the 95 % intervals.")
