"""How examples are judged beside their own verdict: stubs that must fail, solutions that must compile clean."""

from typing import Any

import pytest

from stages.llm.examples import make_task
from stages.llm.parsing import Draft
from stages.llm.rounds import Bench
from stages.settings.spec import SpecSettings
from stages.settings.verify import VerifySettings
from stages.verifiers import make
from tests.llm.specs import SPEC


def reasons(changes: dict[str, Any], *drafts: Draft) -> list[str]:
    spec = SpecSettings.parse({**SPEC, **changes}, "spec")
    settings = VerifySettings(cache=False)
    if trouble := make(spec.verifier, settings).check():
        pytest.skip(trouble)
    bench = Bench(spec, settings)
    return list(bench.judge([make_task(draft, spec, f"t/{n}", {}) for n, draft in enumerate(drafts)]).values())


def test_python_tests_that_a_stub_passes_are_weak() -> None:
    solution = "def f(x):\n    return [x]\n"
    tests = ["f(1) == [1]", "f(1) is not None", "isinstance(f(1), list)", "f(1)", "f(1) == [2]"]
    found = reasons({}, *(Draft("f", solution, f"assert {test}\n") for test in tests))
    assert found == ["", "weak_tests", "weak_tests", "weak_tests", "wrong_answer"]


def test_work_in_place_is_no_stub() -> None:
    solution = "def f(xs):\n    xs.sort()\n"
    tests = "def test_f():\n    xs = [2, 1]\n    assert f(xs) is None\n    assert xs == [1, 2]\n"
    assert reasons({}, Draft("f", solution, tests)) == [""]


C_TESTS = "#include <assert.h>\nint main(void) {\n    assert(f(1) == 2);\n    return 0;\n}\n"
RUST_TESTS = "#[test]\nfn t() {\n    assert_eq!(f(1), 2);\n}\n"


@pytest.mark.parametrize(
    ("language", "verifier", "tests", "solutions"),
    [
        (
            "c",
            "gcc",
            C_TESTS,
            [
                "int f(int x) { return x + 1; }\n",
                "int f(int x) { int y; return ++x; }\n",
                "int f(int x) { return x; }\n",
            ],
        ),
        (
            "rust",
            "rust",
            RUST_TESTS,
            [
                "pub fn f(x: i32) -> i32 { x + 1 }\n",
                "pub fn f(x: i32) -> i32 { let y = 1; x + 1 }\n",
                "pub fn f(x: i32) -> i32 { x }\n",
            ],
        ),
    ],
)
def test_clean_means_no_warning(language: str, verifier: str, tests: str, solutions: list[str]) -> None:
    changes = {"language": language, "verifier": verifier, "clean": True}
    found = reasons(changes, *(Draft("f", solution, tests) for solution in solutions))
    assert found == ["", "not_clean", "wrong_answer" if language == "rust" else found[2]]
    assert found[2]
