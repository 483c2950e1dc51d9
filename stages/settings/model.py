"""Settings of the base model: a hub id at a pinned revision, or a tiny one built here."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from stages.common.params import Settings
from stages.settings.training import TrainSettings, refuse


class TinySettings(Settings):
    """A decoder of the Qwen2 architecture, pretrained here on the synthetic source's texts."""

    vocabulary: int = Field(768, ge=300, description="Entries of the byte-level BPE vocabulary.")
    hidden: int = Field(128, ge=8, description="Width of the residual stream.")
    layers: int = Field(3, ge=1, description="Decoder layers.")
    heads: int = Field(4, ge=1, description="Attention heads.")
    kv_heads: int = Field(1, ge=1, description="Key-value heads (grouped-query attention).")
    intermediate: int = Field(384, ge=8, description="Width of the MLP.")
    positions: int = Field(512, ge=64, description="Longest context in tokens.")
    initializer_range: float = Field(0.05, gt=0, description="Standard deviation of initial weights.")
    texts: list[Annotated[int, Field(ge=0)]] = Field(
        default=[1500, 1300, 200],
        min_length=3,
        max_length=3,
        description="Pretraining texts of the synthetic source, of one, two and three steps.",
    )
    train: TrainSettings = Field(description="Pretraining.")

    @model_validator(mode="after")
    def _plain(self) -> Self:
        why = "the tiny base is pretrained in one process, all its weights, for all epochs; leave it null"
        refuse(self.train, lora=why, early_stop=why, launch=why)
        return self

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.hidden % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError(
                "2 x heads must divide hidden (rotary positions turn pairs), and kv_heads must divide heads"
            )
        return self


class BaseSettings(Settings):
    """Either `hub` with its commit, in `revision` or `revisions`, or `tiny`."""

    hub: str | None = Field(None, description="Model id on the Hugging Face hub, or a local model directory.")
    revision: str | None = Field(None, description="Commit of the hub repository, so that a rerun gets the same files.")
    revisions: dict[str, str] = Field(
        default={}, description="Commits of several repositories by id, so that `hub` alone may be overridden."
    )
    tiny: TinySettings | None = Field(None, description="Build a tiny model instead.")

    @property
    def commit(self) -> str | None:
        """The pinned commit of `hub`."""
        return self.revision or self.revisions.get(self.hub or "")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.hub is None) == (self.tiny is None):
            raise ValueError("give either 'hub' or 'tiny'")
        return self
