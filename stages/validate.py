"""pass@1 of a checkpoint on the validation tasks, and whether cycles may go on from it.

python -m stages.validate --name cycle-1 --samples data/validation/cycle-1/samples.jsonl \
    --tasks data/mix/validation.jsonl --parent data/validation/sft/figures.json --out data/lineage/cycle-1.json \
    --figures data/validation/cycle-1/figures.json --verdicts data/validation/cycle-1/verdicts.jsonl \
    --metrics metrics/validation/cycle-1.json
"""

from pathlib import Path
from typing import Any

from stages.common import records
from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.files import write_json
from stages.common.lineage import FIGURES, judged, read_figures
from stages.common.outputs import output_file
from stages.common.params import Params, argument_parser
from stages.common.records import Task
from stages.common.score import figures
from stages.common.timing import write_timing
from stages.settings.cycle import CycleSettings
from stages.settings.validation import ValidationSettings
from stages.settings.verify import VerifySettings
from stages.verifiers.files import verify_file


def validation_figures(
    tasks: list[Task], samples: Path, tally: dict[str, tuple[int, int]], settings: ValidationSettings
) -> dict[str, Any]:
    """pass@1 with its interval over the tasks; InputError for a task without samples. `tally` is (samples, passed) by
    task."""
    if missing := [task.task_id for task in tasks if task.task_id not in tally]:
        raise InputError(f"{samples}: no sample of task '{missing[0]}' (and {len(missing) - 1} more); sample again")
    return figures(list(tally.values()), settings.score)


def sentence(name: str, parent: dict[str, Any] | None, own: dict[str, Any], lineage: dict[str, Any]) -> str:
    """What was found, in words."""
    if own["pass@1"] is None:
        return f"{name}: no validation tasks, so no cycle is stopped for having regressed"
    found = "pass@1 {:.3f} [{:.3f}, {:.3f}] on validation".format(*(own[key] for key in FIGURES))
    if not parent:
        return f"{name}: {found}"
    beside = "{:.3f} [{:.3f}, {:.3f}]".format(*(parent[key] for key in FIGURES))
    if lineage["regressed"]:
        kept = lineage["checkpoint"]
        return f"{name}: {found}, below {beside} of {kept}: REGRESSED; it is kept, and its children start from {kept}"
    return f"{name}: {found}, beside {beside} of {parent['checkpoint']}"


def main() -> None:
    """Judge the samples, compare with the parent, write."""
    parser = argument_parser(__doc__)
    parser.add_argument("--name", required=True, help="the checkpoint's name, such as cycle-1")
    parser.add_argument("--samples", type=Path, required=True, help="its samples of the validation tasks")
    parser.add_argument("--tasks", type=Path, required=True, help="the validation tasks; there may be none")
    parser.add_argument("--cycle", help="number of the cycle that made it")
    parser.add_argument("--parent", type=Path, help="the figures that the parent left")
    parser.add_argument("--out", type=output_file, required=True, help="file for the lineage (JSON)")
    parser.add_argument(
        "--figures", type=output_file, required=True, help="file for the figures left to its children (JSON)"
    )
    parser.add_argument("--verdicts", type=Path, required=True, help="file for the verdicts")
    parser.add_argument("--metrics", type=output_file, help="file for metrics")
    parser.add_argument("--timing", type=output_file, help="file for what varies from run to run")
    args = parser.parse_args()
    params = Params(args.params)
    settings = params.section(ValidationSettings, "validation")
    use_regressed = params.top(CycleSettings, f"cycles.{args.cycle}").use_regressed if args.cycle else False
    parent = read_figures(args.parent, use_regressed) if args.parent else None
    tasks = list(records.read(Task, args.tasks))
    own: dict[str, Any] = dict.fromkeys(FIGURES)
    if tasks:
        verify = params.section(VerifySettings, "verify")
        summary, timing = verify_file([args.tasks], args.samples, args.verdicts, verify)
        own = validation_figures(tasks, args.samples, summary.tally, settings)
        write_timing(args.timing, timing)
    else:
        records.write(args.verdicts, [])
    lineage, left = judged(args.name, own, parent, settings.stop)
    print(sentence(args.name, parent, own, lineage))
    write_json(args.out, lineage)
    write_json(args.figures, left)
    if args.metrics:
        write_json(args.metrics, {**own, "tasks": len(tasks), "regressed": int(lineage["regressed"])})


if __name__ == "__main__":
    run(main)
