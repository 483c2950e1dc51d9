"""A file of samples in, a file of verdicts out, with progress, summary and timing: what verify and benchmark share."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.common import records
from stages.common.errors import InputError
from stages.common.progress import Progress
from stages.common.records import Sample, Task, Verdict
from stages.common.verdict_summary import VerdictSummary
from stages.sandbox import probe_ahead
from stages.settings.verify import VerifySettings
from stages.verifiers.base import Verifier, code_version
from stages.verifiers.pool import Work, make_verifiers, verify_samples
from stages.verifiers.verdicts import LADDER


def verify_file(
    task_files: Sequence[Path], samples: Path, out: Path, settings: VerifySettings
) -> tuple[VerdictSummary, dict[str, Any]]:
    """Judge the samples of one JSON Lines file into another, in order, in memory that does not grow with them.

    Returns the summary, a pure function of the verdicts, and what varies from run to run. Raises as verify_samples,
    and InputError, naming the file, for broken, duplicate and unknown tasks and samples.
    """
    if settings.executor == "local":
        probe_ahead()
    tasks = {task.task_id: task for task in records.read_tasks(*task_files)}
    try:
        verifiers = make_verifiers(tasks, settings)
    except InputError as error:
        raise InputError(f"{', '.join(map(str, task_files))}: {error}") from None
    summary, work = VerdictSummary(LADDER), Work()
    began = time.monotonic()
    try:
        records.write(out, _judged(tasks, samples, settings, verifiers, summary, work))
    finally:
        for verifier in verifiers.values():
            verifier.close()
    return summary, _timing(time.monotonic() - began, summary.samples, settings, work)


def _judged(
    tasks: Mapping[str, Task],
    path: Path,
    settings: VerifySettings,
    verifiers: dict[str, Verifier],
    summary: VerdictSummary,
    work: Work,
) -> Iterator[Verdict]:
    waiting: deque[Sample] = deque()

    def samples() -> Iterator[Sample]:
        for sample in records.read(Sample, path, known=tasks):
            waiting.append(sample)
            yield sample

    with Progress(f"verify {path.stem}", _count_lines(path), "programs") as progress:
        for verdict in verify_samples(tasks, samples(), settings, verifiers=verifiers, work=work):
            summary.add(waiting.popleft(), verdict)
            progress.update(1, f"pass rate {summary.pass_rate:.3f}")
            yield verdict
    if not summary.samples:
        raise InputError(f"{path}: no samples; expected at least one")


def _count_lines(path: Path) -> int | None:
    """Lines of a file; None where it is missing (reading tells) or cannot be read twice, as a pipe."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _timing(seconds: float, count: int, settings: VerifySettings, work: Work) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 3),
        "programs_per_second": round(count / seconds, 1),
        "judged": work.judged,
        "cache_hits": work.cache_hits,
        "repeated": work.repeated,
        "executor": settings.executor,
        "workers": work.workers,
        "verifiers": work.fingerprints,
        "code_version": code_version(),
        "limits": settings.limits.model_dump(),
    }
