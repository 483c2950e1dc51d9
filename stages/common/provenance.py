"""Where a checkpoint's training examples came from: sample, verdict, test, generating checkpoint, seed, temperature."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stages.common import records
from stages.common.errors import InputError
from stages.common.files import value_hash
from stages.common.records import Example, Sample, Task, Verdict
from stages.common.revisions import Revision

DEMONSTRATION = "sft"  # the `cycle` of an example that no checkpoint wrote
TASKS = "data/mix/train.jsonl"
Key = tuple[str, int]  # task id, number of the sample


@dataclass(frozen=True)
class Step:
    """A training of the chain: which checkpoint it made, from which, on how many examples of each cycle.

    `parent` is None for the base. `tracing` has the name of each cycle's examples whose sample or verdict is not there.
    """

    checkpoint: str
    parent: str | None
    examples: dict[str, int]
    untraced: list[str]


@dataclass(frozen=True)
class Origin:
    """An example with all that is known of it. Sample and verdict are None for a demonstration."""

    example: Example
    sample: Sample | None
    verdict: Verdict | None
    tests: str  # digest of the task's tests and cases


def tests_hash(task: Task) -> str:
    """Digest of what judges a task's solutions: verifier, entry point, tests, cases."""
    return value_hash([task.verifier, task.entry_point, task.tests, task.cases])


def parent_of(revision: Revision, checkpoint: str) -> str | None:
    """The checkpoint that training started from, by the revision's settings and what validation found.

    Raises InputError for a checkpoint that the revision's params.yaml does not make.
    """
    params = revision.params()
    if checkpoint == "base":
        return None
    if checkpoint == "sft":
        return "base"
    kind, _, number = checkpoint.partition("-")
    section = {"cycle": "cycles", "control": "controls", "grpo": "grpo"}.get(kind)
    entry = (params.get(section) or {}).get(number) if section else None
    if not isinstance(entry, dict) or not isinstance(entry.get("parent"), str):
        raise InputError(f"params.yaml at {revision.name}: nothing there makes a checkpoint '{checkpoint}'")
    profile = (params.get("profiles") or {}).get(params.get("profile")) or {}
    start = (profile.get("raft") or {}).get("start", "parent") if kind == "cycle" else "parent"
    if start != "parent":
        return start
    lineage = f"data/lineage/{entry['parent']}.json"
    if entry.get("use_regressed") or not revision.has(lineage):
        return entry["parent"]
    found = json.loads(revision.fetch(lineage).read_text(encoding="utf-8")).get("checkpoint")
    return found if isinstance(found, str) else entry["parent"]


def examples(revision: Revision, checkpoint: str) -> Iterator[Example]:
    """What a checkpoint was trained on; nothing is known of the base's."""
    if checkpoint != "base":
        yield from records.read(Example, revision.fetch(f"data/training/{checkpoint}.jsonl"), unique=False)


def origins(revision: Revision, cycle: str, wanted: set[Key]) -> Iterator[tuple[Sample, Verdict]]:
    """Samples of a cycle with their verdicts, those that are wanted."""
    files = [revision.fetch(f"data/{kind}/cycle-{cycle}.jsonl") for kind in ("samples", "verdicts")]
    for sample, verdict in zip(records.read(Sample, files[0]), records.read(Verdict, files[1]), strict=True):
        if (sample.task_id, sample.sample) != (verdict.task_id, verdict.sample):
            raise InputError(f"data/verdicts/cycle-{cycle}.jsonl at {revision.name}: not in the order of the samples")
        if (sample.task_id, sample.sample) in wanted:
            yield sample, verdict


def trace(revision: Revision, checkpoint: str) -> Step:
    """One training, each of its examples looked up among the samples and verdicts of the cycle that it names."""
    by_cycle: dict[str, dict[Key, float]] = {}
    counted: Counter[str] = Counter()
    for example in examples(revision, checkpoint):
        by_cycle.setdefault(example.cycle, {})[example.task_id, example.sample] = example.reward
        counted[example.cycle] += 1
    demonstrations = by_cycle.pop(DEMONSTRATION, {})
    untraced = []
    for cycle, rewards in by_cycle.items():
        left = dict(rewards)
        for sample, verdict in origins(revision, cycle, set(rewards)):
            key = (sample.task_id, sample.sample)
            # A control's examples are unverified on purpose: they carry no reward.
            if left[key] in (verdict.reward, 0):
                del left[key]
        untraced += [f"{task} (sample {number} of cycle {cycle})" for task, number in left]
    if demonstrations:
        known = {task.task_id for task in records.read(Task, revision.fetch(TASKS)) if task.reference}
        untraced += [f"{task} (demonstration)" for task, _ in demonstrations if task not in known]
    return Step(checkpoint, parent_of(revision, checkpoint), dict(counted), untraced)


def chain(revision: Revision, checkpoint: str) -> Iterator[Step]:
    """The trainings that made a checkpoint, the last first."""
    at: str | None = checkpoint
    while at is not None:
        step = trace(revision, at)
        yield step
        at = step.parent


def task_origins(revision: Revision, checkpoint: str, task_id: str) -> list[Origin]:
    """Each example of a task that a checkpoint was trained on, with its origin."""
    found = [example for example in examples(revision, checkpoint) if example.task_id == task_id]
    if not found:
        return []
    tests = next((tests_hash(t) for t in records.read(Task, revision.fetch(TASKS)) if t.task_id == task_id), "unknown")
    known: dict[tuple[str, int], tuple[Sample, Verdict]] = {}
    for cycle in {example.cycle for example in found} - {DEMONSTRATION}:
        wanted = {(task_id, example.sample) for example in found if example.cycle == cycle}
        known |= {(cycle, sample.sample): (sample, verdict) for sample, verdict in origins(revision, cycle, wanted)}
    pairs: list[tuple[Any, Any]] = [known.get((e.cycle, e.sample), (None, None)) for e in found]
    return [Origin(example, *pair, tests) for example, pair in zip(found, pairs, strict=True)]
