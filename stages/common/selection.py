"""Selecting the samples that a RAFT cycle trains on.

Selection is per task, never a global ranking: the easy tasks would crowd out the hard ones.
"""

import hashlib
import heapq
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest

from stages.common.demonstrations import CYCLE
from stages.common.errors import InputError
from stages.common.prompts import trained_answer
from stages.common.records import Example, Rate, Sample, Task, Verdict
from stages.extraction.code import extract_code
from stages.settings.prompts import PromptSettings
from stages.settings.raft import HardnessSettings, RaftSettings, ReplaySettings


def paired(samples: Iterable[Sample], verdicts: Iterable[Verdict]) -> Iterator[tuple[Sample, Verdict]]:
    """Each sample with its verdict. Raises InputError where the two files do not name the same ones in order."""
    for number, (sample, verdict) in enumerate(zip_longest(samples, verdicts), 1):
        if sample is None or verdict is None:
            short = "samples" if sample is None else "verdicts"
            raise InputError(f"record {number}: the {short} end here, the other file goes on; verify again")
        if (sample.task_id, sample.sample) != (verdict.task_id, verdict.sample):
            raise InputError(
                f"record {number}: sample {sample.task_id}/{sample.sample} beside the verdict of "
                f"{verdict.task_id}/{verdict.sample}; verify again"
            )
        yield sample, verdict


# A sample among a task's accepted ones: (reward, preference by length, -number, completion); the largest are kept.
Item = tuple[float, int, int, str]


def select(
    pairs: Iterable[tuple[Sample, Verdict]], tasks: Mapping[str, Task], settings: RaftSettings, cycle: str
) -> list[Example]:
    """The accepted samples in the order of the tasks: reward at or above the threshold, at most `per_task` of a task
    (best reward first, then as `prefer` says, then lowest number), one for each distinct program. A sample without
    text is none. Memory is bounded by tasks x per_task.

    Raises InputError for a sample of an unknown task.
    """
    accepted: dict[str, list[Item]] = {task_id: [] for task_id in tasks}  # a heap each, the worst item first
    for sample, verdict in pairs:
        if sample.task_id not in tasks:
            raise InputError(f"sample {sample.task_id}/{sample.sample}: no such task")
        if verdict.reward >= settings.threshold and sample.completion:
            _offer(accepted[sample.task_id], verdict.reward, sample, tasks[sample.task_id], settings)
    return [
        _example(tasks[task_id], -negative, cycle, reward, completion)
        for task_id, heap in accepted.items()
        for reward, _, negative, completion in sorted(heap, reverse=True)
    ]


def _offer(heap: list[Item], reward: float, sample: Sample, task: Task, settings: RaftSettings) -> None:
    sign = {"first": 0, "shortest": -1, "longest": 1}[settings.prefer]
    item = (reward, sign * len(sample.completion), -sample.sample, sample.completion)
    if settings.deduplicate:
        program = _normal(extract_code(sample.completion, task))
        twin = next((i for i, kept in enumerate(heap) if _normal(extract_code(kept[3], task)) == program), None)
        if twin is not None:
            heap[twin] = max(heap[twin], item)
            heapq.heapify(heap)
            return
    if len(heap) < settings.per_task:
        heapq.heappush(heap, item)
    else:
        heapq.heappushpop(heap, item)


def unverified(
    samples: Iterable[Sample], tasks: Mapping[str, Task], settings: RaftSettings, cycle: str, count: int, seed: int
) -> list[Example]:
    """`count` samples drawn without a look at verdicts, in the order of the tasks, with reward 0: at most `per_task` of
    a task and one of each distinct program, as `select` does; fewer where there are no more.
    """
    blind = settings.model_copy(update={"threshold": 0.0, "prefer": "first"})
    pairs = ((s, Verdict(s.task_id, s.sample, _chance(s, seed), "", "", 0, 0)) for s in samples)
    found = select(pairs, tasks, blind, cycle)
    # Of those, the ones that chance favours; their order is that of the tasks.
    kept = {id(e) for e in heapq.nlargest(count, found, key=lambda e: (e.reward, e.task_id))}
    return [replace(example, reward=0.0) for example in found if id(example) in kept]


def _chance(sample: Sample, seed: int) -> float:
    """A number in 0..1 that depends on seed, task and sample number alone."""
    digest = hashlib.sha256(f"{seed}/control/{sample.task_id}/{sample.sample}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def weighted(
    examples: Iterable[Example], rates: Mapping[str, Rate], settings: HardnessSettings | None
) -> list[Example]:
    """The examples, those of hard tasks with more weight: 1 / pass rate, rounded, between 1 and `most`."""
    if settings is None:
        return list(examples)
    return [
        replace(
            e, weight=max(1, min(settings.most, round(rates[e.task_id].samples / max(rates[e.task_id].accepted, 1))))
        )
        for e in examples
    ]


def _normal(code: str) -> str:
    """Programs that differ just in trailing white space and blank lines are the same."""
    return "\n".join(line.rstrip() for line in code.splitlines() if line.strip())


def _example(task: Task, number: int, cycle: str, reward: float, completion: str) -> Example:
    return Example(task.task_id, number, cycle, reward, task.prompt, task.language, completion)


def as_trained(examples: Iterable[Example], prompts: PromptSettings) -> list[Example]:
    """The examples with the thoughts taken out, unless `prompts` keeps them; one that was nothing but thoughts, which
    a low threshold accepts, is left out, as it would teach to answer nothing."""
    answers = [(example, trained_answer(example.completion, prompts)) for example in examples]
    return [
        replace(example, completion=answer)
        for example, answer in answers
        if answer.strip() or answer == example.completion
    ]


def replayed(
    earlier: Iterable[Example], shown: list[Example], own: list[Example], settings: ReplaySettings, seed: int
) -> list[Example]:
    """Examples that join a cycle's `own`: the accepted ones among the `earlier` ones that its parent was trained on,
    and a draw of the demonstrations `shown`.

    An earlier example that is one of `own` to the letter is left out.
    """
    known = {(example.task_id, example.completion) for example in own}
    accepted = [e for e in earlier if e.cycle != CYCLE and (e.task_id, e.completion) not in known]
    drawn = random.Random(seed).sample(shown, min(settings.sft, len(shown)))
    return (accepted if settings.cycles else []) + drawn
