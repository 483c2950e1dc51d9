"""The bench: whether an example's tests pass on its own solution, and on none of its stubs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from stages.common.errors import InputError
from stages.common.records import Sample, Task, Verdict
from stages.llm.examples import make_task, unfit
from stages.llm.parsing import Draft
from stages.llm.stubs import Stub, stubs_of
from stages.settings.spec import SpecSettings
from stages.settings.verify import VerifySettings
from stages.verifiers.base import Verifier
from stages.verifiers.pool import make_verifiers, verify_samples
from stages.verifiers.verdicts import COMPILED, RAN, TASK_ERROR

PASSES_STUB = "passes_stub"
STUB_SECONDS = 2  # of CPU time
STUB, ALONE = "stub", "alone"  # behind a # in the ids of tasks that are judged beside an example's own
Program = tuple[Task, str]


class Bench:
    """Judges examples as a spec wants them judged: by their own solution, then by stubs of it."""

    def __init__(self, spec: SpecSettings, settings: VerifySettings) -> None:
        self.spec = spec
        self._own = _Judge(settings)
        self._stubs = _Judge(for_stubs(settings))
        self.last = ""  # of what examples are not kept for, in words
        self.told: dict[str, str] = {}  # by id, what a stub does that passes

    def judge(self, tasks: Sequence[Task]) -> dict[str, str]:
        """By id, why an example is not kept ("" where it is): its verdict's level, `weak_tests`, `not_clean`, or
        `passes_stub`. Stubs are judged of those alone that are good otherwise, all of them in one run.

        SandboxError for a missing tool or crate, or where there is no sandbox.
        """
        programs = [program for task in tasks for program in self._programs(task)]
        self._own.expect(task for task, _ in programs)
        found = {task.task_id: self._refused(task) for task in tasks}
        for verdict in self._own.verdicts([p for p in programs if not found[p[0].task_id.partition("#")[0]]]):
            name, _, mark = verdict.task_id.partition("#")
            if not mark and verdict.reward < 1:
                found[name] = "weak_tests" if verdict.level == RAN else verdict.level
                self.last = f"{verdict.level}: {verdict.detail}".rstrip(": ")
            elif mark == ALONE and verdict.level != COMPILED:
                found[name] = found[name] or "not_clean"
        stubs = {t.task_id: (t, stub) for task in tasks if not found[task.task_id] for t, stub in self._stubs_of(task)}
        for verdict in self._stubs.verdicts([(task, stub.code) for task, stub in stubs.values()]):
            name = verdict.task_id.partition("#")[0]
            if verdict.reward == 1 and not found[name]:
                found[name] = PASSES_STUB
                self.last = self.told[name] = f"the tests pass a solution that {stubs[verdict.task_id][1].kind}"
        return found

    def _refused(self, task: Task) -> str:
        """What a verifier of one's own may say of a task that it cannot judge; "" where it can."""
        try:
            self._own.verifiers[task.verifier].check_task(task)
        except InputError as error:
            self.last = str(error)
            return TASK_ERROR
        return ""

    def _programs(self, task: Task) -> Iterator[Program]:
        """The example itself; with it, where the spec wants it clean, its solution alone."""
        yield task, task.reference or ""
        if self.spec.clean:
            yield _changed(task, ALONE, tests=""), task.reference or ""

    def _stubs_of(self, task: Task) -> Iterator[tuple[Task, Stub]]:
        """Stubs that must fail the example's tests. For cases, examples.py knows what stubs would print."""
        solution = task.reference or ""
        stubs = stubs_of(solution, self.spec.language, task.entry_point, task.tests) if task.tests else ()
        for number, stub in enumerate(stubs or ()):
            yield _changed(task, f"{STUB}{number}"), stub


class _Judge:
    """Verdicts with certain settings. The verifiers are made for the first tasks."""

    def __init__(self, settings: VerifySettings) -> None:
        self.settings = settings
        self.verifiers: Mapping[str, Verifier] = {}

    def expect(self, tasks: Iterable[Task]) -> None:
        """Make the verifiers, where there are none. SandboxError for a missing tool."""
        known = {task.task_id: task for task in tasks}
        self.verifiers = self.verifiers or make_verifiers(known, self.settings)

    def verdicts(self, programs: Sequence[Program]) -> Iterator[Verdict]:
        """A verdict for each program, in order; nothing is started where there is none."""
        if not programs:
            return
        self.expect(task for task, _ in programs)
        known = {task.task_id: task for task, _ in programs}
        samples = (Sample(task.task_id, 0, code) for task, code in programs)
        yield from verify_samples(known, samples, self.settings, self.verifiers)


def for_stubs(settings: VerifySettings) -> VerifySettings:
    """How stubs are judged: without warnings, as their parameters are unused, which -Werror would make an error; and
    with less time, as what returns at once and passes is quick, and what loops for it fails."""
    limits = settings.limits.model_copy(update={"cpu_seconds": min(settings.limits.cpu_seconds, STUB_SECONDS)})
    quiet = {
        name: compiler.model_copy(update={"flags": (*compiler.flags, "-w")})
        for name in ("gcc", "clang", "mingw")
        for compiler in [getattr(settings, name)]
    }
    return settings.model_copy(update={"limits": limits, **quiet})


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
