"""Procedural Python tasks: a one-line request of one to three steps on a list of ints or a string.

All of it is a pure function of settings and seed. Pretraining texts, demonstrations, prompts, validation and
benchmark share no program, neither to the letter nor in what it does, and so no prompt; half of the benchmark's tasks
of two and three steps contain a pair of neighbouring steps that occurs nowhere else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from stages.common.errors import InputError
from stages.common.records import Task
from stages.settings.sources import BySteps, SyntheticSettings
from stages.sources import Row
from stages.sources.synthetic import examples, python, splits


def pretraining_texts(sizes: Sequence[int], seed: int) -> list[str]:
    """Raw text for training a base model from nothing: the request as a comment, then the code.

    `sizes` counts the texts of one, of two and of three steps. Unlike tasks, these may hold steps without effect:
    nothing judges them.
    """
    texts = []
    for steps, size in enumerate(sizes, 1):
        draws = list(islice(splits.draw("pretraining", steps, "seen", seed), size))
        _expect("pretraining", f"seen tasks of {steps} step(s)", len(draws), size)
        texts += [f"# {drawn.prompt}\n{python.code(drawn.program, drawn.name)}\n" for drawn in draws]
    return texts


def rows(settings: SyntheticSettings, hub: str | None, seed: int) -> Iterator[Row]:
    """The tasks of every split."""
    for split, tasks in load(settings, hub, seed).items():
        yield from (Row(split, task) for task in tasks)


def load(settings: SyntheticSettings, hub: str | None, seed: int) -> dict[str, list[Task]]:
    """The train tasks (demonstrations with a reference first, then prompts without), validation and benchmark."""

    def tasks(split: str, sizes: BySteps) -> Iterator[tuple[splits.Draw, str]]:
        for steps, size in enumerate(sizes, 1):
            # A single step has no neighbour that could be new to it.
            unseen = size // 2 if split == "benchmark" and steps > 1 else 0
            yield from _judged(split, steps, "seen", size - unseen, seed)
            yield from _judged(split, steps, "unseen", unseen, seed)

    demonstrations = [_task("train", n, *d) for n, d in enumerate(tasks("demonstrations", settings.demonstrations))]
    prompts = [_task("train", n, *d) for n, d in enumerate(tasks("prompts", settings.prompts), len(demonstrations))]
    return {
        "train": demonstrations + [replace(task, reference=None) for task in prompts],
        "validation": [_task("validation", n, *d) for n, d in enumerate(tasks("validation", settings.validation))],
        "benchmark": [_task("benchmark", n, *d) for n, d in enumerate(tasks("benchmark", settings.benchmark))],
    }


def _judged(split: str, steps: int, kind: str, size: int, seed: int) -> Iterator[tuple[splits.Draw, str]]:
    """The first `size` draws that six assertions can tell from every near miss, with those assertions."""
    found = 0
    for drawn in splits.draw(split, steps, kind, seed) if size else ():
        chosen = examples.choose(drawn.program, drawn.rng)
        if chosen is not None and not splits.is_roundabout(drawn.program):
            found += 1
            yield drawn, python.assertions(drawn.name, chosen)
        if found == size:
            return
    _expect(split, f"{kind} tasks of {steps} step(s)", found, size)


def _expect(split: str, what: str, found: int, size: int) -> None:
    if found < size:
        raise InputError(f"synthetic {split}: asked for {size} {what}, there are only {found}")


def _task(split: str, number: int, drawn: splits.Draw, tests: str) -> Task:
    return Task(
        task_id=f"synthetic/{split}/{number:04}",
        language="python",
        prompt=drawn.prompt,
        verifier="pytest",
        entry_point=drawn.name,
        tests=tests,
        cases=[],
        reference=python.code(drawn.program, drawn.name),
        source="synthetic",
        meta={
            "category": drawn.program.category.name,
            "steps": len(drawn.program.steps),
            "composition": drawn.composition,
        },
    )
