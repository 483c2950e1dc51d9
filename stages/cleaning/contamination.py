"""Training tasks that a benchmark has too: by long runs of words, by prompt, and by code.

A run of n words (13, as in GPT-3's report, Brown et al. 2020, appendix C) that a training task's prompt or reference
shares with a benchmark task's prompt, or its code with that of a benchmark's reference, tells a copy. As there, runs
that many training problems share are turns of phrase and tell nothing, and so are those of many benchmark tasks;
unless most of a benchmark task's runs are there. A statement of fewer words (six at least) tells a copy wherever it
stands, and so do equal prompts, and references or functions that are equal but for names, annotations, comments and
layout; where these are short, the prompts must have words in common as well.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from stages.cleaning.parts import SHORTEST, parts
from stages.cleaning.text import canonical, code_words, digest, fingerprint, prose, statement, without_name, words
from stages.common.records import Task
from stages.extraction.code import extract_code
from stages.settings.data import ContaminationSettings

MOST = 0.5  # share of a benchmark task's runs from which turns of phrase count, too
FEWEST_WORDS = 6  # of a short statement that counts wherever it stands
RESEMBLANCE = 0.3  # share of words that two prompts must have in common where their programs are short and equal
REAL_WORDS = 5  # a run with fewer words that have two letters is a row of numbers or names

_DESCRIPTION = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'|/\*(.*?)\*/', re.DOTALL)
_EXAMPLES = re.compile(r">>>|\bExamples?\b|\bFor example\b", re.IGNORECASE)


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


def _descriptions(prompt: str) -> Iterator[list[str]]:
    """The words of docstrings and comments of a prompt that is code, up to their examples."""
    for found in _DESCRIPTION.finditer(prompt):
        yield words(_EXAMPLES.split(found[1] or found[2] or found[3])[0])


@dataclass
class _Benchmark:
    """One benchmark task: how many distinct runs of words and of code it has, and the words of its statement."""

    task_id: str
    source: str | None
    runs: Counter[str]
    words: frozenset[str]


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
    _short: dict[int, dict[bytes, int]] = field(default_factory=lambda: defaultdict(dict))  # by number of words
    _whole: dict[bytes, int] = field(default_factory=dict)  # prompts, and references
    _parts: dict[bytes, int] = field(default_factory=dict)  # functions that are most of a reference
    _problems: dict[bytes, set[bytes]] = field(default_factory=lambda: defaultdict(set))

    def add(self, task: Task) -> None:
        """Put a benchmark task into the index."""
        number, length = len(self._tasks), self.settings.words
        known = said(task) if "statement" in task.meta else words(without_name(task.prompt, task.entry_point))
        runs = {"words": {run.key for run in _runs("words", known, length)}, "code": set()}
        code = _code(task)
        if code is not None:
            runs["code"] = {run.key for run in _runs("code", code_words(code, task.language), length)}
            size = len(canonical(code, task.language))
            if print_ := fingerprint(code, task.language):
                self._whole.setdefault(print_, number)
            for key, tokens in parts(code, task.language):
                if tokens >= MOST * size:
                    self._parts.setdefault(key, number)
        for key in runs["words"] | runs["code"]:
            self._owners[key].add(number)
        for text in (said(task), *_descriptions(task.prompt)):
            if FEWEST_WORDS <= len(text) < length:
                self._short[len(text)].setdefault(digest("short", *text), number)
        self._whole.setdefault(digest("prompt", *said(task)), number)
        counts = Counter({kind: len(keys) for kind, keys in runs.items()})
        self._tasks.append(_Benchmark(task.task_id, task.source, counts, frozenset(known)))

    def _texts(self, task: Task) -> Iterator[tuple[str, list[str]]]:
        """Words of all that a training task says, each with the reason that they would give."""
        # The whole prompt: what a task calls its statement is its own word.
        texts = [("prompt_words", task.prompt), ("prompt_words", statement(task))]
        texts += [("solution_words", text) for text in (task.reference, task.reasoning) if text]
        for reason, text in texts:
            yield reason, words(without_name(text, task.entry_point))

    def _found(self, task: Task) -> Iterator[tuple[bytes, str, str, list[str], int]]:
        """Runs of a training task that the benchmark has: key, kind, reason, the words of the text, where it starts."""
        found = [(reason, "words", text) for reason, text in self._texts(task)]
        code = _code(task)
        if code is not None:
            found.append(("solution_words", "code", code_words(code, task.language)))
        for reason, kind, text in found:
            for run in _runs(kind, text, self.settings.words, self._owners):
                yield run.key, kind, reason, text, run.start

    def note(self, task: Task) -> None:
        """Count whose problem a shared run belongs to. Several solutions of one problem are one problem."""
        for key, *_ in self._found(task):
            problems = self._problems[key]
            if len(problems) <= self.settings.common:
                problems.add(digest(*said(task))[:8])

    def leak(self, task: Task) -> Leak | None:
        """Why the task must not train anything; None where it may."""
        return self._same_code(task) or self._same_statement(task) or self._shared_runs(task)

    def _same_code(self, task: Task) -> Leak | None:
        code = _code(task)
        if code is None:
            return None
        number = self._whole.get(fingerprint(code, task.language) or b"")
        if number is not None:
            # Code of a line or two is the same by chance, unless the words are as well.
            own = set(words(task.prompt))
            shared = len(own & self._tasks[number].words) / (len(own | self._tasks[number].words) or 1)
            if shared >= RESEMBLANCE or len(canonical(code, task.language)) >= SHORTEST:
                return Leak("solution", self._tasks[number].task_id, "")
        for key, _ in parts(code, task.language):
            if (number := self._parts.get(key)) is not None:
                return Leak("solution", self._tasks[number].task_id, "")
        return None

    def _same_statement(self, task: Task) -> Leak | None:
        for text in (statement(task), prose(task.prompt)):
            key = digest("prompt", *words(without_name(text, task.entry_point)))
            if (number := self._whole.get(key)) is not None:
                return Leak("prompt", self._tasks[number].task_id, "")
        for reason, text in self._texts(task):
            for length, known in self._short.items():
                for start in range(len(text) - length + 1):
                    number = known.get(digest("short", *text[start : start + length]))
                    if number is not None and not self._is_own(task, number):
                        return Leak(reason, self._tasks[number].task_id, " ".join(text[start : start + length]))
        return None

    def _is_own(self, task: Task, number: int) -> bool:
        return task.source in self.disjoint and self._tasks[number].source == task.source

    def _shared_runs(self, task: Task) -> Leak | None:
        shared: dict[tuple[int, str], dict[bytes, Leak]] = defaultdict(dict)
        for key, kind, reason, found, start in self._found(task):
            for number in self._owners[key]:
                if not self._is_own(task, number):
                    text = " ".join(found[start : start + self.settings.words])
                    leak = Leak(reason, self._tasks[number].task_id, text[:200])
                    shared[number, kind].setdefault(key, leak)
        for (number, kind), runs in shared.items():
            telling = [leak for key, leak in runs.items() if not self._is_phrase(key)]
            if not telling and len(runs) >= MOST * self._tasks[number].runs[kind]:
                telling = list(runs.values())
            if telling:
                return telling[0]
        return None

    def _is_phrase(self, key: bytes) -> bool:
        limit = self.settings.common
        return len(self._problems[key]) > limit or len(self._owners[key]) > limit
