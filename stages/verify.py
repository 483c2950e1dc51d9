"""Judge samples: python -m stages.verify --tasks T.jsonl --samples S.jsonl --out V.jsonl

Writes one verdict per sample, in the samples' order. What a sample holds runs in a sandbox and nowhere else; without a
working sandbox the script ends with an error. --metrics is a pure function of the verdicts; what varies from run to
run (seconds, rates, tool versions) goes to --timing.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.common import records
from stages.common.cli import run
from stages.common.files import write_json
from stages.common.params import Params, argument_parser
from stages.common.verdict_summary import VerdictSummary
from stages.settings.verify import VerifySettings
from stages.verifiers.base import Verifier, code_version
from stages.verifiers.pool import make_verifiers, verify_samples, worker_count
from stages.verifiers.progress import Progress, count_lines
from stages.verifiers.verdicts import LADDER, LEVELS


def judged(tasks: dict, path: Path, settings: VerifySettings, verifiers: dict, summary: VerdictSummary) -> Iterator:
    """Stream samples to verdicts, counting them in `summary` and showing how far it is."""
    waiting: list[records.Sample] = []

    def samples() -> Iterator[records.Sample]:
        for sample in records.read(records.Sample, path):
            waiting.append(sample)
            yield sample

    with Progress("verify", count_lines(path)) as progress:
        for verdict in verify_samples(tasks, samples(), settings, verifiers=verifiers):
            summary.add(waiting.pop(0), verdict)
            progress.show(summary.samples, summary.pass_rate)
            yield verdict


def timing(seconds: float, count: int, settings: VerifySettings, verifiers: dict[str, Verifier]) -> dict[str, Any]:
    """What varies from run to run, and what the verdicts depended on."""
    return {
        "seconds": round(seconds, 3),
        "programs_per_second": round(count / seconds, 1),
        "workers": worker_count(settings),
        "verifiers": {name: verifier.fingerprint() for name, verifier in sorted(verifiers.items())},
        "code_version": code_version(),
        "limits": settings.limits.model_dump(),
    }


def main() -> None:
    """Parse flags, judge, write."""
    parser = argument_parser(__doc__)
    parser.add_argument("--tasks", type=Path, nargs="+", required=True, metavar="FILE", help="tasks (JSON Lines)")
    parser.add_argument("--samples", type=Path, required=True, metavar="FILE", help="samples (JSON Lines)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="verdicts, written whole or not at all")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="summary (JSON)")
    parser.add_argument("--timing", type=Path, metavar="FILE", help="seconds, rates, tool versions (JSON)")
    flags = parser.parse_args()
    settings = Params(flags.params).section(VerifySettings, "verify")
    tasks = {task.task_id: task for task in records.read_tasks(*flags.tasks)}
    verifiers = make_verifiers(tasks, settings)
    summary = VerdictSummary(LEVELS, LADDER)
    began = time.monotonic()
    records.write(flags.out, judged(tasks, flags.samples, settings, verifiers, summary))
    seconds = time.monotonic() - began
    if flags.metrics:
        write_json(flags.metrics, summary.metrics())
    if flags.timing:
        write_json(flags.timing, timing(seconds, summary.samples, settings, verifiers))
    rate = summary.samples / seconds
    print(f"{summary.samples} verdicts, pass rate {summary.pass_rate:.3f}, {rate:.0f} programs/s", file=sys.stderr)


if __name__ == "__main__":
    run(main)
