"""Add a run of GRPO to params.yaml, with its checkpoint among the benchmarked ones, and run it.

python -m stages.grpo_runs --run 1 --parent sft
"""

from pathlib import Path

from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.params import DEFAULT_PATH, Params, argument_parser
from stages.settings.check import check_all
from stages.settings.editing import add_entry, edit, reproduce


def main() -> None:
    """Add the run where needed, check the file, then reproduce."""
    parser = argument_parser(__doc__)
    parser.add_argument("--run", required=True, help="number of the run, 1 or more")
    parser.add_argument("--parent", help="checkpoint that a new run starts from (default: sft)")
    parser.add_argument("--no-run", action="store_true", help="just edit params.yaml")
    args = parser.parse_args()
    if not args.run.isdigit() or args.run.startswith("0"):
        raise InputError(f"--run: found '{args.run}', expected a number of 1 or more")
    path: Path = args.params or DEFAULT_PATH
    params = Params(path)
    check_all(params)
    if "grpo" not in params.raw:
        raise InputError(f"{path}: grpo: missing; put 'grpo: {{}}' above 'models'")
    entry = params.raw["grpo"].get(args.run)
    if entry and args.parent not in (None, entry["parent"]):
        raise InputError(f"{path}: grpo.{args.run}.parent: found '{entry['parent']}', expected '{args.parent}'")
    parent, name = args.parent or "sft", f"grpo-{args.run}"
    if edit(path, lambda document: add_entry(document, "grpo", args.run, parent, name)):
        print(f"{path}: added {name}")
    if not args.no_run:
        reproduce(f"benchmark@{name}")


if __name__ == "__main__":
    run(main)
