"""Which tasks a cycle draws samples of, by the pass rates that earlier cycles measured."""

from collections.abc import Mapping

from stages.common.records import Rate, Task
from stages.settings.sampling import CurriculumSettings


def due(
    tasks: list[Task], rates: Mapping[str, Rate], depth: int, settings: CurriculumSettings | None
) -> tuple[list[Task], int]:
    """The tasks that a cycle at `depth` samples, and how many it skips: those all of whose samples passed when they
    were last drawn, until `revisit` cycles later. Where that would skip all, none is skipped."""
    if settings is None:
        return tasks, 0

    def skipped(task: Task) -> bool:
        rate = rates.get(task.task_id)
        if rate is None or rate.accepted < rate.samples:
            return False
        return not settings.revisit or depth - rate.depth < settings.revisit

    kept = [task for task in tasks if not skipped(task)]
    return (kept, len(tasks) - len(kept)) if kept else (tasks, 0)
