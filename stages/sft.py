"""Supervised fine-tuning of the base model on the training tasks that have a reference solution.

python -m stages.sft --model models/base --tasks data/mix/train.jsonl --validation data/mix/validation.jsonl \
    --out models/sft --training data/training/sft.jsonl --metrics metrics/sft.json --curve metrics/loss/sft.csv
"""

from pathlib import Path

from stages.common import records
from stages.common.cli import heavy_imports, run
from stages.common.curves import write_curve
from stages.common.demonstrations import demonstrations
from stages.common.errors import InputError
from stages.common.files import write_json
from stages.common.launch import is_main, launched
from stages.common.outputs import output_file
from stages.common.params import Params, argument_parser
from stages.common.rates import write_rates
from stages.common.records import Task
from stages.common.timing import write_timing
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sft import SftSettings


def main() -> None:
    """Read tasks and checkpoint, train, save."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to start from")
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, help="training tasks")
    parser.add_argument("--validation", type=Path, help="tasks whose references give the validation loss")
    parser.add_argument("--out", type=Path, required=True, help="directory of the trained checkpoint")
    parser.add_argument("--training", type=Path, help="file for the examples trained on")
    parser.add_argument("--rates", type=Path, help="file for pass rates by task: none before a cycle")
    parser.add_argument("--metrics", type=output_file, help="file for metrics")
    parser.add_argument("--curve", type=output_file, help="CSV file for the loss curve")
    parser.add_argument("--timing", type=output_file, help="file for what varies from run to run")
    args = parser.parse_args()
    params = Params(args.params)
    settings = params.section(SftSettings, "sft")
    if launched(settings.train.launch_config, "stages.sft"):
        return
    prompts, compute = params.section(PromptSettings, "prompts"), params.section(ComputeSettings, "compute")
    examples = demonstrations(records.read_tasks(*args.tasks), prompts)
    if not examples:
        raise InputError(f"{args.tasks[0]}: no task has a 'reference' to train on")
    held_out = demonstrations(records.read(Task, args.validation), prompts) if args.validation else []

    with heavy_imports():
        from stages.lm.tuning import fine_tune

    result = fine_tune(
        args.model,
        args.out,
        examples,
        settings.train,
        compute=compute,
        prompts=prompts,
        seed=params.seed,
        label="sft",
        validation=held_out,
    )
    if not is_main():
        return
    if args.training:
        records.write(args.training, examples)
    if args.rates:
        write_rates(args.rates, [])
    if args.metrics:
        write_json(args.metrics, result.metrics)
    write_curve(args.curve, result.curve)
    write_timing(args.timing, result.timing)


if __name__ == "__main__":
    run(main)
