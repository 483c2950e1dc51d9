"""Where a checkpoint's training examples came from: sample, verdict, test, generating checkpoint, seed, temperature."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stages.common import records
from stages.common.comparing import EXACT
from stages.common.demonstrations import CYCLE as DEMONSTRATION
from stages.common.errors import InputError
from stages.common.files import value_hash
from stages.common.prompts import demonstration, trained_answer
from stages.common.records import Example, Sample, Task, Verdict
from stages.common.revisions import Revision
from stages.common.selection import paired
from stages.settings.prompts import PromptSettings

TASKS = "data/mix/train.jsonl"
THOUGHTS = (PromptSettings(reasoning="drop"), PromptSettings(reasoning="keep"))  # what a text may have been made with
SECTIONS = {"cycle": "cycles", "control": "controls", "grpo": "grpo"}  # of params.yaml, by the checkpoint's kind


@dataclass(frozen=True)
class Step:
    """A training of the chain: which checkpoint it made, from which, on how many examples of each cycle.

    `parent` is None for the base. A `copy` was not trained: its cycle accepted nothing, and its parent is carried
    forward. `untraced` names the examples whose sample, verdict or text is not that of the record.
    """

    checkpoint: str
    parent: str | None
    copy: bool
    examples: dict[str, int]
    untraced: list[str]


@dataclass(frozen=True)
class Origin:
    """An example with all that is known of it. Sample and verdict are None for a demonstration."""

    example: Example
    sample: Sample | None
    verdict: Verdict | None
    tests: str  # digest of the task's tests and cases
    source: str | None  # of the task


def tests_hash(task: Task) -> str:
    """Digest of what judges a task's solutions: verifier, entry point, tests, cases, how outputs are compared."""
    parts = [task.verifier, task.entry_point, task.tests, task.cases]
    return value_hash(parts if task.compare == EXACT else [*parts, task.compare])


def parent_of(revision: Revision, checkpoint: str, copied: bool) -> str | None:
    """The checkpoint that training started from, as stages/raft.py, control.py and grpo.py find it.

    Raises InputError for a checkpoint that the revision's params.yaml does not make.
    """
    if checkpoint in ("base", "sft"):
        return None if checkpoint == "base" else "base"
    params = revision.params()
    kind, _, number = checkpoint.partition("-")
    entry = (params.get(SECTIONS.get(kind, "")) or {}).get(number)
    if not isinstance(entry, dict) or not isinstance(entry.get("parent"), str):
        raise InputError(f"params.yaml at {revision.name}: nothing there makes a checkpoint '{checkpoint}'")
    parent = entry["parent"]
    if kind == "grpo":
        return parent
    raft = revision.profile().get("raft") or {}
    if raft.get("start", "parent") != "parent" and not copied:
        return raft["start"]
    cycle = (params.get("cycles") or {}).get(number) or {}
    lineage = f"data/lineage/{parent}.json"
    if cycle.get("use_regressed") or not revision.has(lineage):
        return parent
    return str(revision.json(lineage).get("checkpoint", parent))


def is_copy(revision: Revision, checkpoint: str) -> bool:
    """Whether nothing passed, so that the parent was carried forward."""
    kind, _, number = checkpoint.partition("-")
    path = {"cycle": f"metrics/raft/cycle-{number}.json", "control": f"metrics/control/{number}.json"}.get(kind)
    return bool(path and revision.has(path) and revision.json(path).get("examples") == 0)


def pairs(revision: Revision, name: str) -> Iterator[tuple[Sample, Verdict]]:
    """Samples of a cycle or of a run of GRPO with their verdicts. InputError where these do not fit together."""
    samples, verdicts = (revision.fetch(f"data/{kind}/{name}.jsonl") for kind in ("samples", "verdicts"))
    unique = not name.startswith("grpo-")  # which draws a task again and again
    try:
        yield from paired(records.read(Sample, samples, unique=unique), records.read(Verdict, verdicts, unique=unique))
    except InputError as error:
        raise InputError(f"data/verdicts/{name}.jsonl at {revision.name}: {error}") from None


def examples(revision: Revision, checkpoint: str) -> Iterator[Example]:
    """What a checkpoint was trained on; nothing is known of the base's."""
    if checkpoint != "base":
        yield from records.read(Example, revision.fetch(f"data/training/{checkpoint}.jsonl"), unique=False)


def trace(revision: Revision, checkpoint: str) -> Step:
    """One training, each of its examples looked up: its reward and its text are those of a sample of the cycle that it
    names, or its text is the reference of its task. What GRPO was trained on is what it drew."""
    copied = is_copy(revision, checkpoint)
    parent = parent_of(revision, checkpoint, copied)
    if checkpoint.startswith("grpo-"):
        return Step(checkpoint, parent, False, {checkpoint: sum(1 for _ in pairs(revision, checkpoint))}, [])
    if copied:
        return Step(checkpoint, parent, True, {}, [])
    by_cycle: dict[str, dict[tuple[str, int], Example]] = {}
    counted: Counter[str] = Counter()
    for example in examples(revision, checkpoint):
        by_cycle.setdefault(example.cycle, {})[example.task_id, example.sample] = example
        counted[example.cycle] += 1
    shown = by_cycle.pop(DEMONSTRATION, {})
    untraced = []
    for cycle, left in by_cycle.items():
        # A control's own examples are unverified on purpose: they carry no reward.
        blind = checkpoint == f"control-{cycle}"
        for sample, verdict in pairs(revision, f"cycle-{cycle}"):
            example = left.get((sample.task_id, sample.sample))
            if example and example.reward == (0 if blind else verdict.reward) and _is_text_of(example, sample):
                del left[sample.task_id, sample.sample]
        untraced += [f"{task} (sample {number} of cycle {cycle})" for task, number in left]
    if shown:
        for task in records.read(Task, revision.fetch(TASKS)):
            example = shown.get((task.task_id, 0))
            if example and task.reference and _is_reference_of(example, task):
                del shown[task.task_id, 0]
        untraced += [f"{task} (demonstration)" for task, _ in shown]
    return Step(checkpoint, parent, False, dict(counted), untraced)


def _is_text_of(example: Example, sample: Sample) -> bool:
    return example.completion in {trained_answer(sample.completion, prompts) for prompts in THOUGHTS}


def _is_reference_of(example: Example, task: Task) -> bool:
    return example.completion in {demonstration(task.reference or "", task.reasoning, prompts) for prompts in THOUGHTS}


def chain(revision: Revision, checkpoint: str) -> Iterator[Step]:
    """The trainings that made a checkpoint, the last first."""
    at: str | None = checkpoint
    while at is not None:
        step = trace(revision, at)
        yield step
        at = step.parent


def task_origins(revision: Revision, step: Step, task_id: str) -> list[Origin]:
    """Each example of a task that a checkpoint was trained on, with its origin."""
    if step.copy or step.checkpoint == "base":
        return []
    task = next((task for task in records.read(Task, revision.fetch(TASKS)) if task.task_id == task_id), None)
    tests, source = (tests_hash(task), task.source) if task else ("unknown", None)
    if step.checkpoint.startswith("grpo-"):
        text = (task.prompt, task.language) if task else ("", "")
        return [
            Origin(Example(task_id, s.sample, step.checkpoint, v.reward, *text, s.completion), s, v, tests, source)
            for s, v in pairs(revision, step.checkpoint)
            if s.task_id == task_id
        ]
    found = [example for example in examples(revision, step.checkpoint) if example.task_id == task_id]
    known: dict[tuple[str, int], tuple[Sample, Verdict]] = {}
    for cycle in {example.cycle for example in found} - {DEMONSTRATION}:
        wanted = {example.sample for example in found if example.cycle == cycle}
        for sample, verdict in pairs(revision, f"cycle-{cycle}"):
            if sample.task_id == task_id and sample.sample in wanted:
                known[cycle, sample.sample] = sample, verdict
    nothing: tuple[Any, Any] = (None, None)
    return [Origin(e, *known.get((e.cycle, e.sample), nothing), tests, source) for e in found]
