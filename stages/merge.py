"""An adapter and its base as one ordinary model directory, for whatever does not load adapters.

python -m stages.merge --model models/cycle-1 --out build/merged/cycle-1
"""

from pathlib import Path

from stages.common.cli import heavy_imports, run
from stages.common.params import Params, argument_parser
from stages.settings.compute import ComputeSettings


def main() -> None:
    """Merge, or copy what is whole already."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint: an adapter, or a whole model")
    parser.add_argument("--out", type=Path, required=True, help="directory for the merged model")
    args = parser.parse_args()
    compute = Params(args.params).section(ComputeSettings, "compute")
    with heavy_imports():
        from stages.lm import devices
        from stages.lm.merge import merge

    devices.use_threads(compute.threads)
    if merge(args.model, args.out, compute):
        print(f"{args.out}: {args.model} and its base, merged in float32, kept in {compute.dtype}")
    else:
        print(f"{args.out}: a copy; {args.model} is a whole model, which needs no merging")


if __name__ == "__main__":
    run(main)
