"""Settings of GRPO (Shao et al. 2024, https://arxiv.org/abs/2402.03300), as TRL's GRPOTrainer names them.

Dr. GRPO (Liu et al. 2025, https://arxiv.org/abs/2503.20783): loss_type dr_grpo, scale_rewards none.
DAPO (Yu et al. 2025, https://arxiv.org/abs/2503.14476): loss_type dapo, epsilon_high 0.28, mask_truncated_completions,
beta 0. Its dynamic sampling is not in TRL; a group whose rewards are all the same has advantage 0 and teaches nothing.
GSPO (Zheng et al. 2025, https://arxiv.org/abs/2507.18071): importance_sampling_level sequence, loss_type grpo.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.common.errors import InputError
from stages.common.params import Params, Settings
from stages.settings.training import LoraSettings

Reward = Literal["ladder", "binary"]
LossType = Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo"]
ScaleRewards = Literal["group", "batch", "none"]


class GrpoSettings(Settings):
    """One run. A generation draws batch x steps_per_generation completions, `num_generations` for each prompt, and is
    trained on for steps_per_generation x num_iterations / accumulation optimizer steps."""

    reward: Reward = Field(
        "binary",
        description="`ladder`: the verdict's reward; `binary`: 1 for one that passes every test, else 0, as RLVR does "
        "(Lambert et al. 2024, https://arxiv.org/abs/2411.15124).",
    )
    tasks: Literal["all", "undemonstrated"] = Field(
        "all", description="`undemonstrated`: just the tasks without a reference, which SFT has not seen solved."
    )
    loss_type: LossType = Field(
        "dapo",
        description="How token losses are joined. grpo: mean of each answer's mean, which favours short right and long "
        "wrong answers; dr_grpo: sum over a constant (arXiv:2503.20783); dapo, TRL's default: mean over the tokens of "
        "a generation (arXiv:2503.14476); bnpo: over those of a batch; cispo: MiniMax-M1 (arXiv:2506.13585), with "
        "epsilon_high 5; sapo: arXiv:2511.20347.",
    )
    scale_rewards: ScaleRewards = Field(
        "group",
        description="Advantages are divided by the standard deviation of their group's rewards (arXiv:2402.03300), of "
        "the whole generation's (arXiv:2508.08221), or not at all: the first weighs very easy and very hard prompts "
        "more (Dr. GRPO, arXiv:2503.20783).",
    )
    num_generations: int = Field(8, ge=2, description="Completions per prompt: G of the paper.")
    epsilon: float = Field(0.2, gt=0, description="Clip range of the probability ratio (PPO, arXiv:1707.06347).")
    epsilon_high: float | None = Field(
        None, gt=0, description="Its upper end; null: `epsilon`. DAPO's clip-higher is 0.28 (arXiv:2503.14476)."
    )
    beta: float = Field(
        0.0, ge=0, description="Weight of the KL term to the parent. 0 saves the reference model (DAPO, Dr. GRPO)."
    )
    num_iterations: int = Field(1, ge=1, description="Passes over each generation: mu of the paper.")
    importance_sampling_level: Literal["token", "sequence"] = Field(
        "token", description="`sequence`: one ratio per answer, GSPO's (arXiv:2507.18071)."
    )
    mask_truncated_completions: bool = Field(
        False, description="Answers that did not end in time teach nothing (DAPO's overlong filtering)."
    )
    top_entropy_quantile: float = Field(
        1.0, gt=0, le=1, description="Share of tokens, those of highest entropy, that teach (arXiv:2506.01939)."
    )
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False, description="Softmax temperature of sampling.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Nucleus sampling. Below 1 the loss's ratios are not those of what was sampled."
    )
    max_completion_length: int = Field(512, ge=1, description="Longest completion in tokens.")
    batch: int = Field(16, ge=1, description="Sequences per forward and backward pass.")
    accumulation: int = Field(1, ge=1, description="Forward passes per optimizer step.")
    steps_per_generation: int | None = Field(
        None, ge=1, description="Forward passes per generation, a multiple of accumulation; null: accumulation."
    )
    generation_batch: int = Field(
        256, ge=1, description="Sequences generated at a time; at least those of one prompt. A batch is being verified "
        "while the next one is generated."
    )  # fmt: skip
    epochs: int = Field(1, ge=1, description="Passes over the prompts, where `steps` is null.")
    steps: int | None = Field(None, ge=1, description="Optimizer steps, rounded up to whole generations.")
    learning_rate: float = Field(1.0e-6, gt=0, description="Peak learning rate; the default is TRL's.")
    schedule: Literal["constant_with_warmup", "linear", "cosine"] = Field(
        "constant_with_warmup", description="Course of the learning rate, as transformers names it."
    )
    warmup: float = Field(0.0, ge=0, lt=1, description="Share of the steps with rising learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decoupled weight decay.")
    beta2: float = Field(0.999, gt=0, lt=1, description="AdamW's decay of the second moment.")
    clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    optimizer: Literal["adamw_torch", "adamw_torch_fused"] = Field("adamw_torch", description="As TRL names it.")
    gradient_checkpointing: bool = Field(False, description="Recompute activations: less memory, a third more time.")
    lora: LoraSettings | None = Field(None, description="Train adapters; null trains all weights.")
    checkpoint_steps: int = Field(
        50, ge=1, description="Optimizer steps between checkpoints to resume from, rounded up to whole generations."
    )
    keep_steps: int | None = Field(
        None, ge=1, description="Optimizer steps between checkpoints that stay, in OUT/step-N; a multiple of a "
        "generation's; null: the last alone."
    )  # fmt: skip

    @property
    def passes(self) -> int:
        """Forward passes over one generation."""
        return self.steps_per_generation or self.accumulation

    @property
    def prompts_per_generation(self) -> int:
        """Prompts of one generation."""
        return self.batch * self.passes // self.num_generations

    @property
    def generation_steps(self) -> int:
        """Optimizer steps on one generation."""
        return self.passes * self.num_iterations // self.accumulation

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        drawn = self.batch * self.passes
        if drawn % self.num_generations:
            raise ValueError(
                f"num_generations: {self.num_generations} must divide batch x steps_per_generation = {drawn}"
            )
        if self.passes % self.accumulation:
            raise ValueError(f"steps_per_generation: {self.passes} must be a multiple of accumulation")
        if self.keep_steps and self.keep_steps % self.generation_steps:
            raise ValueError(
                f"keep_steps: {self.keep_steps} must be a multiple of a generation's {self.generation_steps} steps"
            )
        return self


class GrpoRunSettings(Settings):
    """A run's entry in `grpo`: its parent, and settings that differ from the profile's (null: the profile's)."""

    parent: str = Field(pattern=r"^(sft|(cycle|grpo)-[1-9][0-9]*)$", description="The checkpoint to start from.")
    reward: Reward | None = Field(None, description="Overrides grpo.reward.")
    loss_type: LossType | None = Field(None, description="Overrides grpo.loss_type.")
    scale_rewards: ScaleRewards | None = Field(None, description="Overrides grpo.scale_rewards.")
    beta: float | None = Field(None, ge=0, description="Overrides grpo.beta.")
    epsilon_high: float | None = Field(None, gt=0, description="Overrides grpo.epsilon_high.")
    num_iterations: int | None = Field(None, ge=1, description="Overrides grpo.num_iterations.")
    temperature: float | None = Field(None, gt=0, allow_inf_nan=False, description="Overrides grpo.temperature.")
    learning_rate: float | None = Field(None, gt=0, description="Overrides grpo.learning_rate.")
    steps: int | None = Field(None, ge=1, description="Overrides grpo.steps.")

    def applied(self, settings: GrpoSettings, where: str) -> GrpoSettings:
        """The profile's settings with this run's own. InputError, opened by `where`, if they do not fit."""
        own = self.model_dump(exclude={"parent"}, exclude_none=True)
        return GrpoSettings.parse({**settings.model_dump(), **own}, where)


def check_runs(params: Params) -> list[str]:
    """The checkpoints that the runs of `grpo` make, in order; none where the file has no such key.

    Raises InputError unless every run's parent is a checkpoint made before it, and its settings fit the profile's.
    """
    path, runs = params.path, params.raw.get("grpo", {})
    if not isinstance(runs, dict):
        raise InputError(f"{path}: grpo: expected a map, found {type(runs).__name__}")
    cycles = params.raw.get("cycles")
    known, names = ["sft", *(f"cycle-{number}" for number in (cycles if isinstance(cycles, dict) else ()))], []
    for number, entry in runs.items():
        where = f"{path}: grpo.{number}"
        if not isinstance(number, str) or not number.isdigit() or number.startswith("0"):
            raise InputError(f"{where}: expected a number in quotes: DVC drops stages whose keys are bare numbers")
        run = GrpoRunSettings.parse(entry, where)
        if run.parent not in known:
            raise InputError(f"{where}.parent: found '{run.parent}', expected one made before it: {', '.join(known)}")
        run.applied(params.section(GrpoSettings, "grpo"), where)
        known.append(f"grpo-{number}")
        names.append(f"grpo-{number}")
    return names
