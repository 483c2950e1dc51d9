"""Settings of sampling, for cycles (`sample`) and for the benchmark (`benchmark.sample`)."""

from typing import Literal

from pydantic import Field

from stages.common.params import Settings
from stages.settings.servers import ServerSettings


class CurriculumSettings(Settings):
    """Which training tasks a cycle draws samples of, by the pass rates that earlier cycles measured.

    Tasks that are always solved teach nothing new, and those that are never solved stay in; so do curricula of RL for
    reasoning, such as the dynamic sampling of DAPO (Yu et al. 2025, https://arxiv.org/abs/2503.14476).
    """

    revisit: int = Field(
        2,
        ge=0,
        description="A task all of whose samples passed is skipped until so many cycles later (1: never skipped), when "
        "forgetting would be seen; 0: for good.",
    )


class SampleSettings(Settings):
    """How completions are drawn."""

    tasks: Literal["all", "undemonstrated"] = Field(
        "all", description="`undemonstrated`: just the tasks without a reference, which SFT has not seen solved."
    )
    n: int = Field(8, ge=1, description="Completions per task.")
    temperature: float = Field(1.0, ge=0, allow_inf_nan=False, description="Softmax temperature; 0 is greedy.")
    top_p: float = Field(0.95, gt=0, le=1, description="Nucleus sampling: smallest set of tokens with this mass.")
    max_new_tokens: int = Field(512, ge=1, description="Longest completion in tokens.")
    shard: int = Field(32, ge=1, description="Tasks per shard: the unit of seeding, of writing and of resuming.")
    batch: int = Field(
        256, ge=0, description="Sequences decoded at a time, at least those of one task; 0: what fits into free memory."
    )
    compile: Literal["auto", "always", "never"] = Field(
        "auto", description="Compile the decode step (torch.compile); auto: on an accelerator."
    )
    temperature_factor: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="Each cycle after the first multiplies the temperature by this; a cycle's own temperature is kept.",
    )
    curriculum: CurriculumSettings | None = Field(None, description="Tasks that a cycle skips; null: none.")
    workers: int = Field(
        0, ge=0, description="Processes on the CPU, one thread each; 0 = all cores. No effect on text."
    )
    backend: Literal["transformers", "openai"] = Field(
        "transformers", description="Who draws: this process, or OpenAI-compatible servers."
    )
    servers: ServerSettings = Field(default=ServerSettings(), description="Those servers, for backend `openai`.")
