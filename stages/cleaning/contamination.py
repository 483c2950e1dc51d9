"""Training tasks that a benchmark has too: by long runs of words, by prompt, and by code.

A run of n words (13, as in GPT-3's report, Brown et al. 2020, appendix C) that a training task's prompt or reference
shares with a benchmark task's prompt, or its code with that of a benchmark's reference, tells a copy. As there, runs
that many training problems share are turns of phrase and tell nothing, and so are those of many benchmark tasks;
unless most of a benchmark task's runs are there. Equal prompts (but for layout and punctuation) and equal references
(but for names, comments and layout) tell a copy however short they are.
"""

from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from stages.cleaning.text import code_words, digest, fingerprint, prose, statement, without_name, words
from stages.common.code import extract_code
from stages.common.records import Task
from stages.settings.data import ContaminationSettings

MOST = 0.5  # share of a benchmark task's runs from which turns of phrase count, too
REAL_WORDS = 5  # a run with fewer words that have two letters is a row of numbers or names


class Leak(NamedTuple):
    """Why a task is a benchmark task's copy: `reason`, the benchmark task's id, and what both have."""

    reason: str
    benchmark: str
    evidence: str


class Run(NamedTuple):
    """A run of words in a text: the key that the index knows it by, and where it starts."""

    key: bytes
    start: int


def _runs(kind: str, found: list[str], length: int, known: Container[bytes] | None = None) -> Iterator[Run]:
    """The text's runs; with `known`, just those."""
    for start in range(len(found) - length + 1):
        window = found[start : start + length]
        key = digest(kind, *window)
        if known is None or key in known:
            real = {word for word in window if sum(map(str.isalpha, word)) > 1}
            if len(real) >= REAL_WORDS:
                yield Run(key, start)


def said(task: Task) -> list[str]:
    """The words of the problem, without the name of the function, which copies change."""
    return words(without_name(statement(task), task.entry_point))


def _code(task: Task) -> str | None:
    return extract_code(task.reference, task) if task.reference else None


@dataclass
class _Benchmark:
    """One benchmark task: how many distinct runs it has."""

    task_id: str
    source: str | None
    runs: int = 0


@dataclass
class Contamination:
    """The benchmark's texts, and what the training tasks share with them.

    Call `note` for each training task, then `leak`. Memory grows with the benchmark only. `disjoint` names sources
    that keep their own training and benchmark tasks apart by what programs do, in sentences of one pattern: among
    those, shared words tell nothing.
    """

    settings: ContaminationSettings
    disjoint: frozenset[str] = frozenset()
    _tasks: list[_Benchmark] = field(default_factory=list)
    _owners: dict[bytes, set[int]] = field(default_factory=lambda: defaultdict(set))
    _whole: dict[bytes, int] = field(default_factory=dict)  # prompts, and references
    _problems: dict[bytes, set[bytes]] = field(default_factory=lambda: defaultdict(set))

    def add(self, task: Task) -> None:
        """Put a benchmark task into the index."""
        number = len(self._tasks)
        runs = {run.key for run in _runs("words", said(task), self.settings.words)}
        code = _code(task)
        if code is not None:
            runs |= {run.key for run in _runs("code", code_words(code, task.language), self.settings.words)}
            if print_ := fingerprint(code, task.language):
                self._whole.setdefault(print_, number)
        for key in runs:
            self._owners[key].add(number)
        self._whole.setdefault(digest("prompt", *said(task)), number)
        self._tasks.append(_Benchmark(task.task_id, task.source, len(runs)))

    def _found(self, task: Task) -> Iterator[tuple[bytes, str, list[str], int]]:
        """Runs of a training task that the benchmark has: key, reason, the words of the text, and the run's start."""
        # The whole prompt: what a task calls its statement is its own word.
        texts = [("prompt_words", "words", task.prompt), ("prompt_words", "words", statement(task))]
        texts += [("solution_words", "words", text) for text in (task.reference, task.reasoning) if text]
        found = [(reason, kind, words(without_name(text, task.entry_point))) for reason, kind, text in texts]
        code = _code(task)
        if code is not None:
            found.append(("solution_words", "code", code_words(code, task.language)))
        for reason, kind, text in found:
            for run in _runs(kind, text, self.settings.words, self._owners):
                yield run.key, reason, text, run.start

    def note(self, task: Task) -> None:
        """Count whose problem a shared run belongs to. Several solutions of one problem are one problem."""
        for key, *_ in self._found(task):
            problems = self._problems[key]
            if len(problems) <= self.settings.common:
                problems.add(digest(*said(task))[:8])

    def leak(self, task: Task) -> Leak | None:
        """Why the task must not train anything; None where it may."""
        code = _code(task)
        if code is not None and (print_ := fingerprint(code, task.language)) in self._whole:
            return Leak("solution", self._tasks[self._whole[print_]].task_id, "")
        for text in (statement(task), prose(task.prompt)):
            key = digest("prompt", *words(without_name(text, task.entry_point)))
            if (number := self._whole.get(key)) is not None:
                return Leak("prompt", self._tasks[number].task_id, "")
        shared: dict[int, dict[bytes, Leak]] = defaultdict(dict)
        for key, reason, found, start in self._found(task):
            for number in self._owners[key]:
                other = self._tasks[number]
                if not (task.source in self.disjoint and other.source == task.source):
                    text = " ".join(found[start : start + self.settings.words])
                    shared[number].setdefault(key, Leak(reason, other.task_id, text[:200]))
        for number, runs in shared.items():
            telling = [leak for key, leak in runs.items() if not self._is_phrase(key)]
            if not telling and len(runs) >= MOST * self._tasks[number].runs:
                telling = list(runs.values())
            if telling:
                return telling[0]
        return None

    def _is_phrase(self, key: bytes) -> bool:
        limit = self.settings.common
        return len(self._problems[key]) > limit or len(self._owners[key]) > limit
