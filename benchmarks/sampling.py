"""Sampling: tokens per second beside transformers' own ways, from one checkpoint for the same prompts, in one run.

On a CPU, the checkpoint of the pipeline: python -m benchmarks.sampling --model models/sft --tasks data/mix/train.jsonl
On a GPU, a shape with random weights and the share of the decode roofline: python -m benchmarks.sampling --shape 1.5B
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.library import plain_generate
from benchmarks.roofline import measure_shape, shapes
from stages.common.cli import run
from stages.common.params import Params, argument_parser
from stages.common.records import Task, read_tasks
from stages.lm import devices, load
from stages.lm.chat import end_ids, prompt_ids
from stages.lm.decoding import Drawn
from stages.lm.sampling import Sampler
from stages.lm.shards import sample_to_file
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings

PADDED = "generate, batch 8, padded"
OURS = "stages.sample"
Measured = tuple[int, float]  # tokens, seconds


class LibrarySampler(Sampler):
    """A sampler that draws by transformers' `generate`: prompts of like length together, n answers at once."""

    def load(self) -> None:
        """Load, and leave the loop of ours alone."""
        super().load()
        self.model.set_attn_implementation(self.compute.attention)

    def _draw(self, prompts: list[list[int]], rooms: list[int], seed: int) -> list[list[Drawn]]:
        torch.manual_seed(seed)
        return [[Drawn(ids, None) for ids in answers] for answers in large_batches(self, prompts, self.settings.batch)]


def large_batches(holder: Any, prompts: list[list[int]], batch: int, n: int | None = None) -> list[list[list[int]]]:
    """n answers for each prompt by what `holder` has of model, settings and ends; prompts of like length together."""
    s, count = holder.settings, n or holder.settings.n
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    drawn: dict[int, list[list[int]]] = {}
    at_a_time = max(1, batch // count)
    for start in range(0, len(order), at_a_time):
        chosen = order[start : start + at_a_time]
        asked, pad = [prompts[i] for i in chosen], holder.tokenizer.pad_token_id
        rows = plain_generate(holder.model, asked, count, s.max_new_tokens, holder.ends, pad, s.temperature, s.top_p)
        drawn.update({i: rows[place * count : (place + 1) * count] for place, i in enumerate(chosen)})
    return [drawn[i] for i in range(len(prompts))]


class Library:
    """transformers' own ways in this process, on all cores."""

    def __init__(self, sampler: Sampler, tasks: Sequence[Task]) -> None:
        self.settings = sampler.settings
        self.tokenizer = load.load_tokenizer(sampler.checkpoint)
        self.ends = end_ids(self.tokenizer)
        self.model = load.load_model(sampler.checkpoint, sampler.compute)
        self.prompts = [prompt_ids(self.tokenizer, t.prompt, t.language, sampler.prompts) for t in tasks]

    def _generate(self, prompts: list[list[int]], n: int, batch: int) -> int:
        return sum(len(ids) for answers in large_batches(self, prompts, batch, n) for ids in answers)

    def padded(self) -> Measured:
        """One answer to each of 8 prompts at a time, in the order in which they come, n times over."""
        devices.use_threads(0)
        started, tokens = time.monotonic(), 0
        for _ in range(self.settings.n):
            for start in range(0, len(self.prompts), 8):
                tokens += self._generate(self.prompts[start : start + 8], 1, 8)
        return tokens, time.monotonic() - started

    def large(self) -> Measured:
        """n answers a prompt at once, prompts of like length together, large batches."""
        devices.use_threads(0)
        started = time.monotonic()
        return self._generate(self.prompts, self.settings.n, self.settings.batch), time.monotonic() - started

    def continuous(self) -> Measured:
        """Continuous batching over paged attention, for a few prompts: it is slow on a CPU."""
        from transformers import GenerationConfig

        devices.use_threads(0)
        s, few = self.settings, self.prompts[:4]
        config = GenerationConfig(
            do_sample=True,
            temperature=s.temperature,
            top_p=s.top_p,
            max_new_tokens=s.max_new_tokens,
            eos_token_id=self.ends,
            pad_token_id=self.tokenizer.pad_token_id,
            num_return_sequences=s.n,
        )
        own = self.model.config._attn_implementation
        started = time.monotonic()
        out = self.model.generate_batch(inputs=few, generation_config=config, progress_bar=False)
        seconds = time.monotonic() - started
        self.model.set_attn_implementation(own)
        return sum(len(answer.generated_tokens) for answer in out.values()), seconds


def as_a_stage(sampler: Sampler, tasks: Sequence[Task]) -> Measured:
    """Over all processes, loading the model included."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        timing = sample_to_file(sampler, tasks, Path(folder) / "samples.jsonl")
        return timing["sampled_tokens"], time.monotonic() - started


def compare(args: argparse.Namespace) -> Table:
    """All ways in turn, several times; medians and their ratio to the first."""
    params = Params(args.params)
    sampler = Sampler(
        args.model,
        params.section(SampleSettings, "sample"),
        params.section(PromptSettings, "prompts"),
        params.section(ComputeSettings, "compute"),
        params.seed,
        stream="benchmarks",
    )
    tasks = read_tasks(*args.tasks)[-args.limit :]
    library = Library(sampler, tasks)
    other = LibrarySampler(**{name: getattr(sampler, name) for name in Sampler.__dataclass_fields__})
    ways: dict[str, Callable[[], Measured]] = {
        PADDED: library.padded,
        f"generate, n at once, batch {sampler.settings.batch}, one process": library.large,
        f"the same over {torch.get_num_threads()} processes": lambda: as_a_stage(other, tasks),
        "generate_batch (continuous batching), 4 prompts": library.continuous,
        OURS: lambda: as_a_stage(replace(sampler), tasks),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, measure in ways.items():
            tokens, seconds = measure()
            rates[name].append(tokens / seconds)
    table = Table("", "tokens/s (median)", "range", "ratio", title=f"{len(tasks)} tasks x {sampler.settings.n} samples")
    median = {name: sorted(values)[len(values) // 2] for name, values in rates.items()}
    for name, values in rates.items():
        spread = f"{min(values):,.0f}-{max(values):,.0f}"
        table.add_row(name, f"{median[name]:,.0f}", spread, f"{median[name] / median[PADDED]:.2f}")
    return table


def main() -> None:
    """Measure what is asked for, print it."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/sft"))
    parser.add_argument("--tasks", type=Path, nargs="+", default=[Path("data/mix/train.jsonl")])
    parser.add_argument("--limit", type=int, default=256, help="tasks to sample")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=list(shapes()), help="random weights of this size instead of a checkpoint")
    args = parser.parse_args()
    Console().print(measure_shape(args.shape) if args.shape else compare(args))


if __name__ == "__main__":
    run(main)
