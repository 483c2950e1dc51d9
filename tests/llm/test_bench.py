"""How examples are judged beside their own verdict: stubs that must fail, solutions that must compile clean."""

from typing import Any

import pytest

from stages.llm.bench import Bench, for_stubs
from stages.llm.examples import make_task
from stages.llm.parsing import Draft
from stages.settings.spec import SpecSettings
from stages.settings.verify import VerifySettings
from stages.verifiers import make
from tests.llm.specs import SPEC


def reasons(changes: dict[str, Any], *drafts: Draft, verify: dict[str, Any] | None = None) -> list[str]:
    spec = SpecSettings.parse({**SPEC, **changes}, "spec")
    settings = VerifySettings.parse({"cache": False, **(verify or {})}, "verify")
    if trouble := make(spec.verifier, settings).check():
        pytest.skip(trouble)
    bench = Bench(spec, settings)
    return list(bench.judge([make_task(draft, spec, f"t/{n}", {}) for n, draft in enumerate(drafts)]).values())


PYTHON_STUBS = {
    "f(1) == [1]": "",
    "f(1) is not None": "passes_stub",
    "isinstance(f(1), list)": "passes_stub",
    "f(1)": "passes_stub",
    "f(1) != f(2)": "passes_stub",  # as its argument does
    "f(1) == [2]": "wrong_answer",
}


def test_python_tests_that_a_stub_passes_are_refused() -> None:
    solution = "def f(x):\n    return [x]\n"
    found = reasons({}, *(Draft("f", solution, f"assert {test}\n") for test in PYTHON_STUBS))
    assert dict(zip(PYTHON_STUBS, found, strict=True)) == PYTHON_STUBS


def test_tests_that_wait_for_an_exception_alone_are_refused() -> None:
    solution = "def f(x):\n    if x < 0:\n        raise ValueError(x)\n    return x * 2\n"
    raises = "import pytest\ndef test_f():\n    with pytest.raises({}):\n        f(-1)\n{}"
    tests = [raises.format(kind, "") for kind in ("ValueError", "Exception")]
    assert reasons({}, *(Draft("f", solution, t) for t in tests)) == ["passes_stub"] * 2
    assert reasons({}, Draft("f", solution, raises.format("ValueError", "    assert f(2) == 4\n"))) == [""]


def test_each_entry_point_is_stubbed_alone() -> None:
    """A helper that is tested beside it must not hide that it is not."""
    solution = "def f(x):\n    return g(x) + 1\n\ndef g(x):\n    return 3 * x\n"
    weak = "assert f(1) is not f\nassert g(1) == 3\n"
    found = reasons({}, Draft("f g", solution, weak), Draft("f g", solution, "assert f(1) == 4\nassert g(1) == 3\n"))
    assert found == ["passes_stub", ""]


def test_constructors_generators_and_lambdas() -> None:
    counter = "class C:\n    def __init__(self):\n        self.n = 0\n    def add(self):\n        self.n += 1\n"
    good = "c = C()\nc.add()\nassert c.n == 1\n"
    generator = "def f(xs):\n    for x in xs:\n        if x > 0:\n            yield x\n"
    found = reasons(
        {},
        Draft("C", counter, good),
        Draft("C", counter, "assert C().n == 0\nassert C().add() is None\n"),
        Draft("C", "class C:\n    def __init__(self, n):\n        self.n = n\n", "assert C(3).n == 3\n"),
        Draft("f", generator, "assert list(f([1, -1])) == [1]\n"),
        Draft("f", generator, "assert list(f([-1])) == []\n"),
        Draft("f", "f = lambda x: x + 1\n", "assert f(1) == 2\n"),
        Draft("f", "f = lambda x: x + 1\n", "assert f(1) > 0\n"),
    )
    assert found == ["", "passes_stub", "", "", "passes_stub", "", "passes_stub"]


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


STRICT = {"gcc": {"flags": ["-O1", "-Wall", "-Wextra", "-Werror"]}}
C_SOLUTION = """#include <stddef.h>
static const int unit = 1;
static size_t step(size_t x, size_t by) { return x + by * unit; }
size_t f(size_t x) { return step(x, 1); }
void g(int *x) { *x += 2; }
"""
C_MAIN = "#include <assert.h>\nint main(void) {{\n    {}\n    return 0;\n}}\n"
CPP_SOLUTION = """#include <string>
#include <vector>
namespace { template <class T> T same(T x) { return x; } }
std::string f(const std::string& s) { return same(s) + "!"; }
std::vector<int> g(std::vector<int> xs) { if (!xs.empty()) xs.pop_back(); return xs; }
class Box {
  public:
    explicit Box(int x) : v(x) {}
    Box& add(int k) { v += k; return *this; }
    int get() const { return v; }
    bool operator==(const Box& o) const { return v == o.v; }
  private:
    int v;
};
"""
CPP_MAIN = "#include <cassert>\n#include <stdexcept>\nint main() {{\n    {}\n}}\n"
RUST_SOLUTION = """use std::collections::HashMap;
pub fn f(x: &[u32]) -> Vec<u32> { x.iter().map(|v| v + 1).collect() }
pub fn g(s: &str) -> Result<u64, String> { s.parse::<u64>().map_err(|e| e.to_string()) }
pub struct Count { seen: HashMap<String, usize> }
impl Count {
    pub fn new() -> Self { Count { seen: HashMap::new() } }
    pub fn add(&mut self, s: &str) -> usize { let n = self.seen.entry(s.into()).or_insert(0); *n += 1; *n }
}
pub fn odd(x: u8) -> impl Fn(u8) -> bool { move |y| (x + y) % 2 == 1 }
"""
RUST_MAIN = "#[test]\nfn t() {{\n    {}\n}}\n"
WEAK = {
    ("c", "gcc"): [
        ("assert(f(1) == 2); int x = 1; g(&x); assert(x == 3);", ""),
        ("assert(f(1) >= 1);", "passes_stub"),
        ("assert(f(0) < 9); int x = 1; g(&x);", "passes_stub"),
        ("int x = 5; g(&x); assert(x >= 5);", "passes_stub"),
        ("assert(f(1) == 3);", "wrong_answer"),
    ],
    ("cpp", "gcc"): [
        ('assert(f("a") == "a!"); assert(g({1, 2}) == std::vector<int>{1});', ""),
        ('assert(f("a").size() < 9);', "passes_stub"),
        ("assert(f(\"a\")[0] == 'a');", "passes_stub"),
        ("assert(g({}).empty());", "passes_stub"),
        ("assert(Box(1).add(2).get() == 3); assert(Box(1) == Box(1)); assert(!(Box(1) == Box(2)));", ""),
        ("assert(Box(1) == Box(1));", "passes_stub"),
    ],
    ("rust", "rust"): [
        ('assert_eq!(f(&[1]), vec![2]); assert_eq!(g("7"), Ok(7)); assert!(g("x").is_err());', ""),
        ("assert!(f(&[]).is_empty());", "passes_stub"),
        ("assert_eq!(f(&[1]).len(), 1);", "passes_stub"),
        ('assert!(g("7").is_ok());', "passes_stub"),
        ('let mut c = Count::new(); assert_eq!(c.add("a"), 1); assert_eq!(c.add("a"), 2);', ""),
        ('let mut c = Count::new(); assert_eq!(c.add("a"), 1);', "passes_stub"),
    ],
}
FORMS = {"c": (C_SOLUTION, C_MAIN), "cpp": (CPP_SOLUTION, CPP_MAIN), "rust": (RUST_SOLUTION, RUST_MAIN)}


@pytest.mark.parametrize(("language", "verifier"), WEAK)
def test_compiled_tests_that_a_stub_passes_are_refused(language: str, verifier: str) -> None:
    """Also where warnings are errors: a stub's parameters and helpers are not used."""
    solution, form = FORMS[language]
    cases = WEAK[language, verifier]
    changes = {"language": language, "verifier": verifier}
    found = reasons(changes, *(Draft("f", solution, form.format(test)) for test, _ in cases), verify=STRICT)
    assert dict(zip((test for test, _ in cases), found, strict=True)) == dict(cases)


def test_a_stub_that_does_not_compile_is_no_evidence() -> None:
    solution = "template <class T> auto f(T x) { return [x](int y) { return x + y; }; }\n"
    tests = CPP_MAIN.format("assert(f(1)(2) == 3);")
    assert reasons({"language": "cpp", "verifier": "gcc"}, Draft("f", solution, tests)) == [""]


def test_a_stub_that_loops_ends_by_a_short_limit() -> None:
    solution = "class S:\n    def __init__(self, n):\n        self.n = n\n    def left(self):\n        self.n -= 1\n"
    solution += "        return self.n\n"
    tests = "s = S(3)\nwhile s.left() != 0:\n    pass\nassert s.n == 0\n"
    assert for_stubs(VerifySettings()).limits.cpu_seconds <= 2
    assert reasons({}, Draft("S", solution, tests)) == [""]
