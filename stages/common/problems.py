"""Which tasks are sampled: those without demonstrations, or all; each problem once."""

import json
from typing import Literal

from stages.common.records import Task


def problem(task: Task) -> str:
    """What tasks with several solutions of one problem have in common: what is asked, and how it is judged."""
    return json.dumps([task.prompt, task.language, task.tests, task.cases, task.compare], sort_keys=True)


def sampled_tasks(tasks: list[Task], which: Literal["all", "undemonstrated"]) -> list[Task]:
    """The tasks to sample: all, or those whose problem no demonstration solves."""
    if which == "all":
        return tasks
    solved = {problem(task) for task in tasks if task.reference is not None}
    return [task for task in tasks if problem(task) not in solved]


def distinct(tasks: list[Task]) -> list[Task]:
    """The first task of each problem; prints how many others there were."""
    first: dict[str, Task] = {}
    for task in tasks:
        first.setdefault(problem(task), task)
    if len(first) < len(tasks):
        print(f"{len(tasks)} tasks of {len(first)} problems: each is sampled once, for its first task", flush=True)
    return list(first.values())
