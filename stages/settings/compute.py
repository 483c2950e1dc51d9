"""Settings of computing: read by every stage that loads a model."""

from typing import Literal

from pydantic import Field

from stages.common.params import Settings


class ComputeSettings(Settings):
    """How tensors are computed; read by every stage that loads a model."""

    threads: int = Field(0, ge=0, description="CPU threads in training; 0 = all cores. Fixed for bit-equal reruns.")
    dtype: Literal["float32", "bfloat16"] = Field("bfloat16", description="Type of weights and activations.")
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa",
        description="Attention implementation; `auto` takes flash-attn where its outputs and gradients are right.",
    )
