"""A bare method as the answer to a prompt with a class in C++, or an `impl` in Rust."""

import pytest

from stages.common.records import Task
from stages.extraction.code import extract_code

CPP = "#include <vector>\nusing namespace std;\nclass Solution {\n    int base = 0;\npublic:\n"
CPP += "    int total(vector<int>& xs)"
RUST = "use std::cmp;\npub struct Solution;\nimpl Solution {\n    pub fn total(xs: Vec<i32>) -> i32"
METHODS = {
    "cpp": "int total(vector<int>& xs) {\n    return xs.empty() ? base : xs[0];\n}\n",
    "rust": "pub fn total(xs: Vec<i32>) -> i32 {\n    cmp::max(xs.len() as i32, 1)\n}\n",
}
STUBS = {
    "cpp": [CPP + end for end in (" {\n", " {\n    }\n};\n", ";\n};\n", " {\n        // here\n    }\n};\n")],
    "rust": [RUST + end for end in (" {\n", " {\n    }\n}\n", " {\n        todo!()\n    }\n}\n")],
}
CASES = [(language, stub) for language, stubs in STUBS.items() for stub in stubs]
HELPER = {"cpp": "int twice(int x) { return 2 * x; }\n", "rust": "fn twice(x: i32) -> i32 { 2 * x }\n"}
IMPORT = {"cpp": "#include <map>\n", "rust": "use std::cmp;\nuse std::fmt;\n"}
MAIN = {
    "cpp": "int main() { vector<int> v; return Solution().total(v); }\n",
    "rust": "fn main() { Solution::total(vec![]); }\n",
}


def code_of(completion: str, language: str, prompt: str, entry: str) -> str:
    """What is judged of a completion."""
    return extract_code(completion, Task("t", language, prompt, "v", entry, "", []))


@pytest.mark.parametrize("entry", ["Solution", "Solution.total", "Solution::total"])
@pytest.mark.parametrize(("language", "prompt"), CASES)
@pytest.mark.parametrize(
    "shape", ["{}", "```{tag}\n{}```", "```\n{}```\n", "```{tag}\n{}{main}```", "{import}{}", "{helper}{}"]
)
def test_a_bare_method_takes_the_place_of_the_stub(shape: str, language: str, prompt: str, entry: str) -> None:
    method = METHODS[language]
    said = {"tag": language, "main": MAIN[language], "import": IMPORT[language], "helper": HELPER[language]}
    found = code_of(shape.format(method, **said), language, prompt, entry)
    assert found.count("total(") == 1 + found.count("main()")
    assert method.strip() in found
    head, _, tail = found.partition(method.strip())
    opening = "class Solution {" if language == "cpp" else "impl Solution {"
    assert head.count(opening) == 1 and tail.lstrip().startswith("}")
    assert found.count(IMPORT[language].splitlines()[0]) <= 1
    if "{import}" in shape:
        assert found.index(IMPORT[language].splitlines()[-1]) < found.index(opening)


@pytest.mark.parametrize(("language", "prompt"), CASES)
def test_a_bare_method_that_closes_the_class_as_well(language: str, prompt: str) -> None:
    text = METHODS[language] + ("};\n" if language == "cpp" else "}\n")
    found = code_of(text, language, prompt, "Solution")
    assert found.count("total(") == 1
    assert found.count("{") == found.count("}")


def test_a_method_of_self_stays_in_the_impl() -> None:
    prompt = "struct Bag { xs: Vec<i32> }\nimpl Bag {\n    fn total(&self) -> i32 {\n"
    code = "fn one(&self) -> i32 { 1 }\nfn two() -> i32 { 2 }\nfn total(&self) -> i32 { self.one() + two() }\n"
    found = code_of(f"```rust\n{code}```", "rust", prompt, "Bag")
    head, _, inside = found.partition("impl Bag {")
    assert "fn two" in head and "fn one" in inside and "fn total" in inside and "struct Bag" in found


@pytest.mark.parametrize("language", STUBS)
def test_what_is_no_open_method_is_not_put_in(language: str) -> None:
    full = STUBS[language][0] + "        return 1;\n    }\n};\n"
    full = full if language == "cpp" else full.replace("};", "}")
    for code in (METHODS[language], METHODS[language].replace("total", "other")):
        assert "class Solution" not in (found := code_of(code, language, full, "Solution")) or code not in found
    assert METHODS[language] == code_of(METHODS[language], language, "Write total.", "Solution")
