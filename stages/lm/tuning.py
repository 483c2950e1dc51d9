"""From examples to a checkpoint: what sft, RAFT cycles and their controls have in common."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from stages.common.files import replacing_directory
from stages.common.launch import is_main
from stages.common.outputs import work_directory
from stages.common.records import Example
from stages.lm import devices, load
from stages.lm.chat import example_row
from stages.lm.training import TrainResult, finished, train
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.raft import RaftSettings
from stages.settings.training import TrainSettings


def fine_tune(
    start: Path,
    out: Path,
    examples: Sequence[Example],
    settings: TrainSettings,
    *,
    compute: ComputeSettings,
    prompts: PromptSettings,
    seed: int,
    label: str,
    validation: Sequence[Example] = (),
) -> TrainResult:
    """Train the checkpoint `start` on the examples, each as often an epoch as its weight says, and save it as `out`.

    Unfinished work lies beside `out` until it is saved. Of several processes, the first saves.
    """
    work = work_directory(out)
    devices.use_threads(compute.threads)
    tokenizer = load.load_tokenizer(start)
    quantize = settings.lora and settings.lora.quantize
    model = load.load_model(start, compute, trainable=True, quantize=quantize)
    load.expect_vocabulary(model, tokenizer, start)
    rows = [row for e in examples for row in [example_row(tokenizer, e, prompts)] * e.weight]
    held_out = [example_row(tokenizer, e, prompts) for e in validation]
    how = {"seed": seed, "work": work, "label": label, "origin": load.origin(start, compute), "validation": held_out}
    result = train(model, tokenizer, rows, settings, **how)
    if is_main():
        load.save(out, result.model, tokenizer, result.weights)
        finished(work)
    return result


def train_cycle(
    start: Path,
    out: Path,
    examples: Sequence[Example],
    settings: RaftSettings,
    *,
    compute: ComputeSettings,
    prompts: PromptSettings,
    seed: int,
    label: str,
) -> TrainResult:
    """A cycle's training, or its control's, from the checkpoint gone on from or another as `settings.start` says;
    without examples, that checkpoint is carried forward."""
    if not examples:
        return carry_forward(start, out)
    begin = start if settings.start == "parent" else start.with_name(settings.start)
    how = {"compute": compute, "prompts": prompts, "seed": seed, "label": label}
    return fine_tune(begin, out, examples, settings.train, **how)


def carry_forward(parent: Path, out: Path) -> TrainResult:
    """Copy the parent's checkpoint: nothing passed, so there is nothing to learn from."""
    load.expect_checkpoint(parent)
    if is_main():
        with replacing_directory(out) as directory:
            shutil.copytree(parent, directory, dirs_exist_ok=True)
    return TrainResult(None, {"examples": 0, "examples_too_long": 0, "train_loss": None})
