"""One RAFT cycle's second half: select the accepted samples, fine-tune on them.

python -m stages.raft --cycle 1 --parent models/sft --tasks data/mix/train.jsonl --samples data/samples/cycle-1.jsonl \
    --verdicts data/verdicts/cycle-1.jsonl --earlier data/training/sft.jsonl --out models/cycle-1 \
    --training data/training/cycle-1.jsonl --metrics metrics/raft/cycle-1.json --curve metrics/loss/cycle-1.csv
"""

import shutil
from argparse import Namespace
from pathlib import Path

from stages.common import records
from stages.common.cli import run
from stages.common.demonstrations import demonstrations
from stages.common.files import replacing_directory, write_json
from stages.common.launch import is_main, launched
from stages.common.params import Params, argument_parser
from stages.common.records import Example, Sample, Verdict
from stages.common.selection import as_trained, paired, replayed, select
from stages.common.timing import write_timing
from stages.lm import devices, load
from stages.lm.chat import example_row
from stages.lm.training import TrainResult, finished, train, write_curve
from stages.settings.compute import ComputeSettings
from stages.settings.cycle import CycleSettings
from stages.settings.prompts import PromptSettings
from stages.settings.raft import RaftSettings


def with_overrides(settings: RaftSettings, own: CycleSettings) -> RaftSettings:
    """The profile's settings with those that the cycle's entry gives."""
    train_settings = settings.train
    if own.learning_rate is not None:
        train_settings = train_settings.model_copy(update={"learning_rate": own.learning_rate})
    threshold = settings.threshold if own.threshold is None else own.threshold
    return settings.model_copy(update={"threshold": threshold, "train": train_settings})


def fine_tune(
    args: Namespace, params: Params, settings: RaftSettings, prompts: PromptSettings, examples: list[Example]
) -> TrainResult:
    """Train from the chosen start on the examples and save the checkpoint."""
    compute = params.section(ComputeSettings, "compute")
    start = args.parent if settings.start == "parent" else args.parent.parent / settings.start
    devices.use_threads(compute.threads)
    tokenizer = load.load_tokenizer(start)
    quantize = settings.train.lora and settings.train.lora.quantize
    model = load.load_model(start, compute, trainable=True, quantize=quantize)
    rows = [example_row(tokenizer, example, prompts) for example in examples]
    work = args.out.with_name(args.out.name + ".partial")
    how = {
        "seed": params.seed,
        "work": work,
        "label": f"raft cycle {args.cycle}",
        "origin": load.origin(start, compute),
    }
    result = train(model, tokenizer, rows, settings.train, **how)
    if is_main():
        load.save(args.out, result.model, tokenizer, result.weights)
        finished(work)
    return result


def carry_forward(parent: Path, out: Path) -> TrainResult:
    """Copy the parent's checkpoint: nothing passed, so there is nothing to learn from."""
    load.expect_checkpoint(parent)
    with replacing_directory(out) as directory:
        shutil.copytree(parent, directory, dirs_exist_ok=True)
    return TrainResult(None, {"examples": 0, "examples_too_long": 0, "train_loss": None})


def main() -> None:
    """Select, train, save."""
    parser = argument_parser(__doc__)
    parser.add_argument("--cycle", required=True, help="number of the cycle")
    parser.add_argument("--parent", type=Path, required=True, help="checkpoint that the samples came from")
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, help="the tasks that were sampled")
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--verdicts", type=Path, required=True)
    parser.add_argument("--earlier", type=Path, required=True, help="the examples that the parent was trained on")
    parser.add_argument("--out", type=Path, required=True, help="directory of the trained checkpoint")
    parser.add_argument("--training", type=Path, required=True, help="file for the examples trained on")
    parser.add_argument("--metrics", type=Path, help="file for metrics")
    parser.add_argument("--curve", type=Path, help="CSV file for the loss curve")
    parser.add_argument("--timing", type=Path, help="file for what varies from run to run")
    args = parser.parse_args()
    params = Params(args.params)
    settings = params.section(RaftSettings, "raft")
    settings = with_overrides(settings, params.top(CycleSettings, f"cycles.{args.cycle}"))
    if launched(settings.train.launch_config, "stages.raft"):
        return
    prompts = params.section(PromptSettings, "prompts")

    tasks = {task.task_id: task for task in records.read_tasks(*args.tasks)}
    pairs = paired(records.read(Sample, args.samples), records.read(Verdict, args.verdicts))
    own = as_trained(select(pairs, tasks, settings, args.cycle), prompts)
    earlier = list(records.read(Example, args.earlier))
    replay = replayed(earlier, demonstrations(tasks.values(), prompts), own, settings.replay, params.seed)
    if own:
        examples = own + replay
        result = fine_tune(args, params, settings, prompts, examples)
    else:
        print(f"cycle {args.cycle}: no sample reached {settings.threshold}; {args.parent} is carried forward unchanged")
        examples, replay = earlier, []
        result = carry_forward(args.parent, args.out) if is_main() else TrainResult(None)
    if not is_main():
        return
    records.write(args.training, examples)
    accepted = {"accepted": len(own), "accepted_tasks": len({e.task_id for e in own}), "replayed": len(replay)}
    if args.metrics:
        write_json(args.metrics, {**accepted, **result.metrics})
    write_curve(args.curve, result.curve)
    write_timing(args.timing, result.timing)


if __name__ == "__main__":
    run(main)
