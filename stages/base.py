"""The base model: a hub id at a pinned revision, or the tiny one built here.

python -m stages.base --out models/base
"""

from pathlib import Path

from stages.common.cli import heavy_imports, run
from stages.common.outputs import output_file
from stages.common.params import Params, argument_parser
from stages.common.timing import write_timing
from stages.settings.compute import ComputeSettings
from stages.settings.model import BaseSettings
from stages.sources.synthetic import pretraining_texts


def main() -> None:
    """Read the settings, build or fetch, save."""
    parser = argument_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of the checkpoint")
    parser.add_argument("--timing", type=output_file, help="file for what varies from run to run")
    args = parser.parse_args()
    params = Params(args.params)
    settings = params.section(BaseSettings, "base")
    compute = params.section(ComputeSettings, "compute")
    with heavy_imports():
        from stages.lm import devices, hub, tiny

    devices.use_threads(compute.threads)
    if settings.tiny is None:
        timing = hub.fetch(settings, compute, args.out)
    else:
        texts = pretraining_texts(settings.tiny.texts, params.seed)
        timing = tiny.build(settings.tiny, texts, params.seed, args.out).timing
    write_timing(args.timing, timing)


if __name__ == "__main__":
    run(main)
