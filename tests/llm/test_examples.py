"""What drafts are refused for, before and beside their verdict."""

import time
from typing import Any

import pytest

from stages.llm.examples import Seen, defined_names, make_task, unfit
from stages.llm.parsing import Draft
from stages.llm.stubs import stubs_of
from stages.settings.data import DuplicateSettings
from stages.settings.spec import SpecSettings
from tests.llm.specs import SPEC

RUST = """use std::sync::Arc;
pub(crate) struct Gate { inner: Arc<()> }
impl Gate {
    pub fn new() -> Self { Gate { inner: Arc::new(()) } }
}
pub async fn pass(gate: &Gate) {}
const LIMIT: usize = 3;
"""
C = """#include <stddef.h>
#define MOST 4
typedef struct { int x; } point;
typedef struct {
    int y;
} other;
typedef unsigned long word;
typedef int (*compare)(int, int);
struct list { struct list *next; };
static int helper(int x) {
    if (x) { return 1; }
    return 0;
}
struct list *push(struct list *head,
                  int value) {
    return head;
}
int main(void) { return helper(1); }
"""


@pytest.mark.parametrize(
    ("language", "code", "names"),
    [
        ("python", "import os\nX = 1\nclass A:\n    def m(self): ...\nasync def f(): ...\n", ["X", "A", "f"]),
        ("python", "def f(:\n", []),
        ("rust", RUST, ["Gate", "pass", "LIMIT"]),
        ("c", C, ["MOST", "point", "other", "word", "compare", "list", "helper", "push"]),
        ("cpp", "template <typename T>\nT twice(T x) {\n    return x + x;\n}\nclass Box {};\n", ["twice", "Box"]),
    ],
)
def test_names_at_the_top_level(language: str, code: str, names: list[str]) -> None:
    assert defined_names(code, language) == names


def spec(**changes: Any) -> SpecSettings:
    return SpecSettings.parse({**SPEC, **changes}, "spec")


GOOD = Draft("Write f(x).", "def f(x):\n    return x + 1\n", "assert f(1) == 2\n")
OUTS = [{"stdin": "1\n", "stdout": "2\n"}, {"stdin": "2\n", "stdout": "3\n"}]


@pytest.mark.parametrize(
    ("draft", "changes", "reason"),
    [
        (GOOD, {}, None),
        (GOOD, {"required": [r"^def \w+\(x\)"]}, None),
        (GOOD, {"required": ["lambda"]}, "lacks_required"),
        (GOOD, {"forbidden": [r"\breturn\b"]}, "matches_forbidden"),
        (GOOD, {"categories": {"small": {"description": "x", "required": ["yield"]}}}, "lacks_required"),
        (Draft("Write f(x).", GOOD.solution, "assert 1 + 1 == 2\n"), {}, "weak_tests"),
        (Draft("Write f(x).", GOOD.solution, "f(1)\n"), {}, "weak_tests"),
        (Draft("Write a function.", GOOD.solution, GOOD.tests), {}, "unnamed"),
        (Draft("p", "s", "", OUTS), {}, "has_cases"),
        (Draft("p", "s", "", OUTS), {"style": "either", "min_cases": 2}, None),
        (Draft("p", "s", "", OUTS), {"style": "either", "min_cases": 3}, "too_few_cases"),
        (Draft("p", "s", "", [{"stdin": c, "stdout": c + "\n"} for c in "abc"]), {"style": "either"}, "weak_tests"),
        (Draft("p", "s", "", [*OUTS, {"stdin": "3", "stdout": " \n"}]), {"style": "either"}, "weak_tests"),
        (
            Draft("p", "s", "", [{**c, "stdout": "7 \n"} for c in OUTS]),
            {"style": "either", "min_cases": 2},
            "weak_tests",
        ),
    ],
)
def test_unfit(draft: Draft, changes: dict[str, Any], reason: str | None) -> None:
    assert unfit(draft, spec(**changes), "small") == reason


@pytest.mark.parametrize("unit", ["a b(\n", "typedef a\n", "struct a\n", "a b(x) c\n", "} x\n"])
def test_names_of_a_hostile_program_take_no_long_time(unit: str) -> None:
    assert len(defined_names(unit * (200_000 // len(unit)), "c")) < 9


def test_duplicates_in_all_but_layout() -> None:
    first = make_task(GOOD, spec(), "a/1", {})
    seen = Seen(DuplicateSettings(), [first])
    again = Draft("Another f(x).", "def f( x ):\n\n        return x+1", GOOD.tests)
    assert seen.duplicate_of(make_task(again, spec(), "a/2", {})) == "a/1"
    told = Draft("write  F(x).\n", "def f(x):\n    return 1 + x\n", GOOD.tests)
    assert seen.duplicate_of(make_task(told, spec(), "a/3", {})) == "a/1"
    other = Draft("Write g(x).", "def g(x):\n    return x + 2\n", "assert g(1) == 3\n")
    assert seen.duplicate_of(make_task(other, spec(), "a/4", {})) is None


def test_code_that_is_nested_too_deeply_is_no_example() -> None:
    """It must not end the stage: its answer is kept, and would end each later run as well."""
    deep = "def f():\n    return " + "+".join(["'a'"] * 3000) + "\n"
    stubs = stubs_of(deep, "python", None)
    assert stubs is None or all("'a'" not in stub.code for stub in stubs)


@pytest.mark.parametrize("language", ["c", "cpp", "rust", "python"])
@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "{" * 100_000,
        "a<" * 50_000,
        "#[derive(" * 20_000,
        "int " + "*" * 50_000 + "f(int x) { return 0; }\n",
    ],
)
def test_stubs_of_hostile_programs_take_no_long_time(language: str, text: str) -> None:
    began = time.process_time()
    stubs_of(text, language, "f")
    assert time.process_time() - began < 20
