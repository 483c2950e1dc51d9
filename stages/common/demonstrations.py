"""Published solutions as training examples."""

from collections.abc import Iterable

from stages.common.records import Example, Task

CYCLE = "sft"  # stands in an example's `cycle` where no cycle sampled it


def demonstrations(tasks: Iterable[Task]) -> list[Example]:
    """The reference solutions of the tasks that have one."""
    return [Example(t.task_id, 0, CYCLE, 1.0, t.prompt, t.language, t.reference) for t in tasks if t.reference]
