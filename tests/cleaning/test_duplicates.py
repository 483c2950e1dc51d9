"""What counts as a repetition, what does not, and the index on disk."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from stages.cleaning.duplicates import Duplicates, Match
from stages.cleaning.ids import Ids
from stages.common.records import Task
from stages.settings.data import DuplicateSettings
from tests.conftest import make_task

CODE = "def f(xs):\n    total = 0\n    for x in xs:\n        total += x * x\n    return [total, len(xs), max(xs)]\n"


def matches(*tasks: Task, near: bool = True) -> list[Match | None]:
    with Duplicates(DuplicateSettings()) as duplicates:
        return [duplicates.add(task, near) for task in tasks]


def test_one_problem_in_two_languages_is_kept() -> None:
    cases = [{"stdin": "1\n", "stdout": "2\n"}]
    python = make_task(1, tests="", cases=cases, prompt="Read a number, print the one after it.", entry_point=None)
    cpp = replace(python, task_id="cpp", language="cpp")
    assert matches(python, cpp) == [None, None]
    assert matches(replace(python, reference="print(1)"), replace(cpp, reference="print(1)")) == [None, None]
    assert matches(replace(python, cases=[]), replace(cpp, cases=[])) == [None, None]
    assert matches(python, replace(python, task_id="t/2")) == [None, Match("duplicate", "t/1")]


def test_another_solution_of_the_same_problem_is_kept() -> None:
    other = "def f(xs):\n    return [sum(x * x for x in xs), len(xs), max(xs)]\n"
    prompt = "Sum of squares, count and maximum."
    one, two = make_task(1, prompt=prompt, reference=CODE), make_task(2, prompt=prompt, reference=other)
    assert matches(one, two, replace(two, task_id="again")) == [None, None, Match("duplicate", "t/2")]


def test_tests_without_a_reference() -> None:
    """The name of the function does not count where it stands as a word; the case of texts does."""
    upper = make_task(1, prompt="Return the string in upper case.", tests="assert f('a') == 'A'")
    lower = make_task(2, prompt="Return the string in lower case.", tests="assert f('A') == 'a'")
    assert matches(upper, lower) == [None, None]
    named = make_task(3, prompt="Return this string in upper case!", entry_point="g", tests="assert  g('a')\\\n== 'A'")
    assert matches(upper, replace(named, tests="assert  g('a') ==\n'A'")) == [None, Match("near_duplicate", "t/1")]
    half = make_task(4, prompt="Is half of it false?", tests="assert f(False) is False")
    whole = replace(
        half, task_id="t/5", prompt="Is half of it, false?", entry_point="g", tests="assert g(False) is False"
    )
    assert matches(half, whole)[1] is not None


def test_other_numbers_ask_for_other_programs() -> None:
    assert matches(make_task(1, tests=""), make_task(2, tests="")) == [None, None]
    assert matches(make_task(1, tests=""), make_task(1, tests="", task_id="again"))[1] is not None


def test_only_equal_tasks_where_likeness_tells_nothing() -> None:
    one = make_task(1, reference=CODE)
    renamed = replace(one, task_id="t/2", prompt=one.prompt + " Thanks.", reference=CODE.replace("total", "most"))
    assert matches(one, renamed) == [None, Match("duplicate", "t/1")]
    assert matches(one, renamed, near=False) == [None, None]
    assert matches(one, replace(one, task_id="t/3"), near=False) == [None, Match("duplicate", "t/1")]


def test_odd_texts() -> None:
    """Lone surrogates, NUL, languages that nobody knows, code that is none."""
    odd = make_task(1, task_id="t/\ud800\0", prompt="\udfff \0", language="\ud801", reference="\0\ud800 (((\n" * 20)
    empty = make_task(2, prompt="", tests="", entry_point="", reference="")
    assert matches(odd, replace(odd, task_id="t/2"), empty, replace(empty, task_id="t/3")) == [
        None,
        Match("duplicate", "t/\ud800\0"),
        None,
        Match("duplicate", "t/2"),
    ]


def test_the_index_leaves_no_file(tmp_path: Path) -> None:
    with Duplicates(DuplicateSettings(), tmp_path) as duplicates, Ids(tmp_path) as ids:
        assert list(tmp_path.iterdir()) == []
        duplicates.add(make_task(1))
        assert (ids.add("\ud800", "a file"), ids.add("\ud800", "another"), ids.add("b", "another")) == (
            None,
            "a file",
            None,
        )


def test_a_full_disk(tmp_path: Path) -> None:
    """sqlite is told that the file cannot grow; that is how it meets a full disk."""
    with pytest.raises(OSError) as error, Ids(tmp_path) as ids:
        ids.index.execute("PRAGMA max_page_count = 20")
        for number in range(100_000):
            ids.add(f"task {number}", "a file")
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path))
