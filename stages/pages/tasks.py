"""For every held-out task the prompt, samples and verdicts, as JSON for the page, in memory for one task at a time."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from stages.common import records
from stages.common.errors import InputError
from stages.common.records import Sample, Verdict

LONGEST = 4000  # characters of a text that the page shows


def encoded(value: Any) -> str:
    """JSON that may stand within a script element: no text in it can end that."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):  # UTF-8 holds no lone surrogate
        text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def cut(text: str) -> str:
    """The text, or as much as the page shows of it."""
    left = len(text) - LONGEST
    return text if left <= 0 else f"{text[:LONGEST]}\n[{left:,} more characters]"


def judged(samples: Path, verdicts: Path) -> Iterator[tuple[Sample, Verdict]]:
    """Each sample with its verdict. InputError where the files do not go together."""
    pairs = itertools.zip_longest(records.read(Sample, samples), records.read(Verdict, verdicts))
    for line, (sample, verdict) in enumerate(pairs, 1):
        if sample is None or verdict is None or (sample.task_id, sample.sample) != (verdict.task_id, verdict.sample):
            found = "none" if verdict is None else f"one of {verdict.task_id} sample {verdict.sample}"
            expected = "none" if sample is None else f"one of {sample.task_id} sample {sample.sample}"
            raise InputError(f"{verdicts}:{line}: found {found}, expected {expected}, as in {samples}")
        yield sample, verdict


def outcomes(samples: Path, verdicts: Path, kept: int) -> Iterator[list[Any]]:
    """Per task: id, samples, passed ones, and up to `kept` different answers, each as [completion, reward, level,
    detail, how many such]: a passed one first, if there is any, then the commonest."""
    for task_id, group in itertools.groupby(judged(samples, verdicts), key=lambda pair: pair[0].task_id):
        answers: Counter[tuple[Any, ...]] = Counter()
        drawn = passed = 0
        for sample, verdict in group:
            drawn, passed = drawn + 1, passed + (verdict.reward == 1)
            answers[cut(sample.completion), verdict.reward, verdict.level, cut(verdict.detail or "")] += 1
        ordered = answers.most_common()
        ordered.sort(key=lambda answer: answer[0][1] != 1)
        passing = [answer for answer in ordered if answer[0][1] == 1]
        ordered = passing[:1] + sorted([*passing[1:], *ordered[len(passing) :]], key=lambda answer: -answer[1])
        yield [task_id, drawn, passed, [[*answer, count] for answer, count in ordered[:kept]]]


def write_array(file: IO[str], values: Iterator[Any]) -> None:
    """Write an array, a value at a time."""
    file.write("[")
    for number, value in enumerate(values):
        file.write((",\n" if number else "") + encoded(value))
    file.write("]")


def tasks(path: Path) -> Iterator[list[Any]]:
    """Per task: id, language, prompt, tests, reference."""
    for task in records.read_tasks(path):
        tests = task.tests or "\n".join(json.dumps(case) for case in task.cases)
        yield [task.task_id, task.language, cut(task.prompt), cut(tests), cut(task.reference or "")]
