"""Planted near duplicates and planted benchmark leaks are all found, and nothing that is clean is removed."""

import ast
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from stages import sources
from stages.cleaning.contamination import Contamination
from stages.cleaning.duplicates import Duplicates
from stages.cleaning.parts import SHORTEST
from stages.cleaning.text import canonical
from stages.common import records
from stages.common.records import Sample, Task
from stages.settings.data import ContaminationSettings, DuplicateSettings
from stages.settings.sources import HumanEvalSettings, MbppSettings
from stages.settings.verify import VerifySettings
from stages.verifiers.pool import verify_samples
from tests.cleaning.edits import copy_of

CLEAN = list(records.read(Task, Path(__file__).with_name("tasks.jsonl")))
MIRROR = Path(os.environ.get("HALO_FORGE_HUB", Path(__file__).parents[2] / ".." / "shared" / "hub"))
mirrored = pytest.mark.skipif(not MIRROR.is_dir(), reason="no mirror of the hub; name one in HALO_FORGE_HUB")
PLANTED = 50


def copies(tasks: Iterable[Task], count: int) -> list[Task]:
    """Edited copies, round after round."""
    tasks = list(tasks)
    return [copy_of(tasks[number % len(tasks)], number) for number in range(count)]


def removed(tasks: Iterable[Task]) -> list[str]:
    """Ids of tasks that repeat an earlier one."""
    with Duplicates(DuplicateSettings()) as duplicates:
        return [task.task_id for task in tasks if duplicates.add(task)]


def leaked(benchmark: Iterable[Task], tasks: list[Task]) -> list[str]:
    """Ids of tasks that the benchmark has."""
    contamination = Contamination(ContaminationSettings())
    for task in benchmark:
        contamination.add(task)
    for task in tasks:
        contamination.note(task)
    return [task.task_id for task in tasks if contamination.leak(task)]


def in_three_ways(planted: list[Task]) -> list[Task]:
    """A third whole, a third without a solution, a third with another statement."""
    other = "Here is something else to do, in words of its own that no benchmark has ever used before.\n"

    def retold(task: Task) -> Task:
        # Code of a line is the same by chance where nothing else is.
        is_short = len(canonical(task.reference or "", task.language)) < SHORTEST
        return task if is_short else replace(task, prompt=other)

    kinds = (lambda task: task, lambda task: replace(task, reference=None), retold)
    return [kinds[number % 3](task) for number, task in enumerate(planted)]


def test_edited_copies_still_work() -> None:
    """Copies that the edits broke would prove nothing."""
    tasks = {task.task_id: task for task in copies(CLEAN, PLANTED)}
    samples = [Sample(name, 0, task.reference) for name, task in tasks.items()]
    assert {verdict.reward for verdict in verify_samples(tasks, samples, VerifySettings())} == {1.0}


def test_planted_duplicates() -> None:
    planted = copies(CLEAN, PLANTED)
    assert removed([*CLEAN, *planted]) == [task.task_id for task in planted]


def test_planted_leaks() -> None:
    planted = in_three_ways(copies(CLEAN[:6], PLANTED))
    assert leaked(CLEAN[:6], [*CLEAN[6:], *planted]) == [task.task_id for task in planted]


def reshaped(task: Task, number: int) -> Task:
    """A copy that is formatted anew, with an import before it and a call behind it, for another prompt."""
    code = ast.unparse(ast.parse(copy_of(task, number).reference or ""))
    code = f"import math\n\n{code}\n\nif __name__ == '__main__':\n    print(math.pi)\n"
    return replace(
        task, task_id=f"reshaped/{number}", prompt="Do as you were told before.\n", reference=code, source="x"
    )


def test_functions_are_found_in_other_programs() -> None:
    planted = [reshaped(task, number) for number, task in enumerate(CLEAN[:6])]
    assert leaked(CLEAN[:6], [*CLEAN[6:], *planted]) == [task.task_id for task in planted]


def test_functions_of_cpp_are_found_in_other_programs() -> None:
    code = "int best(vector<int> xs) {\n  int top = xs[0];\n  for (int x : xs) top = max(top, x);\n  return top;\n}\n"
    task = Task("b", "cpp", "Find the largest.\n", "gcc", "best", "int main() {}", [], f"using namespace std;\n{code}")
    other = code.replace("xs", "all").replace("top", "t").replace(" = ", "=")
    planted = replace(
        task, task_id="p", prompt="Do it.\n", reference=f"#include <vector>\n{other}int main(){{return 0;}}\n"
    )
    clean = replace(planted, task_id="c", reference=planted.reference.replace("max", "min"))
    assert leaked([task], [planted, clean]) == ["p"]


@pytest.mark.parametrize("form", ["```python\n{}```\n", "You are an expert. Here is your task: {} Use Python.\n"])
def test_prompts_are_found_in_other_prompts(form: str) -> None:
    planted = [
        replace(t, task_id=f"p/{n}", prompt=form.format(t.prompt), reference=None) for n, t in enumerate(CLEAN[:6])
    ]
    assert leaked(CLEAN[:6], [*CLEAN[6:], *planted]) == [task.task_id for task in planted]


@pytest.mark.hub
@mirrored
def test_planted_duplicates_among_published_tasks() -> None:
    """100 clean tasks: MBPP's first hundred training tasks without the two that repeat another of them."""
    tasks = sources.load("mbpp", MbppSettings(limit=102), str(MIRROR), 0)["train"]
    repeated = removed(tasks)
    clean = [task for task in tasks if task.task_id not in repeated]
    assert len(repeated) <= 2
    planted = copies([task for task in clean if "\t" not in task.reference][:PLANTED], PLANTED)
    assert removed([*clean, *planted]) == [task.task_id for task in planted]


@pytest.mark.hub
@mirrored
def test_planted_leaks_of_published_tasks() -> None:
    """50 of HumanEval's tasks are planted, among 100 of MBPP's that are none of them."""
    benchmark = sources.load("humaneval", HumanEvalSettings(), str(MIRROR), 0)["benchmark"]
    clean = sources.load("mbpp", MbppSettings(limit=100), str(MIRROR), 0)["train"]
    planted = in_three_ways(copies(benchmark[:PLANTED], PLANTED))
    assert leaked(benchmark, [*clean, *planted]) == [task.task_id for task in planted]
