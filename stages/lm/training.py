"""Supervised training with TRL's SFTTrainer: of the tiny base, of the SFT stage and of RAFT cycles."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from stages.common.energy import Energy
from stages.common.errors import InputError
from stages.common.files import naming_a_full_disk, value_hash
from stages.common.launch import is_main, world
from stages.lm.metering import device_memory, matmul_rate, training_flops
from stages.lm.trainer import FiniteTrainer, Watch, last_checkpoint, make_trainer, progress_of, steps_of
from stages.settings.training import TrainSettings

NO_EFFECT = {"log_steps", "checkpoint_steps", "launch", "launch_config"}  # on the weights: work under way goes on


@dataclass
class TrainResult:
    """What a run reports. `metrics` is repeatable; `timing` is not. `curve` holds (step, epoch, loss, rate), and a
    validation loss where one was measured. `weights` is the state to save where the model's own is spread over
    processes."""

    model: Any
    metrics: dict[str, float | int] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, float | int]] = field(default_factory=list)
    weights: dict[str, torch.Tensor] | None = None


def fit_length(rows: list[dict], max_length: int) -> tuple[list[dict], int]:
    """Rows of at most `max_length` tokens, and how many were longer: a cut example would teach not to end."""
    short = [row for row in rows if len(row["input_ids"]) <= max_length]
    return short, len(rows) - len(short)


def train(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    settings: TrainSettings,
    *,
    seed: int,
    work: Path,
    label: str,
    origin: Any,
    validation: list[dict] | None = None,
) -> TrainResult:
    """Train `model` on tokenised rows (`input_ids`, `labels`, and a `task_id` by which to name one) and return it with
    metrics and loss curve.

    Checkpoints go to `work`, a directory beside the stage's output that DVC does not delete; a run that was killed
    resumes from the last one if rows, settings, seed and `origin` (a JSON value that tells what the weights at the
    start are, and how tensors are computed) are the same, and ends as an unbroken run would. In several processes
    (docs/SCALING.md) each calls this, and the first writes.
    Raises InputError if no row is left, HaloForgeError if the loss turns NaN.
    """
    rows, too_long = fit_length(rows, settings.max_length)
    held_out, _ = fit_length(validation or [], settings.max_length)
    if not rows:
        raise InputError(f"{label}: no training example of at most {settings.max_length} tokens")
    said = settings.model_dump(exclude=NO_EFFECT)
    folder = work / value_hash([origin, rows, said, seed, held_out, world()])
    if is_main():
        for stale in work.glob("*"):
            if stale != folder:
                shutil.rmtree(stale)
    with naming_a_full_disk(work):
        trainer = make_trainer(model, tokenizer, rows, held_out, settings, seed, folder)
        steps = steps_of(len(trainer.train_dataset), settings)
        rate, measured_by = matmul_rate(torch.bfloat16 if trainer.args.bf16 else torch.float32)
        resume = last_checkpoint(folder)
        if resume and is_main():
            print(f"{label}: resuming from step {resume.name.rpartition('-')[2]}", flush=True)
        with progress_of(label, steps) as progress, Energy() as energy:
            trainer.add_callback(Watch(progress))
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
            seconds = progress.seconds - trainer.evaluating
        result = TrainResult(trainer.accelerator.unwrap_model(trainer.model))
        result.timing = _timing(trainer, seconds, rate, energy.joules) | {"matmul_measured_by": measured_by}
        history = trainer.state.log_history
        result.curve = _curve(history, min(settings.log_steps, steps))
        result.metrics = {
            "examples": len(rows),
            "examples_too_long": too_long,
            "train_loss": result.curve[-1]["loss"] if result.curve else None,
        }
        if held_out:
            result.metrics["validation_loss"] = round(trainer.evaluate()["eval_loss"], 6)
        if settings.early_stop:
            result.metrics |= {"steps": trainer.state.global_step, "best_step": trainer.state.best_global_step}
        if world() > 1:
            result.weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
            trainer.accelerator.wait_for_everyone()  # the others' files are in `work`, which the first removes
    return result


def _timing(trainer: FiniteTrainer, seconds: float, rate: float, joules: dict[str, float]) -> dict[str, Any]:
    """Rates of what this process did, which after a resume is the rest of the run."""
    counted = trainer.counts
    flops = training_flops(trainer.model, counted.tokens, counted.squares)
    return {
        "train_seconds": round(seconds, 3),
        "train_tokens_per_second": round(counted.tokens * world() / seconds, 1),  # without padding
        "padding_share": round(1 - counted.tokens / counted.positions, 4) if counted.positions else None,
        "model_flops_utilisation": round(flops / seconds / rate, 4),
        "matmul_tflops": round(rate / 1e12, 3),
        "steps": trainer.state.global_step,
        "trained_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "processes": world(),
        **device_memory(),
        **({"joules": joules} if joules else {}),
    }


def finished(work: Path) -> None:
    """Remove a run's checkpoints, once its result is saved."""
    shutil.rmtree(work, ignore_errors=True)


def _curve(history: list[dict], window: int) -> list[dict[str, float | int]]:
    """The mean loss of each `window` steps (the last ones may be fewer), at the last of them, and the validation loss
    where it was measured there.

    Every step is in the trainer's history, which a resumed run has from its start.
    """
    steps = [entry for entry in history if "loss" in entry]
    validation = {entry["step"]: round(entry["eval_loss"], 6) for entry in history if "eval_loss" in entry}
    curve = []
    for start in range(0, len(steps), window):
        losses, last = [entry["loss"] for entry in steps[start : start + window]], steps[start : start + window][-1]
        point = {
            "step": last["step"],
            "epoch": round(last["epoch"], 4),
            "loss": round(sum(losses) / len(losses), 6),
            "learning_rate": float(f"{last['learning_rate']:.6g}"),
        }
        if last["step"] in validation:
            point["validation_loss"] = validation[last["step"]]
        curve.append(point)
    return curve
