"""Draw n completions per task from one checkpoint, here or through servers, in shards that a killed run resumes from.

python -m stages.sample --model models/sft --tasks data/mix/train.jsonl --out data/samples/cycle-1.jsonl --cycle 1
"""

import json
from pathlib import Path

from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.params import Params, argument_parser
from stages.common.records import Task, read_tasks
from stages.common.timing import write_timing
from stages.lm.sampling import Sampler
from stages.lm.served import ServedSampler, over_servers
from stages.lm.shards import over_processes, sample_to_file
from stages.settings.compute import ComputeSettings
from stages.settings.cycle import CycleSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings


def problem(task: Task) -> str:
    """What tasks with several solutions of one problem have in common: what is asked, and how it is judged."""
    return json.dumps([task.prompt, task.language, task.tests, task.cases], sort_keys=True)


def sampled_tasks(tasks: list[Task], settings: SampleSettings) -> list[Task]:
    """The tasks to sample: all, or those whose problem no demonstration solves."""
    if settings.tasks == "all":
        return tasks
    solved = {problem(task) for task in tasks if task.reference is not None}
    return [task for task in tasks if problem(task) not in solved]


def distinct(tasks: list[Task]) -> list[Task]:
    """The first task of each problem; prints how many others there were."""
    first: dict[str, Task] = {}
    for task in tasks:
        first.setdefault(problem(task), task)
    if len(first) < len(tasks):
        print(f"{len(tasks)} tasks of {len(first)} problems: each is sampled once, for its first task", flush=True)
    return list(first.values())


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
    served = settings.backend == "openai"
    sampler = (ServedSampler if served else Sampler)(
        checkpoint=args.model,
        settings=settings,
        prompts=params.section(PromptSettings, "prompts"),
        compute=params.section(ComputeSettings, "compute"),
        seed=params.seed,
        stream=f"cycle-{args.cycle}" if args.cycle else args.section,
        cycle=args.cycle,
    )
    tasks = sampled_tasks(read_tasks(*args.tasks), settings)
    if not tasks:
        raise InputError(
            f"{args.tasks[0]}: no task is without a reference, as {args.section}.tasks 'undemonstrated' asks"
        )
    if args.section == "sample":  # a benchmark counts every task
        tasks = distinct(tasks)
    timing = sample_to_file(sampler, tasks, args.out, over_servers if served else over_processes)
    write_timing(args.timing, timing)


if __name__ == "__main__":
    run(main)
