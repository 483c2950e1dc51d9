"""Codeforces: what a row becomes, and what each row that becomes nothing lacks."""

import os
from pathlib import Path

import pytest

from stages import sources
from stages.common.errors import InputError
from stages.common.records import Task
from stages.settings.sources import CodeforcesCppSettings, CodeforcesPythonSettings
from stages.sources.codeforces import program, reasoning
from tests.preparing import prepared
from tests.sources.hub_layout import CODEFORCES_ROW, write_codeforces

MIRROR = Path(os.environ.get("HALO_FORGE_HUB", Path(__file__).parents[2] / ".." / "shared" / "hub"))
ALL = os.environ.get("HALO_FORGE_ALL") == "1"
mirrored = pytest.mark.skipif(not MIRROR.is_dir(), reason="no mirror of the hub; name one in HALO_FORGE_HUB")
LOADED = "print(sum(map(int, input().split())))\n"
PROMPT = """\
Solve this problem with a Python 3 program that reads standard input and writes standard output.

# Sum

Time limit: 2 s, Memory limit: 256 MB

Add the two numbers.

## Input
Two integers.

## Output
Their sum.

## Examples
Input:
```
1 2
```
Output:
```
3
```

Input:
```
4 5
```
Output:
```
9
```

## Note
Easy.
"""


def row(**changes: object) -> dict:
    return CODEFORCES_ROW | changes


def answer(code: str) -> str:
    return f"<think>\nHm.\n</think>\n\n```python\n{code}\n```\n"


def tasks(hub: Path, rows: list[dict], **settings: object) -> dict[str, list[Task]]:
    write_codeforces(hub, rows)
    return sources.load("codeforces_python", CodeforcesPythonSettings(**settings), str(hub), 0)


def test_a_row_in_full(tmp_path: Path) -> None:
    (task,) = tasks(tmp_path, [CODEFORCES_ROW], validation=0.0)["train"]
    assert task.prompt == PROMPT
    assert task.cases == [{"stdin": "1 2\r\n", "stdout": "3\r\n"}, {"stdin": "4 5\n", "stdout": "9\n"}]
    assert task.reference == LOADED
    assert task.reasoning == "First try:\n```python\nprint(0)\n```"
    assert (task.task_id, task.language, task.verifier) == ("codeforces_python/1/A/row-0", "python", "pytest")
    assert (task.entry_point, task.tests, task.source) == (None, "", "codeforces_python")
    assert task.meta == {
        "category": "codeforces",
        "problem": "1/A",
        "statement": "Add the two numbers.\nTwo integers.\nTheir sum.",
        "difficulty": "A",
        "year": 2020,
    }


@pytest.mark.parametrize(
    ("generation", "code", "thought"),
    [
        (answer("x"), "x\n", "Hm."),
        ("so\n</think>\n```\nx\n```", "x\n", "so"),  # the prompt opened the thought
        ("so\n</think>\nA <think> in words.\n```\nx\n```", "x\n", "so"),
        ("```\nx\n```", "x\n", None),
        ("<think>\n```\nx\n```\n", None, None),  # cut in mid-thought
        ("<think></think>\nx = 1\n", None, None),
        ("```\n \n```", None, None),
    ],
)
def test_program_and_reasoning(generation: str, code: str | None, thought: str | None) -> None:
    assert program(generation, "python") == code
    assert reasoning(generation) == thought


def test_columns_that_may_be_missing(tmp_path: Path) -> None:
    few = {name: CODEFORCES_ROW[name] for name in ("id", "description", "examples", "generation")}
    (task,) = tasks(tmp_path, [few], validation=0.0)["train"]
    _, statement, examples = task.prompt.split("\n\n", 2)
    assert (statement, examples[:11]) == ("Add the two numbers.", "## Examples")
    assert task.meta == {"category": "codeforces", "problem": "1/A", "statement": "Add the two numbers."}


def test_a_column_that_must_be_there(tmp_path: Path) -> None:
    few = {name: value for name, value in CODEFORCES_ROW.items() if name != "generation"}
    with pytest.raises(InputError, match=r"codeforces-cots, config 'solutions_py', split 'train': no column 'gen.*$"):
        tasks(tmp_path, [few])


def test_another_config_is_named(tmp_path: Path) -> None:
    write_codeforces(tmp_path, [CODEFORCES_ROW], "solutions_py")
    with pytest.raises(InputError, match=r"^[^\n]*codeforces-cots, config 'solutions', [^\n]*cannot load: [^\n]*$"):
        sources.load("codeforces_cpp", CodeforcesCppSettings(), str(tmp_path), 0)


def test_no_column_of_examples_at_all(tmp_path: Path) -> None:
    few = {name: value for name, value in CODEFORCES_ROW.items() if name != "examples"}
    write_codeforces(tmp_path / "hub", [few])
    with pytest.raises(InputError) as error:
        prepared(tmp_path, "codeforces_python", {}, tmp_path / "hub")
    assert str(error.value) == (
        "source 'codeforces_python': no tasks from 1 rows; dropped: no_examples 1; "
        "change its settings, or set it to null"
    )
    assert not (tmp_path / "tasks").exists()


def test_every_row_that_lacks_something_is_counted_and_named(tmp_path: Path) -> None:
    rows = [
        row(),
        row(id="2/A", examples=None),
        row(id="2/B", examples=[]),
        row(id="2/C", examples=[{"input": "1", "output": None}, {"input": "1", "output": " \n"}]),
        row(id=None),
        row(id="3/A", description=" "),
        row(id="3/B", generation=None),
        row(id="3/C", generation="<think>\nNo idea.\n</think>\n\nprint(1)\n"),
        row(id="4/A", finish_reason="length"),
        row(id="5/A", interaction_format="Ask, then print the answer."),
        row(id="6/A", generation=answer("print(7)")),
        row(id="6/B", generation=answer("print(sum(map(int, input().split()))")),
        row(
            id="7/A",
            examples=[{"input": "1 2", "output": None}, {"input": "", "output": "7"}],
            generation=answer("print(7)"),
        ),
    ]
    write_codeforces(tmp_path / "hub", rows)
    found = prepared(tmp_path, "codeforces_python", {"validation": 0.0}, tmp_path / "hub")
    assert found.ids() == ["codeforces_python/1/A/row-0", "codeforces_python/7/A/row-12"]
    assert found.splits["train"][1].cases == [{"stdin": "", "stdout": "7"}]
    dropped = {
        "no_examples": ["2/A/row-1", "2/B/row-2", "2/C/row-3"],
        "no_statement": ["None/row-4", "3/A/row-5"],
        "no_program": ["3/B/row-6", "3/C/row-7"],
        "unfinished": ["4/A/row-8"],
        "interactive": ["5/A/row-9"],
        "wrong_answer": ["6/A/row-10"],
        "compile_error": ["6/B/row-11"],
    }
    for reason, names in dropped.items():
        assert found.metrics[f"dropped_{reason}_ids"] == [f"codeforces_python/{name}" for name in names]
        assert found.metrics[f"dropped_{reason}"] == len(names)
    assert found.metrics["dropped"] == sum(map(len, dropped.values()))
    assert (found.metrics["rows"], found.metrics["verified"], found.metrics["demonstrations"]) == (13, 2, 2)
    assert (found.metrics["languages"], found.metrics["difficulties"]) == ({"python": 2}, {"A": 2})


def test_unverified_rows_are_kept_where_asked_for(tmp_path: Path) -> None:
    """Without examples a program need only start; one that is none is left out all the same."""
    code = "def add(a, b):\n    return a + b\n\nprint(add(*map(int, input().split())))"
    rows = [row(examples=None, generation=answer(code)), row(id="2/A", examples=[], generation=answer("print(("))]
    write_codeforces(tmp_path / "hub", rows)
    settings = {"keep_unverified": True, "validation": 0.0}
    found = prepared(tmp_path, "codeforces_python", settings, tmp_path / "hub")
    assert found.ids() == ["codeforces_python/1/A/row-0"]
    assert found.splits["train"][0].cases == []
    assert (found.metrics["verified"], found.metrics["dropped_compile_error"]) == (0, 1)


def different(number: int, problem: str) -> dict:
    """Rows of one problem with programs that are no copies of each other."""
    code = f"a, b = map(int, input().split())\nfor _ in range({number}):\n    a += 1\nprint(a + b - {number})"
    return row(id=problem, generation=answer(code))


def test_most_tasks_and_solutions_of_a_problem(tmp_path: Path) -> None:
    rows = [different(number, f"{number // 3}/A") for number in range(9)]
    rows.insert(0, row(id="0/A", generation="none"))
    write_codeforces(tmp_path / "hub", rows)
    settings = {"per_problem": 2, "max_tasks": 3, "validation": 0.0, "check_references": False}
    found = prepared(tmp_path, "codeforces_python", settings, tmp_path / "hub")
    assert found.ids() == [f"codeforces_python/{name}" for name in ("0/A/row-1", "0/A/row-2", "1/A/row-4")]
    # A row without a program takes no other's place.
    assert found.metrics["dropped_no_program"] == 1
    assert found.metrics["dropped_enough_of_the_problem"] >= 1


def test_a_problem_stays_on_one_side_in_both_languages(tmp_path: Path) -> None:
    problems = [f"{number}/{letter}" for number in range(40) for letter in "AB"]
    rows = [row(id=problem) for problem in problems for _ in range(3)]
    write_codeforces(tmp_path, rows, "solutions_py")
    write_codeforces(tmp_path / "cpp", rows, "solutions")
    shares = {"validation": 0.3, "benchmark": 0.2}
    python = sources.load("codeforces_python", CodeforcesPythonSettings(**shares), str(tmp_path), 0)
    cpp = sources.load("codeforces_cpp", CodeforcesCppSettings(**shares), str(tmp_path / "cpp"), 1)
    sides = {split: {task.meta["problem"] for task in found} for split, found in python.items()}
    assert sides == {split: {task.meta["problem"] for task in found} for split, found in cpp.items()}
    assert set(sides) == {"train", "validation", "benchmark"}
    assert sum(map(len, sides.values())) == len(problems)
    assert all(len(found) == 3 * len(sides[split]) for split, found in python.items())
    assert 10 < len(sides["validation"]) < 38 and 6 < len(sides["benchmark"]) < 26
    # More rows, or another order of them, move no problem.
    write_codeforces(tmp_path / "other", [*reversed(rows), row(id="99/Z")])
    again = sources.load("codeforces_python", CodeforcesPythonSettings(**shares), str(tmp_path / "other"), 0)
    assert all(sides[split] <= {task.meta["problem"] for task in found} for split, found in again.items())


@pytest.mark.hub
@mirrored
def test_all_of_the_python_programs_pass(tmp_path: Path) -> None:
    found = prepared(tmp_path, "codeforces_python", {}, MIRROR)
    assert (found.metrics["rows"], found.metrics["verified"], found.metrics["dropped"]) == (33, 33, 0)
    assert all("```" not in task.reference for split in found.splits.values() for task in split)


@pytest.mark.hub
@pytest.mark.slow
@mirrored
def test_the_cpp_programs_with_examples_pass_but_one(tmp_path: Path) -> None:
    """The first 90, or all with HALO_FORGE_ALL=1."""
    found = prepared(tmp_path, "codeforces_cpp", {} if ALL else {"max_tasks": 90, "validation": 0.2}, MIRROR)
    kept = sum(map(len, found.splits.values()))
    if ALL:
        figures = ("rows", "verified", "dropped_compile_error", "dropped_no_examples")
        assert [found.metrics[name] for name in figures] == [500, 286, 1, 213]
        left_out = found.metrics.get("dropped_duplicate", 0) + found.metrics.get("dropped_near_duplicate", 0)
        assert kept == 286 - left_out
    else:
        assert kept == 90
    assert found.metrics.get("dropped_compile_error", 0) <= 1
    assert not {"dropped_wrong_answer", "dropped_timeout", "dropped_runtime_error"} & found.metrics.keys()
    # Several solutions of one problem stay on one side.
    sides = [{task.meta["problem"] for task in found.splits[split]} for split in ("train", "validation")]
    assert all(sides) and not sides[0] & sides[1]


@pytest.mark.parametrize(
    ("said", "compare"),
    [
        ("Print the answer.", "exact"),
        ("Print max(1, x) and nothing within 10 lines.", "exact"),
        (r"Correct if $$$\frac{|a - b|}{\max{(1, |b|)}} \le 10^{-6}$$$.", {"float": {"abs": 1e-6, "rel": 1e-6}}),
        ("It must be within $$$10^{-5}$$$ of the jury's.", {"float": {"abs": 1e-5}}),
        ("The absolute or relative error must not exceed $$$10^{-6}$$$.", {"float": {"abs": 1e-6, "rel": 1e-6}}),
        ("It is right if its relative error is at most 10 - 4.", {"float": {"rel": 1e-4}}),
        ("Absolute error up to 1e-9 is fine: at most that.", {"float": {"abs": 1e-9}}),
        ("An absolute error of less than 0.001 is allowed.", {"float": {"abs": 1e-3}}),
        ("Print the number with at least six digits after the point.", {"float": {"abs": 1e-6}}),
        ("Print the number with exactly 6 digits after the point.", "exact"),
        ("Print YES or NO. You may print each letter in any case (upper or lower).", {"tokens": {"ignore_case": True}}),
        ('Print "Yes" or "No" (case insensitive).', {"tokens": {"ignore_case": True}}),
        ("In any case there is one.", "exact"),
    ],
)
def test_how_an_output_is_compared(tmp_path: Path, said: str, compare: str | dict) -> None:
    (task,) = tasks(tmp_path, [row(output_format=said)], validation=0.0)["train"]
    assert task.compare == compare


@pytest.mark.parametrize(
    "said",
    [
        "If there are multiple solutions, print any of them.",
        "If there are several ways, Heidi will be satisfied with any of those.",
        "Print any way to split it.",
        "Print -1 if there is none, otherwise any suitable string.",
        "Output one of the possible ways.",
        "Print a possible assignment.",
        "You can print the edges in any order.",
        "Any valid answer will do.",
        "If you output any other positive number instead of 1, it will also be recognized as 1.",
    ],
)
def test_problems_with_several_right_answers_are_left_out(tmp_path: Path, said: str) -> None:
    rows = [row(), row(id="2/A", output_format=said)]
    write_codeforces(tmp_path / "hub", rows)
    found = prepared(tmp_path, "codeforces_python", {"validation": 0.0}, tmp_path / "hub")
    assert found.ids() == ["codeforces_python/1/A/row-0"]
    assert found.metrics["dropped_any_answer_ids"] == ["codeforces_python/2/A/row-1"]


@pytest.mark.parametrize(
    "said",
    [
        "Do not print any extra spaces.",
        "Count the different strings that you get by any number of operations.",
        "Print the answers in the order of the queries.",
        "If there are several answers, print the smallest.",
        "You can print each letter in any case.",
    ],
)
def test_problems_with_one_right_answer_are_kept(tmp_path: Path, said: str) -> None:
    assert tasks(tmp_path, [row(output_format=said)], validation=0.0)["train"]
