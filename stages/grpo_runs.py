"""Add a run of GRPO to params.yaml, with its checkpoint among the benchmarked ones, and run it.

python -m stages.grpo_runs --run 1 --parent sft
"""

import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from stages.common.cli import run
from stages.common.errors import HaloForgeError, InputError
from stages.common.files import replacing
from stages.common.params import DEFAULT_PATH, Params, argument_parser
from stages.common.yaml_files import append, round_trip
from stages.settings.check import check_all


def add(document: Any, number: str, parent: str) -> bool:
    """Add run `number` and its checkpoint to the decoded params.yaml where they are not there; whether any was not."""
    runs, models, name = document["grpo"], document["models"], f"grpo-{number}"
    known = number in runs and name in models
    if number not in runs:
        entry = CommentedMap(parent=parent)
        entry.fa.set_flow_style()
        runs[DoubleQuotedScalarString(number)] = entry
        runs.fa.set_block_style()
    if name not in models:
        append(models, name)
    return not known


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
    yaml = round_trip()
    document = yaml.load(path.read_text(encoding="utf-8"))
    if add(document, args.run, args.parent or "sft"):
        check = path.with_name(f".{path.name}.checked.tmp")
        try:
            with check.open("w", encoding="utf-8") as file:
                yaml.dump(document, file)
            check_all(Params(check))
        except InputError as error:
            raise InputError(str(error).replace(str(check), str(path))) from None
        finally:
            check.unlink(missing_ok=True)
        with replacing(path) as file:
            yaml.dump(document, file)
        print(f"{path}: added grpo-{args.run}")
    if args.no_run:
        return
    command = ["dvc", "repro", f"benchmark@grpo-{args.run}"]
    print(" ".join(command), flush=True)
    if code := subprocess.run(command, check=False).returncode:
        raise HaloForgeError(f"dvc repro ended with exit code {code}, see above")


if __name__ == "__main__":
    run(main)
