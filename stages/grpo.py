"""GRPO: train a checkpoint online, on what its verifiers pay for its own completions.

python -m stages.grpo --run 1 --parent models/sft --tasks data/mix/train.jsonl --out models/grpo-1 \
    --samples data/samples/grpo-1.jsonl --verdicts data/verdicts/grpo-1.jsonl --metrics metrics/grpo/1.json \
    --curve metrics/loss/grpo-1.csv

Every sample that it was trained on, and its verdict, is written, with the optimizer step whose weights drew it.
"""

import shutil
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.common.cli import heavy_imports, run
from stages.common.errors import InputError
from stages.common.files import write_csv, write_json
from stages.common.outputs import output_file, work_directory
from stages.common.params import Params, argument_parser
from stages.common.problems import distinct, sampled_tasks
from stages.common.records import Sample, Task, Verdict, read_tasks
from stages.common.timing import write_timing
from stages.settings.compute import ComputeSettings
from stages.settings.grpo import GrpoRunSettings, GrpoSettings, Reward
from stages.settings.prompts import PromptSettings
from stages.settings.verify import VerifySettings
from stages.verifiers.standing import StandingJudges, Submitted, is_known


class Paymaster:
    """Verifiers as training sees them: they take samples, give verdicts and say what each is worth."""

    def __init__(self, judges: StandingJudges, reward: Reward) -> None:
        self._judges, self._reward = judges, reward

    def submit(self, samples: Sequence[Sample]) -> Submitted:
        """Begin to verify; returns at once."""
        return self._judges.submit(samples)

    def verdicts(self, submitted: Submitted) -> list[Verdict]:
        """The verdicts in the samples' order, once they are there. Raises SandboxError."""
        return self._judges.verdicts(submitted)

    def reward(self, verdict: Verdict) -> float | None:
        """The verdict's reward, or just whether it is a pass; None where the task's own tests are broken."""
        if not is_known(verdict):
            return None
        return verdict.reward if self._reward == "ladder" else float(verdict.reward == 1)


def train(args: Namespace, params: Params, settings: GrpoSettings, tasks: list[Task]) -> tuple[dict, dict]:
    """Train, and write all but metrics and timing, which are returned."""
    prompts, compute = params.section(PromptSettings, "prompts"), params.section(ComputeSettings, "compute")
    verify = params.section(VerifySettings, "verify")
    with heavy_imports():
        from stages.lm import devices, load
        from stages.lm.grpo import kept_checkpoints, train_grpo
        from stages.lm.grpo_figures import CURVE
        from stages.lm.rollouts import fitting

    work = work_directory(args.out)
    devices.use_threads(compute.threads)
    tokenizer = load.load_tokenizer(args.parent)
    model = load.load_model(args.parent, compute, trainable=True)
    load.expect_vocabulary(model, tokenizer, args.parent)
    fit, too_long = fitting(tasks, tokenizer, model, settings, prompts)
    if too_long:
        print(f"{too_long} tasks left out: prompt and completion exceed the model's context", flush=True)
    with StandingJudges({p.task.task_id: p.task for p in fit}, verify) as judges:
        how: dict[str, Any] = {"seed": params.seed, "name": args.out.name, "work": work}
        origin = [load.origin(args.parent, compute), judges.versions]
        result, rollouts = train_grpo(
            model, tokenizer, fit, settings, Paymaster(judges, settings.reward), **how, origin=origin
        )
    load.save(args.out, result.model, tokenizer)
    for kept in kept_checkpoints(rollouts):
        shutil.copytree(kept, args.out / kept.name)
    rollouts.join(Sample, args.samples)
    rollouts.join(Verdict, args.verdicts)
    if args.curve:
        write_csv(args.curve, CURVE, result.curve)
    known = {"judged": judges.work.judged, "cache_hits": judges.work.cache_hits, "repeated": judges.work.repeated}
    return {"tasks": len(fit), "tasks_too_long": too_long, **result.metrics}, {**result.timing, **known}


def main() -> None:
    """Read settings and tasks, train, write."""
    parser = argument_parser(__doc__)
    parser.add_argument("--run", required=True, help="number of the run, whose own settings apply")
    parser.add_argument("--parent", type=Path, required=True, help="checkpoint to start from")
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, help="tasks to train on")
    parser.add_argument("--out", type=Path, required=True, help="directory of the trained checkpoint")
    parser.add_argument("--samples", type=Path, required=True, help="file for the samples that were trained on")
    parser.add_argument("--verdicts", type=Path, required=True, help="file for their verdicts")
    parser.add_argument("--metrics", type=output_file, help="file for metrics")
    parser.add_argument("--curve", type=output_file, help="CSV file for loss and reward by step")
    parser.add_argument("--timing", type=output_file, help="file for what varies from run to run")
    args = parser.parse_args()
    params = Params(args.params)
    own = params.top(GrpoRunSettings, f"grpo.{args.run}")
    settings = own.applied(params.section(GrpoSettings, "grpo"), f"{params.path}: grpo.{args.run}")
    tasks = distinct(sampled_tasks(read_tasks(*args.tasks), settings.tasks))
    if not tasks:
        raise InputError(f"{args.tasks[0]}: no task is without a reference, as grpo.tasks 'undemonstrated' asks")
    metrics, timing = train(args, params, settings, tasks)
    if args.metrics:
        write_json(args.metrics, metrics)
    write_timing(args.timing, timing)
    from stages.lm.training import finished

    finished(args.out.with_name(args.out.name + ".partial"))


if __name__ == "__main__":
    run(main)
