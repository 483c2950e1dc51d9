"""Two checkpoints on the same tasks: the difference of pass@1, paired by task, and the tasks that flipped."""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.common.errors import InputError
from stages.common.statistics import bootstrap_interval

SOLVED = 0.5  # share of a task's samples that pass, from which on the task counts as solved
FEWEST = 10  # tasks, below which no interval is to be trusted
Tally = Mapping[str, tuple[int, int]]  # (samples, passed) by task


@dataclass(frozen=True)
class Comparison:
    """Means over the tasks that both have; `low` and `high` bound the difference b - a (95 %, bootstrap over tasks)."""

    tasks: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    won: list[str]  # solved by b alone, the largest gain first
    lost: list[str]  # solved by a alone, the largest loss first

    @property
    def verdict(self) -> str:
        """What can be said of the two. A bootstrap over a handful of tasks would be sure of anything."""
        if self.tasks < FEWEST:
            return f"too few tasks to tell (fewer than {FEWEST})"
        if self.low > 0:
            return "B is better"
        if self.high < 0:
            return "A is better"
        return "no detectable difference"


def compare(a: Tally, b: Tally, tasks: list[str], resamples: int) -> Comparison:
    """Compare on `tasks`, which both must have. Resampling tasks, not samples, counts a task's samples as one draw.

    Raises InputError where there are no tasks.
    """
    if not tasks:
        raise InputError("the two have no task in common: nothing can be compared")
    rates = [{task: side[task][1] / side[task][0] for task in tasks} for side in (a, b)]
    gains = {task: rates[1][task] - rates[0][task] for task in tasks}
    low, high = bootstrap_interval(list(gains.values()), resamples)
    flipped = [task for task in tasks if (rates[0][task] >= SOLVED) != (rates[1][task] >= SOLVED)]
    means = [sum(side.values()) / len(tasks) for side in rates]
    return Comparison(
        tasks=len(tasks),
        a=round(means[0], 6),
        b=round(means[1], 6),
        difference=round(means[1] - means[0], 6),
        low=round(low, 6),
        high=round(high, 6),
        won=sorted((t for t in flipped if gains[t] > 0), key=lambda t: (-gains[t], t)),
        lost=sorted((t for t in flipped if gains[t] < 0), key=lambda t: (gains[t], t)),
    )
