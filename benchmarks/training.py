"""Training: useful tokens per second (without padding) beside other ways, on real rows, in one run.

Rows are the reference solutions of MBPP and CodeForces as the profile would train on them; the model has Qwen2's
architecture and random weights. On a GPU, `--shape 1.5B` also measures the share of its matmul rate, for LoRA and full.

python -m benchmarks.training --hub ../shared/hub
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl import SFTConfig, SFTTrainer

from benchmarks.roofline import SHAPES, build
from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.records import Example, Task
from stages.lm import devices
from stages.lm.chat import IGNORED, example_row
from stages.lm.metering import matmul_rate, training_flops
from stages.lm.tiny import build_tokenizer
from stages.lm.trainer import make_trainer
from stages.settings.prompts import PromptSettings
from stages.settings.training import LoraSettings, TrainSettings
from stages.sources import SOURCES
from stages.sources import load as load_source

LONGEST = 2048
BATCH = 2
WANTED = {"mbpp": {"config": "full"}, "codeforces_python": {}, "codeforces_cpp": {"max_tasks": 200}}
Rows = list[dict[str, Any]]


def real_rows(hub: Path, count: int) -> tuple[Rows, Any]:
    """Tokenised rows of both sources in turn, and their tokenizer (trained on them: none can be fetched here)."""
    tasks: list[Task] = []
    for name, settings in WANTED.items():
        found = load_source(name, SOURCES[name].settings.parse(settings, name), str(hub), 0)["train"]
        tasks += [task for task in found if task.reference][: count // len(WANTED) + 1]
    texts = [text for task in tasks for text in (task.prompt, task.reference)]
    tokenizer = build_tokenizer(texts, 8192)
    prompts = PromptSettings()
    rows = [
        example_row(tokenizer, Example(t.task_id, 0, "sft", 1.0, t.prompt, t.language, t.reference), prompts)
        for t in tasks
    ]
    return [row for row in rows if len(row["input_ids"]) <= LONGEST][:count], tokenizer


def model_of(tokenizer: Any, hidden: int, layers: int) -> Any:
    """A small decoder with random weights."""
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            num_key_value_heads=max(1, hidden // 256),
            intermediate_size=hidden * 11 // 4,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def padded(model: Any, tokenizer: Any, rows: Rows) -> float:
    """Seconds of a plain loop that pads every row to the longest length that there may be."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    model.train()
    began = time.perf_counter()
    for start in range(0, len(rows), BATCH):
        chosen = rows[start : start + BATCH]
        gaps = [LONGEST - len(row["input_ids"]) for row in chosen]
        ids = [row["input_ids"] + [tokenizer.pad_token_id] * gap for row, gap in zip(chosen, gaps, strict=True)]
        labels = [row["labels"] + [IGNORED] * gap for row, gap in zip(chosen, gaps, strict=True)]
        mask = [[1] * (LONGEST - gap) + [0] * gap for gap in gaps]
        batch = {"input_ids": ids, "labels": labels, "attention_mask": mask}
        loss = model(**{name: torch.tensor(value, device=model.device) for name, value in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began


def defaults(model: Any, tokenizer: Any, rows: Rows) -> float:
    """Seconds of SFTTrainer as it is shipped, but for the batch and what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        cpu = devices.device().type == "cpu"
        quiet = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "logging_steps": 1000}
        how = {"num_train_epochs": 1, "per_device_train_batch_size": BATCH, "max_length": LONGEST}
        config = SFTConfig(folder, use_cpu=cpu, bf16=not cpu, **how, **quiet)
        data = Dataset.from_list([{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows])
        trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
        began = time.perf_counter()
        trainer.train()
        return time.perf_counter() - began


def ours(batching: str) -> Callable[[Any, Any, Rows], float]:
    """Seconds of the stage's own trainer."""

    def measure(model: Any, tokenizer: Any, rows: Rows) -> float:
        settings = TrainSettings(learning_rate=1e-4, batch=BATCH, max_length=LONGEST, batching=batching)
        if batching == "packed":  # as many tokens a step as the others have in the mean
            settings = settings.model_copy(update={"batch": 1})
        with tempfile.TemporaryDirectory() as folder:
            trainer = make_trainer(model, tokenizer, rows, [], settings, 0, Path(folder))
            trainer.args.save_strategy = "no"
            began = time.perf_counter()
            trainer.train()
            return time.perf_counter() - began

    return measure


def compare(args: argparse.Namespace) -> Table:
    """Each way on a fresh model; the padded loop sees a part of the rows, evenly drawn, for it is slow."""
    devices.use_threads(0)
    rows, tokenizer = real_rows(args.hub, args.rows)
    few = rows[:: math.ceil(len(rows) / args.padded)]
    ways: dict[str, tuple[Callable[[Any, Any, Rows], float], Rows]] = {
        f"loop, padded to {LONGEST}": (padded, few),
        "TRL's defaults": (defaults, rows),
        "ours: shuffled": (ours("shuffled"), rows),
        "ours: by_length": (ours("by_length"), rows),
        "ours: packed": (ours("packed"), rows),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, (measure, seen) in ways.items():
            model = model_of(tokenizer, args.hidden, args.layers).to(devices.device())
            rates[name].append(sum(len(row["input_ids"]) for row in seen) / measure(model, tokenizer, seen))
    median = {name: sorted(values)[len(values) // 2] for name, values in rates.items()}
    lengths = sorted(len(row["input_ids"]) for row in rows)
    title = f"{len(rows)} rows of {lengths[0]} to {lengths[-1]} tokens, median {lengths[len(lengths) // 2]}"
    table = Table("", "useful tokens/s", "to the loop", "to TRL", title=title)
    first, second = list(ways)[:2]
    for name, rate in median.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / median[first]:.2f}", f"{rate / median[second]:.2f}")
    return table


def utilisation(shape: str) -> Table:
    """Tokens per second and model FLOPs utilisation of a shape with random weights, LoRA and full, packed."""
    table = Table("", "tokens/s", "MFU", title=f"{shape} on {torch.cuda.get_device_name()}, rows of {LONGEST}")
    tokenizer = build_tokenizer(["def f(x): return x"], 400)
    rows = [{"input_ids": [(7 * n + i) % 5000 for i in range(LONGEST)]} for n in range(32)]
    rows = [{**row, "labels": row["input_ids"]} for row in rows]
    for name, lora in (("LoRA", LoraSettings(rank=16)), ("full", None)):
        model = build(shape)
        fused = {"optimizer": "adamw_torch_fused", "batch": 4, "max_length": LONGEST}
        settings = TrainSettings(learning_rate=1e-5, lora=lora, **fused)
        with tempfile.TemporaryDirectory() as folder:
            trainer = make_trainer(model, tokenizer, rows, [], settings, 0, Path(folder))
            trainer.args.save_strategy = "no"
            trainer.train()  # warms up
            began = time.perf_counter()
            trainer.train()
            seconds = time.perf_counter() - began
        tokens = len(rows) * LONGEST
        share = training_flops(trainer.model, tokens, tokens * LONGEST) / seconds / matmul_rate(torch.bfloat16)[0]
        table.add_row(name, f"{tokens / seconds:,.0f}", f"{share:.0%}")
    return table


def main() -> None:
    """Measure what is asked for, print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hub", type=Path, default=Path("../shared/hub"), help="data sets as on the hub")
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--padded", type=int, default=24, help="rows that the padded loop sees")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--shape", choices=list(SHAPES), help="on a GPU: measure this size's utilisation")
    args = parser.parse_args()
    if args.shape:
        if not torch.cuda.is_available():
            raise InputError("--shape: there is no GPU to measure")
        Console().print(utilisation(args.shape))
        return
    if not args.hub.is_dir():
        raise InputError(f"{args.hub}: no such folder; expected data sets laid out as on the hub (docs/DATA.md)")
    Console().print(compare(args))


if __name__ == "__main__":
    run(main)
