"""From a spec to its examples: rounds of asking, parsing, checking and verifying.

A round asks every cell (category, level) for as many answers as it is short of. Answers are looked at in the order of
their indices, so that what is kept is a function of the answers and their verdicts, and not of the order or the speed
in which they came.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.common.errors import InputError
from stages.common.records import Sample, Task
from stages.llm.asking import Asker, Question, question
from stages.llm.examples import Seen, make_task, stubs_of, unfit
from stages.llm.ledger import Answer, Cost
from stages.llm.parsing import KINDS, Draft, parse_answer
from stages.llm.prompting import messages
from stages.settings.generate import GenerateSettings
from stages.settings.spec import SpecSettings
from stages.settings.verify import VerifySettings
from stages.verifiers.base import Verifier
from stages.verifiers.pool import make_verifiers, verify_samples
from stages.verifiers.verdicts import COMPILED, RAN, TASK_ERROR

STUB, ALONE = "stub", "alone"  # behind a # in the ids of tasks that are judged beside an example's own
Cell = tuple[str, str]


class Bench:
    """Judges examples as a spec wants them judged."""

    def __init__(self, spec: SpecSettings, settings: VerifySettings) -> None:
        self.spec, self.settings = spec, settings
        self._verifiers: Mapping[str, Verifier] | None = None
        self.last = ""  # of the verdicts below 1.0, in words

    def judge(self, tasks: Sequence[Task]) -> dict[str, str]:
        """By id, why an example is not kept ("" where it is): its verdict's level, `weak_tests` or `not_clean`.

        SandboxError for a missing tool or crate, or where there is no sandbox.
        """
        programs = {program.task_id: (program, code) for task in tasks for program, code in self._programs(task)}
        known = {name: program for name, (program, _) in programs.items()}
        if self._verifiers is None:
            self._verifiers = make_verifiers(known, self.settings)
        found = {task.task_id: self._refused(task) for task in tasks}
        samples = (Sample(name, 0, code) for name, (_, code) in programs.items() if not found[name.partition("#")[0]])
        for verdict in verify_samples(known, samples, self.settings, self._verifiers):
            name, _, mark = verdict.task_id.partition("#")
            if not mark and verdict.reward < 1:
                found[name] = "weak_tests" if verdict.level == RAN else verdict.level
                self.last = f"{verdict.level}: {verdict.detail}".rstrip(": ")
            elif mark.startswith(STUB) and verdict.reward == 1:
                found[name] = found[name] or "weak_tests"
            elif mark == ALONE and verdict.level != COMPILED:
                found[name] = found[name] or "not_clean"
        return found

    def _refused(self, task: Task) -> str:
        """What a verifier of one's own may say of a task that it cannot judge; "" where it can."""
        try:
            (self._verifiers or {})[task.verifier].check_task(task)
        except InputError as error:
            self.last = str(error)
            return TASK_ERROR
        return ""

    def _programs(self, task: Task) -> Iterator[tuple[Task, str]]:
        """The example itself; with it stubs that must fail its tests, or the solution alone, which must be clean."""
        yield task, task.reference or ""
        stubs = stubs_of(task.reference or "") if self.spec.language == "python" and task.tests else []
        for number, stub in enumerate(stubs or ()):
            yield _changed(task, f"{STUB}{number}"), stub
        if self.spec.clean:
            yield _changed(task, ALONE, tests=""), task.reference or ""


def _changed(task: Task, mark: str, **changes: Any) -> Task:
    names = ("language", "prompt", "verifier", "entry_point", "tests", "cases", "compare")
    fields = {name: getattr(task, name) for name in names}
    return Task(task_id=f"{task.task_id}#{mark}", **{**fields, **changes})


def model_examples(spec: SpecSettings) -> list[Task]:
    """The spec's own examples as tasks. InputError for one that breaks the spec's rules for examples."""
    tasks = []
    for number, example in enumerate(spec.examples):
        cases = [case.model_dump() for case in example.cases]
        draft = Draft(example.problem, example.solution, example.tests, cases)
        # A category's own patterns are not asked of examples, which prompts of all categories show.
        category = next(iter(spec.categories))
        kind = spec.categories[category].model_copy(update={"required": []})
        bare = spec.model_copy(update={"categories": {category: kind}})
        if reason := unfit(draft, bare, category):
            raise InputError(f"data/specs/{spec.name}.yaml: examples.{number}: {reason}")
        tasks.append(make_task(draft, spec, f"{spec.name}/examples/{number}", {}))
    return tasks


def expect_examples_to_pass(spec: SpecSettings, bench: Bench) -> list[Task]:
    """The spec's own examples. InputError unless each earns 1.0: what they show would be asked for in vain."""
    tasks = model_examples(spec)
    for number, reason in enumerate(bench.judge(tasks).values()):
        if reason:
            raise InputError(f"data/specs/{spec.name}.yaml: examples.{number}: does not pass: {bench.last or reason}")
    return tasks


@dataclass
class CellCount:
    """What became of a cell's answers."""

    wanted: int
    most: int  # answers asked at most
    looked_at: int = 0  # indices, with those that a cap has left unasked
    asked: int = 0
    answered: int = 0
    kept: int = 0


@dataclass
class Outcome:
    """The examples kept, and what became of the rest."""

    cells: dict[Cell, CellCount]
    kept: list[Task] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    malformed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0
    spent: Cost = field(default_factory=Cost)
    stopped: str | None = None

    def metrics(self) -> dict[str, Any]:
        """Counts, yield by category and level, tokens and money: a function of the answers and their verdicts."""
        asked, answered = (sum(getattr(c, name) for c in self.cells.values()) for name in ("asked", "answered"))
        wanted = sum(cell.wanted for cell in self.cells.values())
        categories: dict[str, dict[str, Any]] = {}
        for (category, level), cell in self.cells.items():
            counts = {"wanted": cell.wanted, "asked": cell.asked, "answered": cell.answered, "kept": cell.kept}
            categories.setdefault(category, {})[level] = {**counts, "yield": _share(cell.kept, cell.answered)}
        return {
            **{"wanted": wanted, "asked": asked, "answered": answered, "kept": len(self.kept)},
            "yield": _share(len(self.kept), answered),
            "stopped": self.stopped,
            **{"tokens_in": self.tokens_in, "tokens_out": self.tokens_out},
            **{"charged_tokens": self.spent.tokens, "cost": round(self.spent.money, 6)},
            "dropped": dict(sorted(self.dropped.items())),
            "malformed": {kind: self.malformed[kind] for kind in KINDS if self.malformed[kind]},
            "failed_requests": dict(sorted(self.failed.items())),
            "categories": categories,
        }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


class Rounds:
    """Fills the cells of a spec."""

    def __init__(
        self, spec: SpecSettings, settings: GenerateSettings, asker: Asker, bench: Bench, origin: Sequence[str] = ()
    ) -> None:
        self.spec, self.settings, self.asker, self.bench, self.origin = spec, settings, asker, bench, origin
        cells = spec.cells(settings.count)
        self.outcome = Outcome({c: CellCount(n, math.ceil(n * settings.attempts)) for c, n in cells.items()})
        self.meta = {"model": settings.model_name}

    def run(self, seen: Seen) -> Outcome:
        """Ask and judge until every cell is full, its attempts are used up, or a cap is reached."""
        number = 0
        while questions := list(self._questions()):
            number += 1
            answers = self.asker.answers([q for _, q in questions], f"{self.spec.name}, round {number}")
            self._judge(questions, answers, seen)
        self.outcome.stopped = self.asker.asked.stopped
        order = {cell: place for place, cell in enumerate(self.outcome.cells)}
        self.outcome.kept.sort(key=lambda t: (order[t.meta["category"], t.meta["level"]], t.task_id))
        return self.outcome

    def _questions(self) -> Iterator[tuple[Cell, Question]]:
        """What the next round asks; nothing more where a cap has stopped the asking and the file has no answer."""
        for cell, count in self.outcome.cells.items():
            ends = min(count.looked_at + count.wanted - count.kept, count.most)
            for index in range(count.looked_at, ends):
                category, level = cell
                text = messages(self.spec, category, level, index)
                asked = question(f"{category}/{level}/{index:03}", text, self.settings, self.origin)
                if self.asker.asked.stopped and self.asker.ledger.answer(asked.key) is None:
                    break
                count.looked_at += 1
                yield cell, asked

    def _judge(self, questions: list[tuple[Cell, Question]], answers: Mapping[str, Answer], seen: Seen) -> None:
        candidates: list[tuple[Cell, Task]] = []
        for cell, asked in questions:
            tries, spent, failed = self.asker.ledger.account(asked.key)
            self.outcome.cells[cell].asked += tries > 0
            self.outcome.spent += spent
            self.outcome.failed += failed
            answer = answers.get(asked.key)
            if answer is None:
                continue
            self.outcome.cells[cell].answered += 1
            self.outcome.tokens_in += answer.tokens_in
            self.outcome.tokens_out += answer.tokens_out
            task = self._candidate(cell, asked, answer)
            if task is not None and seen.duplicate_of(task):
                self.outcome.dropped["duplicate"] += 1
            elif task is not None:
                candidates.append((cell, task))
        reasons = self.bench.judge([task for _, task in candidates]) if candidates else {}
        for cell, task in candidates:
            reason = reasons[task.task_id] or ("duplicate" if seen.duplicate_of(task) else "")
            if reason:
                self.outcome.dropped[reason] += 1
                continue
            seen.add(task)
            self.outcome.cells[cell].kept += 1
            self.outcome.kept.append(task)

    def _candidate(self, cell: Cell, asked: Question, answer: Answer) -> Task | None:
        draft = parse_answer(answer.text, answer.finish, self.spec.language)
        if isinstance(draft, str):
            self.outcome.malformed[draft] += 1
            return None
        if reason := unfit(draft, self.spec, cell[0]):
            self.outcome.dropped[reason] += 1
            return None
        meta = {"category": cell[0], "level": cell[1], **self.meta}
        return make_task(draft, self.spec, f"{self.spec.name}/{asked.index}", meta)
