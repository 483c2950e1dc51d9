"""Published solutions as training examples."""

from collections.abc import Iterable

from stages.common.prompts import demonstration
from stages.common.records import Example, Task
from stages.settings.prompts import PromptSettings

CYCLE = "sft"  # stands in an example's `cycle` where no cycle sampled it


def demonstrations(tasks: Iterable[Task], prompts: PromptSettings) -> list[Example]:
    """The reference solutions of the tasks that have one, with their thoughts where `prompts` keeps them."""
    return [
        Example(t.task_id, 0, CYCLE, 1.0, t.prompt, t.language, demonstration(t.reference, t.reasoning, prompts))
        for t in tasks
        if t.reference
    ]
