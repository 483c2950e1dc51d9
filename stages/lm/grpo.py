"""Training with TRL's GRPOTrainer, on rewards that come from outside this room.

TRL takes a training step in this order: generation, log probabilities of the old policy and of the reference model
where the loss needs them, rewards, loss. It waits at each; of several reward functions only asynchronous ones run
beside each other. What it leaves open is `rollout_func`, which generates: ours hands each batch of completions to the
verifiers as it is drawn and goes on, so they are at work during the rest of the generation and the log probabilities,
and the reward function waits just for what is still missing. TRL's `AsyncGRPOTrainer` (experimental), which generates
while it trains, needs a vLLM server on a GPU and gives up repeatability.
"""

import contextlib
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import GenerationConfig, PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from stages.common.errors import HaloForgeError, InputError
from stages.common.files import naming_a_full_disk, value_hash
from stages.common.progress import Progress
from stages.lm import devices, load
from stages.lm.chat import end_ids
from stages.lm.grpo_figures import curve, metrics
from stages.lm.lora import adapter, expect_same_adapter
from stages.lm.rollouts import Judge, Prompt, Rollouts
from stages.lm.trainer import last_checkpoint, silence
from stages.lm.training import TrainResult
from stages.settings.grpo import GrpoSettings

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # `rollout_func` says at each start that it may change

SHOWN_IDS = 5  # task ids named where a loss is no number
# Settings that GRPOConfig has by the same name.
SAME_IN_TRL = {
    "loss_type",
    "scale_rewards",
    "num_generations",
    "epsilon",
    "epsilon_high",
    "beta",
    "num_iterations",
    "importance_sampling_level",
    "mask_truncated_completions",
    "top_entropy_quantile",
    "temperature",
    "top_p",
    "max_completion_length",
}


class _Trainer(GRPOTrainer):
    """Knows which tasks a batch is about. `where` names the run in errors."""

    def __init__(self, rollouts: Rollouts, model: Any, **arguments: Any) -> None:
        self.rollouts = rollouts
        self.step_rows: list[int] = []  # what the optimizer step at hand has been computed from so far
        self.plain = model.get_base_model() if hasattr(model, "peft_config") else model
        self.own_generation = self.plain.generation_config
        # TRL takes the tokens that end an answer from here. What else a checkpoint brings would apply unseen.
        self.plain.generation_config = GenerationConfig(eos_token_id=end_ids(rollouts.tokenizer))
        super().__init__(model=model, reward_funcs=self.reward, rollout_func=self.draw, **arguments)

    @contextlib.contextmanager
    def as_it_came(self) -> Iterator[Any]:
        """The model with its checkpoint's own settings of generation, to be saved."""
        ours, self.plain.generation_config = self.plain.generation_config, self.own_generation
        yield self.accelerator.unwrap_model(self.model)
        self.plain.generation_config = ours

    def draw(self, prompts: list, trainer: Any) -> dict[str, list]:
        """TRL's `rollout_func`."""
        rows = self.drawn_rows[:: self.num_generations]
        return self.rollouts.draw(self.accelerator.unwrap_model(self.model), rows, self.state.global_step)

    def reward(self, prompts: list, completions: list, **_: Any) -> list[float | None]:
        """TRL's reward function. What it raises ends the training."""
        return self.rollouts.rewards(self.state.global_step)

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict:
        self.drawn_rows = [each["row"] for each in inputs]
        return {**super()._generate_and_score_completions(inputs), "row": torch.tensor(self.drawn_rows)}

    def compute_loss(self, model: Any, inputs: dict, *arguments: Any, **more: Any) -> torch.Tensor:
        rows = inputs["row"].tolist()
        self.step_rows += rows
        loss = super().compute_loss(model, inputs, *arguments, **more)
        if not torch.isfinite(loss):
            raise self.no_number("loss", loss.item(), rows)
        return loss

    def no_number(self, what: str, value: float, rows: list[int]) -> HaloForgeError:
        """The error for a loss or gradient that is no number, with step and tasks."""
        ids = sorted({self.rollouts.prompt(row).task.task_id for row in rows})
        more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
        return HaloForgeError(
            f"{self.rollouts.name}: the {what} became {value} at step {self.state.global_step + 1}, on the tasks "
            f"{', '.join(ids[:SHOWN_IDS])}{more}; lower grpo.learning_rate"
        )


class _Watch(TrainerCallback):
    """Shows progress, keeps checkpoints, and stops at the first gradient that is no number."""

    def __init__(self, trainer: _Trainer, progress: Progress, kept: Path) -> None:
        self.trainer, self.progress, self.folder = trainer, progress, kept
        self.kept: list[dict[str, float | int]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                raise self.trainer.no_number("gradient", math.nan, self.trainer.step_rows)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.step_rows = []
        every = self.trainer.rollouts.settings.keep_steps
        if every and state.global_step % every == 0 and state.global_step < state.max_steps:
            with self.trainer.as_it_came() as model:
                load.save(self.folder / f"step-{state.global_step}", model, self.trainer.processing_class)
            seconds = {"seconds": round(self.progress.seconds, 3), "cpu_seconds": round(time.process_time(), 3)}
            self.kept.append({"step": state.global_step, **seconds})

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_: Any) -> None:
        if logs and "reward" in logs:
            self.progress.update(state.global_step - self.progress.done, f"reward {logs['reward']:.3f}")


def train_grpo(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    settings: GrpoSettings,
    judge: Judge,
    *,
    seed: int,
    name: str,
    work: Path,
    origin: Any,
) -> tuple[TrainResult, Rollouts]:
    """Train `model` on what the judge pays for its own completions; returns metrics, curve, and all that was drawn.

    Checkpoints and records lie in `work`, which DVC does not delete; a run that was killed goes on from the last
    checkpoint if prompts, settings, seed and `origin` (a JSON value that tells what the weights at the start are, how
    tensors are computed and what judges) are the same, and ends as an unbroken run would.
    Raises HaloForgeError where loss or gradients are no numbers, and whatever the judge raises.
    """
    steps = run_steps(settings, len(prompts))
    asked = [[asdict(prompt.task), prompt.ids] for prompt in prompts]
    folder = work / value_hash([origin, asked, settings.model_dump(exclude={"checkpoint_steps"}), seed, name])
    rollouts = Rollouts(
        name, prompts, settings, tokenizer, judge, folder / "rollouts", seed, steps // settings.generation_steps
    )
    with naming_a_full_disk(work), Progress(name, steps, "steps") as progress:
        trainer = _trainer(model, rollouts, folder)
        watch = _Watch(trainer, progress, folder / "kept")
        trainer.add_callback(watch)
        resume = last_checkpoint(folder)
        done = int(resume.name.rpartition("-")[2]) if resume else 0
        if not rollouts.keep(done // settings.generation_steps):
            resume = None
        if resume:
            print(f"{name}: resuming from step {done}", flush=True)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        seconds = progress.seconds
    trained = trainer.model
    trainer.plain.generation_config = trainer.own_generation
    if "ref" in getattr(trained, "peft_config", {}):
        trained.delete_adapter("ref")  # TRL's copy of the parent's adapter, which the KL term is measured from
    result = TrainResult(trained, metrics(rollouts, steps), curve=curve(trainer.state.log_history))
    result.timing = {
        "train_seconds": round(seconds, 3),
        "generate_seconds": round(rollouts.seconds["generate"], 3),
        "verdict_wait_seconds": round(rollouts.seconds["wait"], 3),
        "cpu_seconds": round(time.process_time(), 3),
        "steps": steps - (done if resume else 0),
        "sampled_tokens": rollouts.tokens,
        "trained_parameters": sum(p.numel() for p in trained.parameters() if p.requires_grad),
        "kept": watch.kept,
    }
    return result, rollouts


def run_steps(settings: GrpoSettings, prompts: int) -> int:
    """Optimizer steps of a run, in whole generations."""
    wanted = settings.epochs * prompts / settings.prompts_per_generation
    if settings.steps is not None:
        wanted = settings.steps / settings.generation_steps
    return math.ceil(wanted) * settings.generation_steps


def kept_checkpoints(rollouts: Rollouts) -> list[Path]:
    """The checkpoints that `keep_steps` asked for, in order."""
    return sorted((rollouts.folder.parent / "kept").glob("step-*"), key=lambda path: int(path.name[5:]))


def _trainer(model: Any, rollouts: Rollouts, folder: Path) -> _Trainer:
    settings = rollouts.settings
    steps = rollouts.generations * settings.generation_steps
    save_steps = math.ceil(settings.checkpoint_steps / settings.generation_steps) * settings.generation_steps
    config = GRPOConfig(
        output_dir=str(folder),
        seed=rollouts.seed,
        data_seed=rollouts.seed,
        # The data set is the whole run in order: TRL's sampler would shuffle a resumed second epoch as the first one.
        num_train_epochs=1,
        shuffle_dataset=False,
        per_device_train_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulation,
        steps_per_generation=settings.passes,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=int(steps * settings.warmup),
        weight_decay=settings.weight_decay,
        adam_beta2=settings.beta2,
        max_grad_norm=settings.clip,
        optim=settings.optimizer,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        bf16=next(model.parameters()).dtype == torch.bfloat16,
        use_cpu=devices.device().type == "cpu",
        **settings.model_dump(include=SAME_IN_TRL),
        logging_steps=1,  # TRL forgets what it has not logged when a run is resumed
        logging_nan_inf_filter=False,
        save_steps=save_steps,  # TRL begins a resumed run with a new generation, so a checkpoint must end one
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    if config.world_size > 1:
        raise InputError("grpo: runs in one process; start it without accelerate launch")
    expect_same_adapter(model, settings.lora)
    rows = [{"prompt": rollouts.prompt(row).task.task_id, "row": row} for row in range(len(rollouts.order))]
    trainer = _Trainer(
        rollouts,
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=rollouts.tokenizer,
        peft_config=adapter(settings.lora) if not hasattr(model, "peft_config") else None,
    )
    silence(trainer)
    return trainer
