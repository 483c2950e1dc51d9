"""Tokens per second of the pipeline's sampling beside the plain loop (`generate`, batches of 8 padded prompts), in one
run on one checkpoint and the same prompts.

python -m benchmarks.sampling --model models/sft --tasks data/mix/train.jsonl
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stages.common.cli import run
from stages.common.params import Params, argument_parser
from stages.common.records import Task, read_tasks
from stages.lm import devices
from stages.lm.sampling import Sampler
from stages.lm.shards import sample_to_file
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings


def plain_loop(sampler: Sampler, tasks: Sequence[Task], batch: int = 8) -> tuple[int, float]:
    """(tokens, seconds) of a loop that generates one answer to each of `batch` prompts at a time, on all cores."""
    devices.use_threads(0)
    one = replace(sampler, settings=sampler.settings.model_copy(update={"n": 1, "batch": batch}))
    one.load()
    started, tokens = time.monotonic(), 0
    for _ in range(sampler.settings.n):
        for start in range(0, len(tasks), batch):
            tokens += sum(s.tokens or 0 for s in one.sample_shard(tasks[start : start + batch], start))
    return tokens, time.monotonic() - started


def ours(sampler: Sampler, tasks: Sequence[Task]) -> tuple[int, float]:
    """(tokens, seconds) of the sampling stage, loading the model included."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        timing = sample_to_file(sampler, tasks, Path(folder) / "samples.jsonl")
        return timing["sampled_tokens"], time.monotonic() - started


def main() -> None:
    """Measure both, several times in turn, and print the medians and their ratio."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/sft"))
    parser.add_argument("--tasks", type=Path, nargs="+", default=[Path("data/mix/train.jsonl")])
    parser.add_argument("--limit", type=int, default=96, help="tasks to sample")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
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
    rates: dict[str, list[float]] = {"generate, batch 8": [], "stages.sample": []}
    for _ in range(args.rounds):
        for name, measure in zip(rates, (plain_loop, ours), strict=True):
            tokens, seconds = measure(sampler, tasks)
            rates[name].append(tokens / seconds)
    table = Table("", "tokens/s (median)", "range", "ratio", title=f"{len(tasks)} tasks x {sampler.settings.n} samples")
    median = {name: sorted(values)[len(values) // 2] for name, values in rates.items()}
    for name, values in rates.items():
        ratio = median[name] / median["generate, batch 8"]
        table.add_row(name, f"{median[name]:,.0f}", f"{min(values):,.0f}-{max(values):,.0f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    run(main)
