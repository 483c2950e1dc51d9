"""One RAFT cycle's second half: select the accepted samples, fine-tune on them.

python -m stages.raft --cycle 1 --parent models/sft --tasks data/mix/train.jsonl --samples data/samples/cycle-1.jsonl \
    --verdicts data/verdicts/cycle-1.jsonl --earlier data/training/sft.jsonl --out models/cycle-1 \
    --training data/training/cycle-1.jsonl --metrics metrics/raft/cycle-1.json --curve metrics/loss/cycle-1.csv
"""

from pathlib import Path

from stages.common import records
from stages.common.cli import heavy_imports, run
from stages.common.curves import write_curve
from stages.common.demonstrations import demonstrations
from stages.common.files import write_json
from stages.common.launch import is_main, launched
from stages.common.lineage import beside, start_of
from stages.common.outputs import output_file
from stages.common.params import Params, argument_parser
from stages.common.rates import Counting, read_rates, write_rates
from stages.common.records import Example, Sample, Verdict
from stages.common.selection import as_trained, paired, replayed, select, weighted
from stages.common.timing import write_timing
from stages.settings.compute import ComputeSettings
from stages.settings.cycle import CycleSettings, depth
from stages.settings.prompts import PromptSettings
from stages.settings.raft import RaftSettings, for_cycle


def main() -> None:
    """Select, train, save."""
    parser = argument_parser(__doc__)
    parser.add_argument("--cycle", required=True, help="number of the cycle")
    parser.add_argument("--parent", type=Path, required=True, help="checkpoint that the samples came from")
    parser.add_argument("--lineage", type=Path, help="of the parent: what to go on from where it has regressed")
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, help="the tasks that were sampled")
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--verdicts", type=Path, required=True)
    parser.add_argument("--earlier", type=Path, required=True, help="the examples that the parent was trained on")
    parser.add_argument("--measured", type=Path, help="the pass rates that the parent's cycles measured")
    parser.add_argument("--out", type=Path, required=True, help="directory of the trained checkpoint")
    parser.add_argument("--training", type=Path, required=True, help="file for the examples trained on")
    parser.add_argument("--rates", type=Path, help="file for the pass rates with this cycle's")
    parser.add_argument("--metrics", type=output_file, help="file for metrics")
    parser.add_argument("--curve", type=output_file, help="CSV file for the loss curve")
    parser.add_argument("--timing", type=output_file, help="file for what varies from run to run")
    args = parser.parse_args()
    params = Params(args.params)
    cycle = params.top(CycleSettings, f"cycles.{args.cycle}")
    place = depth(params, args.cycle)
    settings = for_cycle(params.section(RaftSettings, "raft"), cycle, place)
    if launched(settings.train.launch_config, "stages.raft"):
        return
    prompts, compute = params.section(PromptSettings, "prompts"), params.section(ComputeSettings, "compute")
    start = start_of(args.parent, args.lineage, cycle.use_regressed)
    trained = beside(args.earlier, args.parent, start)

    tasks = {task.task_id: task for task in records.read_tasks(*args.tasks)}
    counting = Counting(settings.threshold)
    pairs = counting(paired(records.read(Sample, args.samples, known=tasks), records.read(Verdict, args.verdicts)))
    own = as_trained(select(pairs, tasks, settings, args.cycle), prompts)
    rates = counting.rates(args.cycle, place)
    own = weighted(own, rates, settings.hardness)
    earlier = list(records.read(Example, trained))
    replay = replayed(earlier, demonstrations(tasks.values(), prompts), own, settings.replay, params.seed)
    if not own:
        print(f"cycle {args.cycle}: no sample reached {settings.threshold}; {start} is carried forward unchanged")
        replay = []
    with heavy_imports():
        from stages.lm.tuning import train_cycle

    how = {"compute": compute, "prompts": prompts, "seed": params.seed, "label": f"raft cycle {args.cycle}"}
    result = train_cycle(start, args.out, own + replay if own else [], settings, **how)
    if not is_main():
        return
    records.write(args.training, own + replay if own else earlier)
    accepted = {"accepted": len(own), "accepted_tasks": len({e.task_id for e in own}), "replayed": len(replay)}
    if args.rates:
        measured = read_rates(beside(args.measured, args.parent, start)) if args.measured else {}
        write_rates(args.rates, {**measured, **rates}.values())
    if args.metrics:
        write_json(args.metrics, {**accepted, **result.metrics})
    write_curve(args.curve, result.curve)
    write_timing(args.timing, result.timing)


if __name__ == "__main__":
    run(main)
