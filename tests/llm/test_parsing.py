"""Answers as models write them: tidy, untidy and broken ones."""

import pytest

from stages.llm.parsing import KINDS, Draft, parse_answer

CODE = "def f(x):\n    # Solution\n    return x\n"
TESTS = "assert f(1) == 1\n"
GOOD = f"### Problem\nWrite `f(x)`.\n\n### Solution\n```python\n{CODE}```\n\n### Tests\n```python\n{TESTS}```\n"


def draft(text: str, finish: str | None = "stop", language: str = "python") -> Draft:
    found = parse_answer(text, finish, language)
    assert isinstance(found, Draft), found
    return found


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("### ", "# "),
        GOOD.replace("### ", "## ").replace("Problem", "Problem:").replace("Solution\n`", "Solution ##\n`"),
        GOOD.replace("### Problem", "**Problem**").replace("### Solution", "**Solution:**").replace("### T", "###  T"),
        GOOD.replace("### Problem", "### 1. Problem statement").replace(
            "### Solution\n`", "### 2) Reference solution\n`"
        ),
        "Here you are!\n\n" + GOOD,
        "<think>\n### Problem\nHm. ```python\n</think>\n" + GOOD,
        "```markdown\n" + GOOD.replace("```", "~~~") + "```",
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("```python", "``` py").replace("```\n", "```   \n"),
        GOOD.replace("```", "~~~~"),
        GOOD.replace("### Tests", "This keeps x.\n\n### Unit tests"),
        GOOD.replace("### Solution\n", "### Solution\n```text\nf\n```\nso:\n"),
    ],
)
def test_forms_that_are_understood(text: str) -> None:
    found = draft(text)
    assert (found.problem, found.solution, found.tests, found.cases) == ("Write `f(x)`.", CODE, TESTS, [])


@pytest.mark.parametrize(
    "line", ["from solution import f\n", "from your_module import f, g\n", "from main import (\n    f,\n    g,\n)\n"]
)
def test_tests_that_import_the_solution(line: str) -> None:
    assert draft(GOOD.replace("assert", f"import math\n{line}assert")).tests == f"import math\n{TESTS}"


def test_headings_in_programs_and_others_in_the_problem_are_none() -> None:
    text = GOOD.replace("    # Solution", "# Tests\n## Problem")
    assert "# Tests\n## Problem\n" in draft(text).solution
    text = GOOD.replace("`f(x)`.", "`f(x)`.\n\n#### Examples\nf(1) is 1.\n\n#### Notes\nNone.")
    assert draft(text).problem.endswith("#### Examples\nf(1) is 1.\n\n#### Notes\nNone.")


CASES = "### Problem\nAdd.\n### Solution\n```cpp\nint main() {}\n```\n### Cases\n"


@pytest.mark.parametrize(
    "cases",
    [
        "Input:\n```\n1 2\n```\nOutput:\n```\n3\n```\nInput:\n```\n```\nOutput:\n```\n0\n```\n",
        "```input\n1 2\n```\n```output\n3\n```\n```input\n```\n```output\n0\n```\n",
        "1.\n```\n1 2\n```\n```\n3\n```\n2.\n```\n```\n```\n0\n```\n",
        "**1**\nInput\n```text\n1 2\n```\nExpected:\n```text\n3\n```\n**2**\nstdin\n```\n```\nstdout\n```\n0\n```\n",
    ],
)
def test_cases(cases: str) -> None:
    assert draft(CASES + cases, language="cpp").cases == [
        {"stdin": "1 2\n", "stdout": "3\n"},
        {"stdin": "", "stdout": "0\n"},
    ]


@pytest.mark.parametrize(
    ("text", "finish", "kind"),
    [
        ("", "stop", "empty"),
        ("  \n", None, "empty"),
        ("<think>only that</think>", "stop", "empty"),
        ("<think>and never an end", "stop", "empty"),
        (GOOD, "length", "unfinished"),
        (GOOD, "content_filter", "refused"),
        ("I'm sorry, I can't do that.", "stop", "refused"),
        (GOOD.rstrip().removesuffix("```"), "stop", "unbalanced_fence"),
        (GOOD + GOOD, "stop", "repeated_section"),
        (GOOD.replace("### Problem\n", ""), "stop", "no_problem"),
        (GOOD.replace("Write `f(x)`.", ""), "stop", "no_problem"),
        ("Hello.", "stop", "no_problem"),
        (GOOD.replace(CODE, ""), "stop", "no_solution"),
        (f"### Problem\nx\n### Solution\n{CODE}\n### Tests\n```\n{TESTS}```", "stop", "no_solution"),
        (GOOD[: GOOD.index("### Tests")], "stop", "no_tests"),
        (GOOD.replace(TESTS, "\n"), "stop", "no_tests"),
        (CASES + "Input:\n```\n1\n```\n", "stop", "bad_cases"),
        (CASES + "Output:\n```\n1\n```\nInput:\n```\n1\n```\n", "stop", "bad_cases"),
        (CASES + "Input:\n```\n1\n```\nInput:\n```\n1\n```\n", "stop", "bad_cases"),
        (CASES, "stop", "no_tests"),
        ("\x00\ud800" * 9, "stop", "no_problem"),
    ],
)
def test_what_is_wrong_has_a_kind(text: str, finish: str | None, kind: str) -> None:
    assert parse_answer(text, finish, "python") == kind
    assert kind in KINDS


UNITS = [
    "### Problem\n",
    "```\n",
    "**a",
    "# " * 9,
    "<think>",
    "Input:\n```\n",
    "`" * 50 + "\n",
    "# Cases\n```\n```\n",
]


@pytest.mark.parametrize("unit", UNITS)
def test_a_hostile_answer_takes_no_long_time(unit: str) -> None:
    assert parse_answer(unit * (199_000 // len(unit)), "stop", "python") in KINDS
    assert parse_answer(unit * (400_000 // len(unit)), "stop", "python") in KINDS
