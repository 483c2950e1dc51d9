"""Draw n completions per task from one checkpoint, in shards that a killed run resumes from.

python -m stages.sample --model models/sft --tasks data/mix/train.jsonl --out data/samples/cycle-1.jsonl --cycle 1
"""

from pathlib import Path

from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.params import Params, argument_parser
from stages.common.problems import distinct, sampled_tasks
from stages.common.records import read_tasks
from stages.common.timing import write_timing
from stages.lm.sampling import Sampler
from stages.lm.shards import sample_to_file
from stages.settings.compute import ComputeSettings
from stages.settings.cycle import CycleSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings


def main() -> None:
    """Read settings and tasks, sample."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to sample from")
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, help="task files")
    parser.add_argument("--out", type=Path, required=True, help="file for the samples")
    parser.add_argument("--section", default="sample", help="section of the settings (default: sample)")
    parser.add_argument("--cycle", help="number of the cycle, whose own settings apply")
    parser.add_argument("--timing", type=Path, help="file for what varies from run to run")
    args = parser.parse_args()
    params = Params(args.params)
    settings = params.section(SampleSettings, args.section)
    if args.cycle:
        own = params.top(CycleSettings, f"cycles.{args.cycle}")
        if own.temperature is not None:
            settings = settings.model_copy(update={"temperature": own.temperature})
    sampler = Sampler(
        checkpoint=args.model,
        settings=settings,
        prompts=params.section(PromptSettings, "prompts"),
        compute=params.section(ComputeSettings, "compute"),
        seed=params.seed,
        stream=f"cycle-{args.cycle}" if args.cycle else args.section,
        cycle=args.cycle,
    )
    tasks = sampled_tasks(read_tasks(*args.tasks), settings.tasks)
    if not tasks:
        raise InputError(
            f"{args.tasks[0]}: no task is without a reference, as {args.section}.tasks 'undemonstrated' asks"
        )
    if args.section == "sample":  # a benchmark counts every task
        tasks = distinct(tasks)
    timing = sample_to_file(sampler, tasks, args.out)
    write_timing(args.timing, timing)


if __name__ == "__main__":
    run(main)
