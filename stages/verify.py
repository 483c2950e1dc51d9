"""Judge samples: one verdict per sample, in the samples' order.

python -m stages.verify --tasks T.jsonl --samples S.jsonl --out V.jsonl

What a sample holds runs in a sandbox and nowhere else; without a working sandbox the script ends with an error.
"""

import sys
from pathlib import Path

from stages.common.cli import run
from stages.common.files import write_csv, write_json
from stages.common.outputs import output_file
from stages.common.params import Params, argument_parser
from stages.common.timing import write_timing
from stages.settings.verify import VerifySettings
from stages.verifiers.files import verify_file


def main() -> None:
    """Parse flags, judge, write."""
    parser = argument_parser(__doc__)
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, metavar="FILE", help="tasks (JSON Lines)")
    parser.add_argument("--samples", type=Path, required=True, metavar="FILE", help="samples (JSON Lines)")
    parser.add_argument(
        "--out", type=output_file, required=True, metavar="FILE", help="verdicts, written whole or not at all"
    )
    parser.add_argument("--metrics", type=output_file, metavar="FILE", help="pass rate and the like (JSON, flat)")
    parser.add_argument("--rewards", type=output_file, metavar="FILE", help="samples by reward and level (CSV)")
    parser.add_argument("--timing", type=output_file, metavar="FILE", help="seconds, rates, tool versions (JSON)")
    args = parser.parse_args()
    settings = Params(args.params).section(VerifySettings, "verify")
    summary, timing = verify_file(args.tasks, args.samples, args.out, settings)
    if args.metrics:
        write_json(args.metrics, summary.metrics())
    if args.rewards:
        write_csv(args.rewards, ["reward", "level", "samples"], summary.table())
    write_timing(args.timing, timing)
    if summary.task_errors:
        print(f"{summary.task_errors} samples not judged: the tests of their tasks are broken", file=sys.stderr)
    rate = timing["programs_per_second"]
    print(f"{summary.samples} verdicts, pass rate {summary.pass_rate:.3f}, {rate} programs/s", file=sys.stderr)


if __name__ == "__main__":
    run(main)
