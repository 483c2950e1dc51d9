"""Items 9, 10 and 11: a small LoRA training, sampling in a batch, and ways to load data, by the pipeline's own code."""

import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.roofline import build
from stages.lm import devices
from stages.lm.decoding import Decoder
from stages.lm.measuring import this_device, wait
from stages.lm.rows import NAME, agrees
from stages.lm.tiny import build_tokenizer
from stages.lm.training import TrainResult, train
from stages.settings.training import LoraSettings, TrainSettings
from toolbox.checks.results import Result

NEAR_LOSS = 0.5  # nats: a model with random weights knows nothing, so its loss is about ln(vocabulary)
TRAINED = {"cpu": ("tiny", 2, 128, 4), "cuda": ("0.5B", 4, 1024, 8)}  # shape, batch, length, steps
SAMPLED = {"cpu": ("tiny", 32, 32, 32), "cuda": ("0.5B", 32, 128, 128)}  # shape, sequences, prompt, new tokens
OTHERS_SAMPLED = 230  # tokens/s of 0.5B on gfx1151 by plain transformers, as the original halo-forge measured
LOADERS = ((0, False), (0, True), (2, False), (2, True))  # workers, pin_memory
BATCHES = 64


def check_lora(full: bool) -> Result:
    """A small LoRA training of random weights on random tokens, after a first one that loads the kernels."""
    device = devices.device()
    shape, batch, length, steps = TRAINED.get(device.type, TRAINED["cpu"])
    _train(shape, batch, length, 1)
    result = _train(shape, batch, length, steps)
    losses, right = [point["loss"] for point in result.curve], math.log(result.model.config.vocab_size)
    rate, used = result.timing["train_tokens_per_second"], result.timing["model_flops_utilisation"]
    told = f"{shape}: {rate:,.0f} tokens/s, {used:.1%} of the matmul rate, loss {losses[0]:.2f} to {losses[-1]:.2f}"
    figures = {"shape": shape, "losses": losses, **result.timing}
    if all(map(math.isfinite, losses)) and abs(losses[0] - right) < NEAR_LOSS:
        return Result(9, "LoRA step", "pass", told, figures=figures)
    expected = f"losses that are numbers, the first about ln(vocabulary) = {right:.2f}"
    return Result(9, "LoRA step", "fail", told, expected, "see items 3 to 6; compute.attention: eager to tell", figures)


def _train(shape: str, batch: int, length: int, steps: int) -> TrainResult:
    model = build(shape)
    draw = torch.Generator().manual_seed(steps)
    ids = torch.randint(model.config.vocab_size, (batch * steps, length), generator=draw).tolist()
    rows = [{"input_ids": row, "labels": row, "task_id": str(number)} for number, row in enumerate(ids)]
    fused = {"optimizer": "adamw_torch_fused"} if devices.device().type == "cuda" else {}
    settings = TrainSettings(
        learning_rate=1e-4, batch=batch, max_length=length, warmup=0, log_steps=1, lora=LoraSettings(rank=16), **fused
    )
    tokenizer = build_tokenizer(["def f(x): return x"], 400)
    with tempfile.TemporaryDirectory() as folder:
        return train(model, tokenizer, rows, settings, seed=0, work=Path(folder), label="LoRA step", origin=shape)


def check_sampling(full: bool) -> Result:
    """Sequences drawn in one batch by the decode loop, whose logits must be the model's own; compiled if `full`."""
    device = devices.device()
    shape, rows, prompt, new_tokens = SAMPLED.get(device.type, SAMPLED["cpu"])
    model = build(shape)
    vocabulary = model.config.vocab_size
    same = agrees(model, vocabulary)
    rate, compiled = _sampling_rate(model, rows, prompt, new_tokens, full and device.type == "cuda")
    told = f"{shape}: {rate:,.0f} tokens/s, {rows} sequences at a time" + (", compiled" if compiled else "")
    figures = {"shape": shape, "tokens_per_second": round(rate, 1), "sequences": rows, "compiled": compiled}
    if not same:
        expected = "logits of the decode loop as of the model's forward pass"
        return Result(10, "sampling", "fail", f"{told}; logits differ", expected, "see items 3 to 6", figures)
    if this_device().kind == "gfx1151" and rate < OTHERS_SAMPLED:
        expected = f"{OTHERS_SAMPLED} tokens/s, as the original halo-forge measured with plain transformers"
        return Result(10, "sampling", "warning", told, expected, "see items 2, 4 and 5", figures)
    return Result(10, "sampling", "pass", told, figures=figures)


def _sampling_rate(model: Any, rows: int, prompt: int, new_tokens: int, compiled: bool) -> tuple[float, bool]:
    """(tokens per second, whether the step was compiled to the end) of a second draw like the first."""
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(model.config.vocab_size, (rows, prompt), generator=draw).tolist()
    model.set_attn_implementation(NAME)
    decoder = Decoder(
        model, [], 1.0, 0.95, new_tokens, rows, every=8 if model.device.type == "cuda" else 1, compiled=compiled
    )
    decoder.draw(prompts, 1, [new_tokens] * rows, 0)
    wait()
    began = time.perf_counter()
    drawn = decoder.draw(prompts, 1, [new_tokens] * rows, 1)
    wait()
    return sum(len(answer.ids) for answers in drawn for answer in answers) / (
        time.perf_counter() - began
    ), decoder.compiled


def check_loaders(full: bool) -> Result:
    """Batches per second to the device with and without workers and pinned memory. One that hangs is the last named."""
    device = devices.device()
    rows = list(torch.arange(4 * BATCHES * 1024).reshape(-1, 1024))
    rates = {}
    for workers, pinned in LOADERS:
        if pinned and device.type == "cpu":
            continue  # memory is pinned for a GPU
        name = f"workers {workers}, {'pinned' if pinned else 'not pinned'}"
        print(f"loading data with {name}", file=sys.stderr, flush=True)  # the last line, if this one hangs
        rates[name] = BATCHES / _loading(
            DataLoader(rows, batch_size=4, num_workers=workers, pin_memory=pinned), rows, device
        )
    first = rates["workers 0, not pinned"]
    told = "; ".join(f"{name} {rate / first:.2f}" for name, rate in rates.items())
    figures = {"batches_per_second": {name: round(rate, 1) for name, rate in rates.items()}}
    return Result(11, "loading data", "pass", f"batches, to those of the first: {told}", figures=figures)


def _loading(loader: DataLoader, rows: list[torch.Tensor], device: torch.device) -> float:
    """Seconds of one pass. Raises ValueError where what arrives on the device is not what was sent."""
    began = time.perf_counter()
    arrived = torch.zeros((), dtype=torch.long, device=device)
    for batch in loader:
        arrived += batch.to(device, non_blocking=True).sum()
    wait()
    taken = time.perf_counter() - began
    if int(arrived) != sum(int(row.sum()) for row in rows):
        raise ValueError("what arrived on the device is not what was sent")
    return taken
