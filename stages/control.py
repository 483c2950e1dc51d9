"""A cycle's control: the same training on as many of its samples, drawn without a look at verdicts.

What RAFT gains over it comes from the verifier, and not from more training on the model's own text.

python -m stages.control --cycle 1 --parent models/sft --tasks data/mix/train.jsonl \
    --samples data/samples/cycle-1.jsonl --trained data/training/cycle-1.jsonl --out models/control-1 \
    --training data/training/control-1.jsonl --metrics metrics/control/1.json --curve metrics/loss/control-1.csv
"""

from pathlib import Path

from stages.common import records
from stages.common.cli import heavy_imports, run
from stages.common.curves import write_curve
from stages.common.files import write_json
from stages.common.launch import is_main, launched
from stages.common.lineage import start_of
from stages.common.outputs import output_file
from stages.common.params import Params, argument_parser
from stages.common.records import Example, Sample
from stages.common.selection import as_trained, unverified
from stages.common.timing import write_timing
from stages.settings.compute import ComputeSettings
from stages.settings.cycle import CycleSettings, depth
from stages.settings.prompts import PromptSettings
from stages.settings.raft import RaftSettings, for_cycle


def main() -> None:
    """Draw, train, save."""
    parser = argument_parser(__doc__)
    parser.add_argument("--cycle", required=True, help="number of the cycle that this is the control of")
    parser.add_argument("--parent", type=Path, required=True, help="checkpoint that the samples came from")
    parser.add_argument("--lineage", type=Path, help="of the parent: what to go on from where it has regressed")
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, help="the tasks that were sampled")
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--trained", type=Path, required=True, help="the examples that the cycle was trained on")
    parser.add_argument("--out", type=Path, required=True, help="directory of the trained checkpoint")
    parser.add_argument("--training", type=Path, required=True, help="file for the examples trained on")
    parser.add_argument("--metrics", type=output_file, help="file for metrics")
    parser.add_argument("--curve", type=output_file, help="CSV file for the loss curve")
    parser.add_argument("--timing", type=output_file, help="file for what varies from run to run")
    args = parser.parse_args()
    params = Params(args.params)
    cycle = params.top(CycleSettings, f"cycles.{args.cycle}")
    settings = for_cycle(params.section(RaftSettings, "raft"), cycle, depth(params, args.cycle))
    if launched(settings.train.launch_config, "stages.control"):
        return
    prompts, compute = params.section(PromptSettings, "prompts"), params.section(ComputeSettings, "compute")
    start = start_of(args.parent, args.lineage, cycle.use_regressed)

    trained = list(records.read(Example, args.trained))
    accepted = [example for example in trained if example.cycle == args.cycle]
    replay = [example for example in trained if example.cycle != args.cycle]
    tasks = {task.task_id: task for task in records.read_tasks(*args.tasks)}
    samples = records.read(Sample, args.samples, known=tasks)
    count = sum(example.weight for example in accepted)
    own = as_trained(unverified(samples, tasks, settings, args.cycle, count, params.seed), prompts)
    if not own:
        print(f"control {args.cycle}: its cycle accepted no sample; {start} is carried forward unchanged")
    with heavy_imports():
        from stages.lm.tuning import train_cycle

    result = train_cycle(
        start,
        args.out,
        own + replay if own else [],
        settings,
        compute=compute,
        prompts=prompts,
        seed=params.seed,
        label=f"control {args.cycle}",
    )
    if not is_main():
        return
    records.write(args.training, own + replay)
    drawn = {"accepted_by_the_cycle": count, "unverified": len(own), "replayed": len(replay)}
    if args.metrics:
        write_json(args.metrics, {**drawn, **result.metrics})
    write_curve(args.curve, result.curve)
    write_timing(args.timing, result.timing)


if __name__ == "__main__":
    run(main)
