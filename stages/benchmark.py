"""Held-out pass@k of one checkpoint, and pass@1 of its likeliest answers, from samples that are there or drawn first.

python -m stages.benchmark --samples data/benchmark/sft/samples.jsonl --tasks data/mix/benchmark.jsonl --out sft.json
python -m stages.benchmark --model models/sft --tasks data/mix/benchmark.jsonl --out sft.json
"""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from stages.common import records
from stages.common.cli import run
from stages.common.errors import HaloForgeError, InputError
from stages.common.files import write_csv, write_json
from stages.common.outputs import beside, is_stream, output_file
from stages.common.params import Params, argument_parser
from stages.common.records import Sample, Task, Verdict
from stages.common.score import categories, figures, trimmed_figures
from stages.common.timing import write_timing
from stages.common.verdict_summary import VerdictSummary
from stages.settings.scoring import ScoreSettings
from stages.settings.verify import VerifySettings
from stages.verifiers.files import verify_file
from stages.verifiers.trimmed import trimmed_counts
from stages.verifiers.verdicts import COMPILE_ERROR


def draw_samples(args: Namespace) -> tuple[Path, Path]:
    """Sample from `--model` as the graph's own stage does, in a process of its own: judging needs no torch.

    Returns the files of the samples and of the greedy ones."""
    out, greedy = (beside(args.out, f".{name}.jsonl") for name in ("samples", "greedy"))
    command = [sys.executable, "-m", "stages.sample", "--section", "benchmark.sample"]
    command += ["--model", args.model, "--out", out, "--greedy", greedy, "--tasks", *args.tasks]
    command += ["--params", args.params] if args.params else []
    if subprocess.run(command, check=False).returncode:
        raise HaloForgeError(f"sampling from {args.model} failed, see above")
    return out, greedy


def write_categories(
    path: Path, tasks: dict[str, Task], tally: dict[str, tuple[int, int]], score: ScoreSettings
) -> None:
    """CSV: one row per category, with its number of tasks and its figures."""
    rows = [
        {"field": field, "value": value, "tasks": len(ids), **figures([tally[i] for i in ids], score)}
        for (field, value), ids in categories(tasks).items()
    ]
    header = ["field", "value", "tasks", *figures([(max(score.k), 0)], score)]
    write_csv(path, header, rows)


def answers(samples: Path) -> dict[str, float]:
    """Mean tokens of an answer, and the share that max_new_tokens cut off, of the samples that say so; else nothing."""
    tokens = counted = ended = cut = 0
    for sample in records.read(Sample, samples):
        if sample.tokens is not None:
            tokens, counted = tokens + sample.tokens, counted + 1
        if sample.finish_reason is not None:
            ended, cut = ended + 1, cut + (sample.finish_reason == "length")
    found = {"mean_tokens": round(tokens / counted, 2)} if counted else {}
    return {**found, **({"cut_off": round(cut / ended, 6)} if ended else {})}


def judged(
    args: Namespace, samples: Path, verdicts: Path, tasks: dict[str, Task], verify: VerifySettings
) -> tuple[VerdictSummary, dict[str, tuple[int, int]], dict[str, Any]]:
    """Verdicts of one file of samples, written: summary, (samples, passed) by task, timing. Raises InputError where a
    task has no sample."""
    summary, timing = verify_file(args.tasks, samples, verdicts, verify)
    tally = summary.tally
    if missing := [task_id for task_id in tasks if task_id not in tally]:
        raise InputError(f"{samples}: no sample of task '{missing[0]}' (and {len(missing) - 1} more)")
    return summary, tally, timing


def greedy_figures(
    args: Namespace, samples: Path, tasks: dict[str, Task], verify: VerifySettings, score: ScoreSettings
) -> tuple[dict[str, float], dict[str, Any]]:
    """`greedy_pass@1` with its interval, and timing."""
    for sample in records.read(Sample, samples):
        if sample.temperature or sample.sample:
            found = f"sample {sample.sample} of {sample.task_id} at temperature {sample.temperature}"
            raise InputError(f"{samples}: found {found}, expected one greedy sample of each task, at 0")
    verdicts = args.greedy_verdicts or beside(args.out, ".greedy_verdicts.jsonl")
    _, tally, timing = judged(args, samples, verdicts, tasks, verify)
    found = figures(list(tally.values()), score.model_copy(update={"k": [1]}))
    return {f"greedy_{name}": value for name, value in found.items()}, timing


def main() -> None:
    """Judge the samples, write the figures."""
    parser = argument_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, help="checkpoint to sample from")
    source.add_argument("--samples", type=Path, help="samples drawn before")
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, help="task files")
    parser.add_argument("--out", type=Path, required=True, help="file for the figures (JSON, flat)")
    parser.add_argument("--verdicts", type=Path, help="file for the verdicts (default: beside --out)")
    parser.add_argument("--categories", type=output_file, help="CSV file for the figures by category")
    parser.add_argument(
        "--levels", type=output_file, help="CSV file for the samples by reward and level: how they fail"
    )
    parser.add_argument("--greedy", type=Path, help="greedy samples drawn before, one per task (with --samples)")
    parser.add_argument("--greedy-verdicts", type=output_file, help="file for their verdicts (default: beside --out)")
    parser.add_argument("--timing", type=output_file, help="file for what varies from run to run")
    args = parser.parse_args()
    params = Params(args.params)
    score = params.section(ScoreSettings, "benchmark.score")
    tasks = {task.task_id: task for task in records.read_tasks(*args.tasks)}
    verify = params.section(VerifySettings, "verify")
    samples, greedy = (args.samples, args.greedy) if args.samples else draw_samples(args)
    given = args.verdicts or beside(args.out, ".verdicts.jsonl")
    verdicts = beside(given, ".verdicts.jsonl") if is_stream(given) else given  # they are read again
    summary, tally, timing = judged(args, samples, verdicts, tasks, verify)
    if verdicts != given:
        records.write(given, records.read(Verdict, verdicts))
    found = figures(list(tally.values()), score)
    trimmed, work = trimmed_counts(tasks, samples, verdicts, verify)
    found |= trimmed_figures(list(trimmed.values()), score)
    timing["trimmed"] = {"judged": work.judged, "cache_hits": work.cache_hits, "repeated": work.repeated}
    if greedy:
        likeliest, timing["greedy"] = greedy_figures(args, greedy, tasks, verify, score)
        found |= likeliest
    temperature = next(records.read(Sample, samples)).temperature
    compiled = sum(row["samples"] for row in summary.table() if row["level"] != COMPILE_ERROR)
    drawn = {"compile_rate": round(compiled / summary.samples, 6), **answers(samples)}
    drawn |= {"tasks": len(tasks), "n": min(n for n, _ in tally.values()), "temperature": temperature}
    if args.categories:
        write_categories(args.categories, tasks, tally, score)
    if args.levels:
        write_csv(args.levels, ["reward", "level", "samples"], summary.table())
    write_json(args.out, {**found, **drawn})
    write_timing(args.timing, timing)


if __name__ == "__main__":
    run(main)
