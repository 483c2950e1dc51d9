"""From verdicts to a checkpoint's figures: pass@k with intervals, whole and by category."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from stages.common.errors import InputError
from stages.common.records import Task, Verdict
from stages.common.statistics import bootstrap_interval, pass_at_k
from stages.common.tables import TRIMMED
from stages.settings.scoring import ScoreSettings

CATEGORY_FIELDS = ("category", "difficulty", "steps", "composition")  # of a task's `meta`


def counts(verdicts: Iterable[Verdict]) -> dict[str, tuple[int, int]]:
    """(samples, passed samples) by task. A sample has passed if its reward is 1."""
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for verdict in verdicts:
        tally[verdict.task_id][0] += 1
        tally[verdict.task_id][1] += verdict.reward == 1
    return {task_id: (n, c) for task_id, (n, c) in tally.items()}


def figures(tally: Sequence[tuple[int, int]], settings: ScoreSettings) -> dict[str, float]:
    """`pass@k` with `pass@k_low` and `pass@k_high` (95 % over tasks) for each k, as shares, rounded to 6 digits.

    Raises InputError if a task has fewer samples than the largest k.
    """
    result = {}
    for k in settings.k:
        if any(n < k for n, _ in tally):
            raise InputError(f"benchmark.score.k: pass@{k} needs {k} samples of every task, found {min(tally)[0]}")
        values = [pass_at_k(n, c, k) for n, c in tally]
        low, high = bootstrap_interval(values, settings.resamples)
        result[f"pass@{k}"] = round(sum(values) / len(values), 6)
        result[f"pass@{k}_low"], result[f"pass@{k}_high"] = round(low, 6), round(high, 6)
    return result


def categories(tasks: Mapping[str, Task]) -> dict[tuple[str, str], list[str]]:
    """Task ids by (field, value), for language, source and the category fields of `meta`; a field in which all tasks
    agree tells nothing and is left out."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for task in tasks.values():
        labels = {"language": task.language, "source": task.source, **{f: task.meta.get(f) for f in CATEGORY_FIELDS}}
        for name, value in labels.items():
            if value is not None:
                groups[name, str(value)].append(task.task_id)
    return {key: ids for key, ids in sorted(groups.items()) if len(ids) < len(tasks)}


def trimmed_figures(tally: Sequence[tuple[int, int]], settings: ScoreSettings) -> dict[str, float]:
    """`pass@1_trimmed` with its interval: what the usual trimming of answers gives, beside the strict `pass@1`."""
    found = figures(tally, settings.model_copy(update={"k": [1]}))
    return {name.replace("pass@1", TRIMMED): value for name, value in found.items()}
