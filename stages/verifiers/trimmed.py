"""Which samples pass with the usual trimming of answers: a figure to compare with published ones, and no reward."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from stages.common import records
from stages.common.records import Sample, Task, Verdict
from stages.extraction.code import extract_code
from stages.extraction.trimming import trimmed_code
from stages.settings.verify import VerifySettings
from stages.verifiers.pool import Work, verify_samples


def trimmed_counts(
    tasks: Mapping[str, Task], samples: Path, verdicts: Path, settings: VerifySettings
) -> tuple[dict[str, tuple[int, int]], Work]:
    """(samples, passed samples) by task, and what there was to judge.

    A sample whose trimmed program is the strict one keeps the verdict of the file; only the others are judged again.
    """
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    work = Work()

    def count(verdict: Verdict) -> None:
        tally[verdict.task_id][0] += 1
        tally[verdict.task_id][1] += verdict.reward == 1

    def others() -> Iterator[Sample]:
        pairs = zip(records.read(Sample, samples), records.read(Verdict, verdicts), strict=True)
        for sample, verdict in pairs:
            task = tasks[sample.task_id]
            if trimmed_code(sample.completion, task) == extract_code(sample.completion, task):
                count(verdict)
            else:
                yield sample

    differing = others()
    first = next(differing, None)
    if first is not None:
        for verdict in verify_samples(tasks, chain([first], differing), settings, work=work, extract=trimmed_code):
            count(verdict)
    return {task_id: (n, c) for task_id, (n, c) in tally.items()}, work
