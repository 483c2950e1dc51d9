"""What `make plan` assumes of a profile's device where it is not at hand."""

from typing import Literal

from pydantic import Field

from stages.common.params import Settings


class PlanSettings(Settings):
    """A device; no stage depends on it."""

    device: Literal["cpu", "gfx1151", "cuda"] = Field("cpu", description="Whose published rates are taken.")
    memory_gib: float | None = Field(None, gt=0, description="Its memory in GiB; null: that of this machine.")
    share: float = Field(0.8, gt=0, le=1, description="Share of it that may be used: a full unified memory freezes.")
