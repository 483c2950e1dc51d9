"""Draw n completions per task from one checkpoint, here or through servers, in shards that a killed run resumes from.

python -m stages.sample --model models/sft --tasks data/mix/train.jsonl --out data/samples/cycle-1.jsonl --cycle 1
"""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from stages.common import records
from stages.common.cli import heavy_imports, run
from stages.common.errors import InputError
from stages.common.lineage import beside, start_of
from stages.common.outputs import output_file
from stages.common.params import Params, argument_parser
from stages.common.problems import distinct, sampled_tasks
from stages.common.rates import read_rates
from stages.common.records import Rate, Task, read_tasks
from stages.common.timing import write_timing
from stages.lm.curriculum import due
from stages.settings.compute import ComputeSettings
from stages.settings.cycle import CycleSettings, depth
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings


def with_temperature(settings: SampleSettings, own: CycleSettings, place: int) -> SampleSettings:
    """The settings for the cycle at `place` in the chain (1: the first), with the temperature that its entry gives."""
    scheduled = settings.temperature * settings.temperature_factor ** (place - 1)
    return settings.model_copy(update={"temperature": scheduled if own.temperature is None else own.temperature})


def chosen(args: Namespace, settings: SampleSettings, place: int, rates: dict[str, Rate]) -> list[Task]:
    """The tasks to sample. Raises InputError where there are none."""
    tasks = sampled_tasks(read_tasks(*args.tasks), settings.tasks)
    if not tasks:
        raise InputError(
            f"{args.tasks[0]}: no task is without a reference, as {args.section}.tasks 'undemonstrated' asks"
        )
    if args.section != "sample":  # a benchmark counts every task
        return tasks
    tasks, skipped = due(distinct(tasks), rates, place, settings.curriculum)
    if skipped:
        print(f"curriculum: {skipped} tasks are skipped, all of whose samples passed before; {len(tasks)} are sampled")
    return tasks


def main() -> None:
    """Read settings and tasks, sample."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to sample from")
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, help="task files")
    parser.add_argument("--out", type=Path, required=True, help="file for the samples")
    parser.add_argument("--section", default="sample", help="section of the settings (default: sample)")
    parser.add_argument("--cycle", help="number of the cycle, whose own settings apply")
    parser.add_argument("--lineage", type=Path, help="of the model: what to go on from where it has regressed")
    parser.add_argument("--rates", type=Path, help="pass rates measured by earlier cycles, for sample.curriculum")
    parser.add_argument("--greedy", type=Path, help="file for one more answer per task, the likeliest (temperature 0)")
    parser.add_argument("--timing", type=output_file, help="file for what varies from run to run")
    args = parser.parse_args()
    params = Params(args.params)
    settings = params.section(SampleSettings, args.section)
    model, place = args.model, depth(params, args.cycle) if args.cycle else 1
    if args.cycle:
        own = params.top(CycleSettings, f"cycles.{args.cycle}")
        settings = with_temperature(settings, own, place)
        model = start_of(model, args.lineage, own.use_regressed)
    prompts, compute = params.section(PromptSettings, "prompts"), params.section(ComputeSettings, "compute")
    if args.section == "validation.sample" and not any(True for path in args.tasks for _ in records.read(Task, path)):
        for path in filter(None, (args.out, args.greedy)):
            records.write(path, [])
        write_timing(args.timing, {})
        return
    rates = read_rates(beside(args.rates, args.model, model)) if args.rates else {}
    tasks = chosen(args, settings, place, rates)
    with heavy_imports():
        from stages.lm.sampling import Sampler
        from stages.lm.served import ServedSampler, over_servers
        from stages.lm.shards import over_processes, sample_to_files

    served = settings.backend == "openai"
    sampler = (ServedSampler if served else Sampler)(
        checkpoint=model,
        settings=settings,
        prompts=prompts,
        compute=compute,
        seed=params.seed,
        stream=f"cycle-{args.cycle}" if args.cycle else args.section,
        cycle=args.cycle,
    )
    runs = [(sampler, args.out)]
    if args.greedy:
        likeliest = settings.model_copy(update={"temperature": 0.0, "n": 1})
        runs.append((replace(sampler, settings=likeliest), args.greedy))
    timing, *greedy = sample_to_files(runs, tasks, over_servers if served else over_processes)
    write_timing(args.timing, timing | ({"greedy": greedy[0]} if greedy else {}))


if __name__ == "__main__":
    run(main)
