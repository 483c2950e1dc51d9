"""Add the control of a cycle to params.yaml, with its checkpoint among the benchmarked ones, and run both.

python -m stages.controls --cycle 1
"""

from pathlib import Path

from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.params import DEFAULT_PATH, Params, argument_parser
from stages.settings.check import check_all
from stages.settings.editing import add_entry, edit, reproduce


def main() -> None:
    """Add the control where needed, check the file, then reproduce."""
    parser = argument_parser(__doc__)
    parser.add_argument("--cycle", required=True, help="number of the cycle")
    parser.add_argument("--no-run", action="store_true", help="just edit params.yaml")
    args = parser.parse_args()
    path: Path = args.params or DEFAULT_PATH
    params = Params(path)
    check_all(params)
    if args.cycle not in params.raw["cycles"]:
        raise InputError(f"--cycle: found '{args.cycle}', expected one of: {', '.join(params.raw['cycles'])}")
    parent, name = params.raw["cycles"][args.cycle]["parent"], f"control-{args.cycle}"
    if edit(path, lambda document: add_entry(document, "controls", args.cycle, parent, name)):
        print(f"{path}: added {name}")
    if not args.no_run:
        reproduce(f"benchmark@{name}", "report")


if __name__ == "__main__":
    run(main)
