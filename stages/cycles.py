"""Make the chain of RAFT cycles at least N long in params.yaml, and run the pipeline up to cycle N's benchmark.

python -m stages.cycles --cycles 3
"""

from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.params import DEFAULT_PATH, Params, argument_parser
from stages.common.yaml_files import append
from stages.settings.check import check_all
from stages.settings.editing import edit, reproduce


def extend(document: Any, count: int) -> list[str]:
    """Add cycles to the decoded params.yaml until there are `count`, each the child of the one before, with no
    settings of its own; returns the names of the added checkpoints."""
    cycles, models, added = document["cycles"], document["models"], []
    for number in range(1, count + 1):
        if str(number) in cycles:
            continue
        entry = CommentedMap(
            parent=f"cycle-{number - 1}" if number > 1 else "sft",
            temperature=None,
            threshold=None,
            learning_rate=None,
            use_regressed=False,
        )
        entry.fa.set_flow_style()
        cycles[DoubleQuotedScalarString(number)] = entry
        added.append(f"cycle-{number}")
    for name in added:
        if name not in models:
            append(models, name)
    return added


def targets(document: Any, count: int) -> list[str]:
    """The stages to run: all (an empty list) if `count` is the whole chain, else the benchmarks up to it."""
    cycles = list(document["cycles"])
    if count >= len(cycles):
        return []
    wanted = {"base", "sft", *(f"cycle-{number}" for number in cycles[:count])}
    return [f"benchmark@{name}" for name in document["models"] if name in wanted]


def main() -> None:
    """Extend the chain where needed, then reproduce."""
    parser = argument_parser(__doc__)
    parser.add_argument("--cycles", type=int, required=True, help="number of cycles, 1 or more")
    parser.add_argument("--no-run", action="store_true", help="just edit params.yaml")
    args = parser.parse_args()
    if args.cycles < 1:
        raise InputError(f"--cycles: found {args.cycles}, expected 1 or more")
    path: Path = args.params or DEFAULT_PATH
    check_all(Params(path))
    added: list[str] = []

    def change(document: Any) -> bool:
        added.extend(extend(document, args.cycles))
        return bool(added)

    if edit(path, change):
        print(f"{path}: added {', '.join(added)}")
    if not args.no_run:
        reproduce(*targets(Params(path).raw, args.cycles))


if __name__ == "__main__":
    run(main)
