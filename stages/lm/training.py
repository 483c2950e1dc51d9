"""Supervised training with TRL's SFTTrainer: of the tiny base, of the SFT stage and of RAFT cycles."""

import json
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer

from stages.common.errors import HaloForgeError, InputError
from stages.common.files import naming_a_full_disk, value_hash, write_csv
from stages.common.progress import Progress
from stages.settings.training import LoraSettings, TrainSettings


@dataclass
class TrainResult:
    """What a run reports. `metrics` is repeatable; `timing` is not. `curve` holds (step, epoch, loss, rate)."""

    model: Any
    metrics: dict[str, float | int] = field(default_factory=dict)
    timing: dict[str, float | int] = field(default_factory=dict)
    curve: list[dict[str, float | int]] = field(default_factory=list)


class _Watch(TrainerCallback):
    """Shows progress and stops at the first loss that is no number."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        loss = next((entry["loss"] for entry in reversed(state.log_history) if "loss" in entry), None)
        self.progress.update(state.global_step - self.progress.done, f"loss {loss:.3f}" if loss is not None else "")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise HaloForgeError(
                f"the training loss became {loss} by step {state.global_step}; lower the learning rate"
            )


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
    """Train `model` on tokenised rows (`input_ids`, `labels`) and return it with metrics and loss curve.

    Checkpoints go to `work`, a directory beside the stage's output that DVC does not delete; a run that was killed
    resumes from the last one if rows, settings, seed and `origin` (a JSON value that tells what the weights at the
    start are, and how tensors are computed) are the same, and ends as an unbroken run would.
    Raises InputError if no row is left, HaloForgeError if the loss turns NaN.
    """
    rows, too_long = fit_length(rows, settings.max_length)
    if not rows:
        raise InputError(f"{label}: no training example of at most {settings.max_length} tokens")
    steps = math.ceil(len(rows) / settings.batch / settings.accumulation) * settings.epochs
    folder = work / value_hash([origin, rows, settings.model_dump(), seed, validation])
    with naming_a_full_disk(work), Progress(label, steps, "steps") as progress:
        trainer = _trainer(model, tokenizer, rows, settings, seed, folder, validation, steps)
        trainer.add_callback(_Watch(progress))
        resume = last_checkpoint(folder)
        if resume:
            print(f"{label}: resuming from step {resume.name.rpartition('-')[2]}", flush=True)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        seconds = progress.seconds
    result = TrainResult(trainer.model, curve=_curve(trainer.state.log_history))
    final = [point["loss"] for point in result.curve]
    result.metrics = {
        "examples": len(rows),
        "examples_too_long": too_long,
        "train_loss": round(final[-1], 6) if final else None,
    }
    if validation:
        result.metrics["validation_loss"] = round(trainer.evaluate()["eval_loss"], 6)
    tokens = sum(len(row["input_ids"]) for row in rows) * settings.epochs
    result.timing = {
        "train_seconds": round(seconds, 3),
        "train_tokens_per_second": round(tokens / seconds, 1),
        "steps": trainer.state.global_step,
        "trained_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
    }
    return result


def finished(work: Path) -> None:
    """Remove a run's checkpoints, once its result is saved."""
    shutil.rmtree(work, ignore_errors=True)


def _trainer(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    settings: TrainSettings,
    seed: int,
    folder: Path,
    validation: list[dict] | None,
    steps: int,
) -> SFTTrainer:
    config = SFTConfig(
        output_dir=str(folder),
        seed=seed,
        data_seed=seed,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch,
        per_device_eval_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulation,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": settings.floor},
        warmup_steps=int(steps * settings.warmup),  # the first of them has rate 0, so a run of one step must have none
        weight_decay=settings.weight_decay,
        adam_beta2=settings.beta2,
        max_grad_norm=settings.clip,
        optim=settings.optimizer,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        bf16=next(model.parameters()).dtype == torch.bfloat16,
        max_length=None,
        logging_steps=min(settings.log_steps, steps),  # a short run has a loss as well
        logging_nan_inf_filter=False,  # it would hide a NaN behind the mean of the others
        save_steps=settings.checkpoint_steps,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    expect_same_adapter(model, settings.lora)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(validation) if validation else None,
        processing_class=tokenizer,
        peft_config=adapter(settings.lora) if not hasattr(model, "peft_config") else None,
    )
    silence(trainer)
    return trainer


def silence(trainer: Any) -> None:
    """Remove what a transformers Trainer prints by itself: stages show their own progress."""
    for callback in ("PrinterCallback", "ProgressCallback"):
        for known in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == callback]:
            trainer.remove_callback(known)


def adapter(lora: LoraSettings | None) -> Any:
    """PEFT's configuration of the adapter to train; None for all weights."""
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets,
        task_type="CAUSAL_LM",
    )


def expect_same_adapter(model: Any, lora: LoraSettings | None) -> None:
    """An adapter that a checkpoint brings is trained on as it is: settings that say otherwise would do nothing."""
    for known in getattr(model, "peft_config", {}).values():
        wanted = lora and (lora.rank, lora.alpha)
        if wanted != (known.r, known.lora_alpha):
            raise InputError(
                f"lora: the checkpoint to start from is an adapter of rank {known.r} and alpha {known.lora_alpha}, "
                f"found {'null' if wanted is None else 'rank {} and alpha {}'.format(*wanted)}; give it the same"
            )


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end (the trainer's state is written last)."""
    whole = [p.parent for p in folder.glob("checkpoint-*/trainer_state.json") if _is_json(p)]
    return max(whole, key=lambda p: int(p.name.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _curve(history: list[dict]) -> list[dict[str, float | int]]:
    return [
        {
            "step": entry["step"],
            "epoch": round(entry["epoch"], 4),
            "loss": round(entry["loss"], 6),
            "learning_rate": float(f"{entry['learning_rate']:.6g}"),
        }
        for entry in history
        if "loss" in entry
    ]


def write_curve(path: Path | None, curve: list[dict[str, float | int]]) -> None:
    """Write a loss curve as CSV, with a header even where nothing was trained; nothing if `path` is None."""
    if path is not None:
        write_csv(path, ["step", "epoch", "loss", "learning_rate"], curve)
