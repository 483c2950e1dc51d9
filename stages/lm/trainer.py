"""TRL's SFTTrainer, set up from our settings, stopping at the first loss that is no number."""

import importlib.util
import json
import math
import time
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from datasets import Dataset, concatenate_datasets
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer, pack_dataset

from stages.common.errors import HaloForgeError, InputError
from stages.common.launch import is_main, world
from stages.common.progress import Progress
from stages.lm import devices
from stages.lm.chat import IGNORED
from stages.lm.lora import adapter, expect_same_adapter
from stages.lm.metering import Counts
from stages.settings.training import MOST_LOGITS, TrainSettings

SCHEDULES = {"cosine": "cosine_with_min_lr", "linear": "linear", "constant": "constant_with_warmup"}
SHOWN_IDS = 8  # task ids named where a loss is no number


class FiniteTrainer(SFTTrainer):
    """An SFTTrainer that knows which task each row came from, and refuses to go on from a loss that is no number."""

    task_ids: dict[tuple[int, ...], list[str]]
    counts: Counts
    evaluating = 0.0  # seconds spent on validation losses

    def training_step(self, model: Any, inputs: dict, *args: Any, **more: Any) -> torch.Tensor:
        """One forward and backward pass. Raises HaloForgeError, naming step and tasks, for a loss that is no number."""
        self.counts.add(inputs["input_ids"].numel(), [end - start for _, start, end in places(inputs)])
        loss = super().training_step(model, inputs, *args, **more)
        if not torch.isfinite(loss):
            ids = [name for row in sequences(inputs) for name in self.task_ids.get(row, ())]
            shown = ", ".join(ids[:SHOWN_IDS]) + (f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else "")
            raise HaloForgeError(
                f"the training loss became {loss.item()} in step {self.state.global_step + 1}, in a batch of the tasks "
                f"{shown or 'without ids'}; lower the learning rate, or look at these tasks"
            )
        return loss

    def compute_loss(
        self, model: Any, inputs: dict, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss. On the CPU, where its head recomputes each logit and has no kernel, from the logits themselves,
        which takes three quarters of the time (benchmarks/training.py), unless they are many or processes several."""
        # A mixture of experts weighs its router's balance by the mask.
        plain = self.model.config._attn_implementation == "sdpa" and not self.aux_loss_enabled
        given = unmasked(inputs) if plain else inputs
        # TRL's way gathers from all processes, so none may take the other one by what its own batch holds.
        alone = self.accelerator.num_processes == 1 and inputs["labels"].device.type == "cpu"
        if return_outputs or not alone or self.aux_loss_enabled:
            return super().compute_loss(model, given, return_outputs, num_items_in_batch)
        columns = (inputs["labels"][:, 1:] != IGNORED).any(dim=0).nonzero().flatten()
        logits = len(inputs["labels"]) * len(columns) * self.model.config.get_text_config().vocab_size
        if not 0 < logits <= MOST_LOGITS:
            return super().compute_loss(model, given, return_outputs, num_items_in_batch)
        given = {name: value for name, value in given.items() if name != "labels"}
        found = model(**given, use_cache=False, logits_to_keep=columns).logits
        labels = inputs["labels"][:, 1:][:, columns].flatten()
        loss = torch.nn.functional.cross_entropy(
            found.float().flatten(0, 1), labels, ignore_index=IGNORED, reduction="sum"
        )
        if num_items_in_batch is None:
            return loss / (labels != IGNORED).sum()
        return loss / torch.as_tensor(num_items_in_batch).clamp(min=1)

    def evaluate(self, *args: Any, **more: Any) -> dict[str, float]:
        """A validation loss, whose time is no training's."""
        began = time.monotonic()
        found = super().evaluate(*args, **more)
        self.evaluating += time.monotonic() - began
        return found

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Without TRL's card: a checkpoint to resume from has no readers."""
        self.create_model_card = lambda **_: None
        super()._save_checkpoint(model, trial)


def unmasked(inputs: dict) -> dict:
    """A batch padded on the right without its mask, which causal attention does not need: no token looks behind itself,
    and what padding answers is no example's. So it takes the kernels for causal attention, with half the work."""
    if "position_ids" in inputs or "attention_mask" not in inputs:
        return inputs
    rest = {name: value for name, value in inputs.items() if name != "attention_mask"}
    ids = inputs["input_ids"]
    return {**rest, "position_ids": torch.arange(ids.shape[1], device=ids.device).expand_as(ids)}


def places(inputs: dict) -> list[tuple[int, int, int]]:
    """Where the examples of a batch stand: (row, start, end). Rows of a padded one, which is padded on the right, runs
    of rising positions of a packed one."""
    if "position_ids" in inputs:
        starts = (inputs["position_ids"][0] == 0).nonzero().flatten().tolist()
        return [(0, a, b) for a, b in zip(starts, [*starts[1:], inputs["input_ids"].shape[1]], strict=True)]
    return [(row, 0, length) for row, length in enumerate(inputs["attention_mask"].sum(dim=1).tolist())]


def sequences(inputs: dict) -> list[tuple[int, ...]]:
    """The examples of a batch, without padding."""
    return [tuple(inputs["input_ids"][row, start:end].tolist()) for row, start, end in places(inputs)]


class Watch(TrainerCallback):
    """Shows progress."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count a step, with the newest loss beside it."""
        loss = next((entry["loss"] for entry in reversed(state.log_history) if "loss" in entry), None)
        self.progress.update(state.global_step - self.progress.done, f"loss {loss:.3f}" if loss is not None else "")


def as_dataset(rows: list[dict], settings: TrainSettings) -> Dataset:
    """What the trainer iterates over: examples, or rows of max_length tokens into which they are packed.

    Best-fit decreasing, without cutting any (Ding et al. 2024, https://arxiv.org/abs/2404.10830).
    """
    data = Dataset.from_list([{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows])
    if settings.batching == "packed":
        data = pack_dataset(data, settings.max_length, "bfd", {"desc": None})
    return data


def filled(data: Dataset, multiple: int) -> Dataset:
    """With rows that teach nothing, up to a multiple of what the processes take at a time: accelerate would fill an
    epoch's last batches with examples that it has already seen."""
    missing = -len(data) % multiple
    filler = {"input_ids": [0], "labels": [IGNORED], "seq_lengths": [1]}
    rows = [{name: filler[name] for name in data.column_names}] * missing
    return concatenate_datasets([data, Dataset.from_list(rows, features=data.features)]) if rows else data


def steps_of(rows: int, settings: TrainSettings) -> int:
    """Optimizer steps of a whole run, as transformers' Trainer counts them."""
    batches = math.ceil(rows / settings.batch / world())
    return math.ceil(batches / settings.accumulation) * settings.epochs


def make_trainer(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    validation: list[dict],
    settings: TrainSettings,
    seed: int,
    folder: Path,
) -> FiniteTrainer:
    """The trainer of one run; its checkpoints go to `folder`. Raises InputError for settings that cannot be met."""
    _expect_libraries(settings)
    if settings.early_stop and not validation:
        raise InputError("train.early_stop: there are no validation examples whose loss could be watched")
    expect_same_adapter(model, settings.lora)
    data = as_dataset(rows, settings)
    if world() > 1:
        data = filled(data, settings.batch * world())
    trainer = FiniteTrainer(
        model=model,
        args=_config(model, settings, seed, folder, steps_of(len(data), settings)),
        train_dataset=data,
        eval_dataset=as_dataset(validation, settings) if validation else None,
        processing_class=tokenizer,
        peft_config=adapter(settings.lora) if not hasattr(model, "peft_config") else None,
    )
    trainer.counts = Counts()
    trainer.task_ids = {}
    for row in rows:
        if "task_id" in row:
            trainer.task_ids.setdefault(tuple(row["input_ids"]), []).append(row["task_id"])
    if settings.early_stop:
        trainer.add_callback(EarlyStoppingCallback(settings.early_stop.patience, settings.early_stop.margin))
    silence(trainer)
    return trainer


def _config(model: Any, settings: TrainSettings, seed: int, folder: Path, steps: int) -> SFTConfig:
    # Attention over a packed batch without flash-attn is by a mask whose cost is the square of the batch's tokens, so
    # a forward pass takes one row; the optimizer's step sees as many.
    masked = settings.batching == "packed" and model.config._attn_implementation != "flash_attention_2"
    batch, accumulation = settings.batch, settings.accumulation
    if masked:
        batch, accumulation = 1, batch * accumulation
    stop = settings.early_stop
    watched = {"eval_strategy": "steps", "eval_steps": stop.every, "load_best_model_at_end": True} if stop else {}
    return SFTConfig(
        output_dir=str(folder),
        seed=seed,
        data_seed=seed,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=1 if masked else settings.batch,
        gradient_accumulation_steps=accumulation,
        train_sampling_strategy="group_by_length" if settings.batching == "by_length" else "random",
        padding_free=settings.batching == "packed",
        lr_scheduler_type=SCHEDULES[settings.schedule],
        lr_scheduler_kwargs={"min_lr_rate": settings.floor} if settings.schedule == "cosine" else {},
        warmup_steps=int(steps * settings.warmup),  # the first of them has rate 0, so a run of one step must have none
        weight_decay=settings.weight_decay,
        adam_beta2=settings.beta2,
        max_grad_norm=settings.clip,
        optim=settings.optimizer,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        use_liger_kernel=settings.liger,
        bf16=next(model.parameters()).dtype == torch.bfloat16,
        use_cpu=devices.device().type == "cpu",  # or else accelerate takes each CPU process for the only one
        max_length=None,
        logging_steps=1,  # a window that a resumed run enters midway would have another mean
        logging_nan_inf_filter=False,
        save_steps=stop.every if stop else settings.checkpoint_steps,
        save_total_limit=1,  # and the best one
        restore_callback_states_from_checkpoint=True,  # how long no validation loss has been a new lowest
        metric_for_best_model="eval_loss" if stop else None,
        greater_is_better=False if stop else None,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **watched,
    )


def _expect_libraries(settings: TrainSettings) -> None:
    needed = []
    if settings.liger:
        needed.append(("train.liger", "liger_kernel", "liger-kernel"))
        if not torch.cuda.is_available():
            raise InputError("train.liger: its kernels are for GPUs, and there is none here; leave it false")
    if settings.optimizer == "adamw_bnb_8bit":
        needed.append(("train.optimizer", "bitsandbytes", "bitsandbytes"))
    for key, module, package in needed:
        if importlib.util.find_spec(module) is None:
            raise InputError(f"{key}: needs {package}, which is not installed: pip install {package}")


def silence(trainer: Any) -> None:
    """Remove what a transformers Trainer prints by itself: stages show their own progress."""
    for callback in ("PrinterCallback", "ProgressCallback"):
        for known in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == callback]:
            trainer.remove_callback(known)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end: the first process writes the trainer's state last, and each of
    several the state of its random numbers, whose archive ends with its directory."""
    whole = [p.parent for p in folder.glob("checkpoint-*/trainer_state.json") if _is_json(p)]
    if world() > 1:
        whole = [path for path in whole if all(is_zipfile(path / f"rng_state_{n}.pth") for n in range(world()))]
    return max(whole, key=lambda p: int(p.name.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def progress_of(label: str, steps: int) -> Progress:
    """Progress of a run; in processes other than the first it says nothing."""
    return Progress(label, steps, "steps", silent=not is_main())
