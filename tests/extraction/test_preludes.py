"""Prompts that are code: what goes on from them, and what they bring to an answer that defines the entry point."""

import re

import pytest

from stages.common.records import Task
from stages.extraction.code import extract_code
from stages.extraction.definitions import without_main

HEADS = {
    "python": 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """Sum."""\n',
    "c": "#include <stdlib.h>\n/* Sum. */\nint total(int *xs, int n){\n",
    "cpp": "#include<vector>\nusing namespace std;\n// Sum.\nint total(vector<int> xs){ // of all\n",
    "rust": "use std::collections::HashMap;\n/// Sum.\nfn total(xs: Vec<i32>) -> i32 {\n",
}
BODIES = {
    "python": "    if not xs:\n        return 0\n    return xs[0] + total(xs[1:])\n",
    "c": "    if (n == 0) return 0;\n    return xs[0] + total(xs + 1, n - 1);\n}\n",
    "cpp": "    if (xs.empty()) return 0;\n    int x = xs.back(); xs.pop_back();\n    return x + total(xs);\n}\n",
    "rust": "    if xs.is_empty() { return 0; }\n    xs[0] + total(xs[1..].to_vec())\n}\n",
}
MAINS = {
    "python": "print(total([1]))\n",
    "c": "int main(void) { return total(0, 0); }\n",
    "cpp": "int main() { return total({}); }\n",
    "rust": "fn main() { total(vec![]); }\n",
}
COMMENT = {
    "python": "# total([]) is 0\n",
    "c": "// total(x) is 0\n",
    "cpp": "// total({}) is 0\n",
    "rust": "// total(x)\n",
}
FULL = {language: head.splitlines(keepends=True)[-1] + BODIES[language] for language, head in HEADS.items()}
FULL["python"] = "def total(xs: List[int]) -> int:\n" + BODIES["python"]


def code_of(completion: str, language: str, prompt: str | None = None, entry: str | None = "total") -> str:
    """What is judged of a completion."""
    prompt = HEADS[language] if prompt is None else prompt
    return extract_code(completion, Task("t", language, prompt, "v", entry, "", []))


@pytest.mark.parametrize("language", HEADS)
@pytest.mark.parametrize(
    "shape",
    [
        "{body}",
        "```{tag}\n{body}```\n",
        "Go on like this:\n```\n{body}```\nDone.",
        "{body}```\n\nThat is all, total(xs).\n",
        "{body}```\n\nUsage:\n```{tag}\n{main}```\n",
        "```{tag}\n{body}```\nUsage:\n```{tag}\n{main}```\n",
        "<think>\nhm\n</think>\n{body}",
        "\ufeff{body}",
        "{body}\n{main}",
        "{body}\n{comment}",
        "```{tag}\n{body}{comment}```",
        "```{tag}\n{body}{main}```",
    ],
)
def test_continuation(shape: str, language: str) -> None:
    said = {"body": BODIES[language], "main": MAINS[language], "tag": language, "comment": COMMENT[language]}
    found = code_of(shape.format(**said), language)
    assert "".join(found.split()).startswith("".join((HEADS[language] + BODIES[language]).split()))
    assert not found.count("```")


@pytest.mark.parametrize("language", HEADS)
@pytest.mark.parametrize("shape", ["{full}", "```{tag}\n{full}```", "```{tag}\n{full}\n{main}```", "{full}\n{comment}"])
def test_a_bare_definition_gets_what_precedes_it(shape: str, language: str) -> None:
    said = {"full": FULL[language], "main": MAINS[language], "tag": language, "comment": COMMENT[language]}
    found = code_of(shape.format(**said), language)
    first = HEADS[language].splitlines()[0]
    assert found.count(first) == 1
    assert found.count(FULL[language].strip()) == 1


@pytest.mark.parametrize("language", HEADS)
def test_a_whole_program_is_not_doubled(language: str) -> None:
    whole = HEADS[language] + BODIES[language]
    for text in (whole, f"```{language}\n{whole}```"):
        found = code_of(text, language)
        for line in HEADS[language].splitlines():
            if line.strip() and language != "python":
                assert found.count(line) == 1
        assert found.endswith(whole)


NOTHING = [
    "",
    " ",
    "\n",
    "\ufeff",
    "```\n```",
    "```{tag}\n```",
    "```{tag}\n\n```",
    "Here:\n```{tag}\n```\n",
    "```{tag}",
]
NOTHING += ["<think>", "<think>\nWe need", "<think>so</think>", "<think>so</think>\n\n", "hm\n</think>\n", "~~~\n~~~"]
NOTHING += ["```{tag}\n\n```", "```bash\nls\n```", "<think>\n```{tag}\n{full}```\n"]


@pytest.mark.parametrize("language", [*HEADS, "java"])
@pytest.mark.parametrize("answer", NOTHING)
def test_no_code_is_no_code(answer: str, language: str) -> None:
    text = answer.format(tag=language, full=FULL.get(language, "x"))
    for prompt in (HEADS.get(language, "int total(int x) {\n"), "Write total.", ""):
        for entry in ("total", None, "Solution.total"):
            if "bash" not in text or language in HEADS:
                assert code_of(text, language, prompt, entry) == ""
    if language in COMMENT:
        assert code_of(f"```{language}\n{COMMENT[language]}```", language) == ""


CLASS = "from typing import List\n\nclass Solution:\n    def two(self, xs: List[int], t: int) -> List[int]:\n"
CLASS_DOC = CLASS + '        """Two."""\n'
METHOD = "        for x in xs:\n            if t - x in xs:\n                return self.two(xs, t)\n"


@pytest.mark.parametrize("entry", ["Solution", "Solution.two"])
@pytest.mark.parametrize("prompt", [CLASS, CLASS_DOC])
def test_a_class_with_a_stub(prompt: str, entry: str) -> None:
    whole = CLASS.partition("\n\n")[2] + METHOD
    for text in (METHOD, f"```python\n{METHOD}```"):
        assert code_of(text, "python", prompt, entry) == prompt + METHOD
    for text in (whole, f"```python\n{whole}```", f"```python\n{whole}\nprint(Solution().two([], 1))\n```"):
        found = code_of(text, "python", prompt, entry)
        assert found.startswith("from typing import List\n\nclass Solution")
        assert found.count("class Solution") == 1


def test_future_imports_stay_in_front() -> None:
    own = "from __future__ import annotations\ndef total(xs):\n    return sum(xs)\n"
    found = code_of(own, "python")
    assert found == "from __future__ import annotations\nfrom typing import List\n\n\n" + own.partition("\n")[2]
    both = "from __future__ import annotations\nimport math\ndef total(xs):\n"
    found = code_of(own, "python", both)
    compile(found, "found", "exec")
    assert "import math" in found


RUST = "use std::collections::{HashMap, HashSet as Set};\nuse std::fmt;\nstruct P { x: i32 }\nfn main() {}\n"
RUST += "fn help(x: i32) -> i32 { x }\nfn total(x: i32) -> i32 {\n"


def test_rust_imports_are_not_doubled() -> None:
    own = "#![allow(dead_code)]\nuse std::collections::HashMap;\nstruct P { x: i32, y: i32 }\n"
    own += "fn total(x: i32) -> i32 { help(x) }\nfn main() { total(1); }\n"
    found = code_of(own, "rust", RUST)
    assert found.startswith(own)
    added = found.removeprefix(own)
    assert "HashMap" not in added and "struct P" not in added and "main" not in added
    assert "use std::collections::HashSet as Set;" in added and "use std::fmt;" in added and "fn help" in added


CPP = "#include <string>\nusing namespace std;\nstruct P { int x; };\nint help(int x){ return x; }\nint total(int x){\n"


def test_cpp_helpers_are_not_doubled() -> None:
    own = "struct P { int x; int y; };\nint total(int x){ return help(x); }\n"
    found = code_of(own, "cpp", CPP)
    assert found == "#include <string>\nusing namespace std;\nint help(int x){ return x; }\n" + own
    qualified = "#include <vector>\nint help(int x){ return x; }\nstruct P { int x; };\n"
    qualified += "int total(int x){ std::vector<int> v; return x; }\n"
    first, rest = "#include <vector>\n", qualified.partition("\n")[2]
    front = "#include <string>\n"
    assert code_of(qualified, "cpp", CPP) == f"{front}{first}using namespace std;\n{rest}"
    clashing = qualified.replace("int x; }", "int x; int count(); }") + "int count;\n"
    assert code_of(clashing, "cpp", CPP) == f"{front}{clashing}\nusing namespace std;\n"
    needing = clashing.replace("P { ", "P { string s; ")
    assert code_of(needing, "cpp", CPP).startswith(f"{front}{first}using namespace std;\n")


TYPES = "#include <stdbool.h>\ntypedef struct { int x; } State;\n#define BIG(a) ((a) > 1)\n"
TYPES += "static bool step(State *s) { return BIG(s->x); }\ntypedef State Row;\nint total(int x) {\n"


@pytest.mark.parametrize(
    ("own", "order"),
    [
        ("#include <stdio.h>\n#include <stdbool.h>\n", "stdio stdbool State; BIG( step( Row; total("),
        ("#include <stdbool.h>\ntypedef struct State { int x; } State;\n", "stdbool BIG( State; step( Row; total("),
        ("typedef struct State { int x; } State;\n", "stdbool BIG( State; step( Row; total("),
        (
            "#define BIG(a) (a)\nstatic int twice(Row *r) { return 2; }\n",
            "stdbool State; Row; BIG( step( twice( total(",
        ),
        ("static int twice(int r) { return 2; }\n#include <stdbool.h>\n", "State; step( Row; total("),
        ("static bool step();\n", "State; step( total("),
        ("#define _GNU_SOURCE\n#include <math.h>\n", "_GNU stdbool math State; BIG("),
    ],
)
@pytest.mark.parametrize("language", ["c", "cpp"])
def test_helpers_stand_behind_what_they_need(own: str, order: str, language: str) -> None:
    found = code_of(own + "int total(int x) { return x; }\n", language, TYPES)
    at = 0
    for word in order.split():
        at = found.index(word, at)
    assert len(re.findall(r"^typedef struct", found, re.MULTILINE)) == 1
    assert found.count("define BIG") == 1 and found.count("int total(") == 1


@pytest.mark.parametrize("language", ["c", "cpp", "rust"])
def test_a_definition_with_an_error_is_no_continuation(language: str) -> None:
    """A parser finds no function where brackets do not match; the answer says the prompt's head again all the same."""
    whole = HEADS[language] + BODIES[language].rstrip().removesuffix("}") + "    (((\n"
    for text in (whole, whole + "}\n", f"```{language}\n{whole}}}\n```"):
        found = code_of(text, language)
        assert found.count(HEADS[language].splitlines()[-1]) == 1


def test_a_prototype_is_no_definition() -> None:
    found = code_of("int total(int x);\n    return x;\n}\n", "cpp", CPP)
    assert found.startswith(CPP)


def test_documentation_is_part_of_an_item() -> None:
    """What is blanked out or moved takes its documentation along, and that of the entry point stays with it."""
    code = "fn total(x: i32) -> i32 { x }\n/// Shows it.\n#[allow(dead_code)] // so\n/** Once. */\n"
    code += "fn main() { total(1); }\n"
    assert without_main(code, "rust") == code
    code = code.replace("#[allow(dead_code)] // so\n", "")
    assert without_main(code, "rust").strip() == "fn total(x: i32) -> i32 { x }"
    prompt = "/// Helps.\nfn help(x: i32) -> i32 { x }\n/// Sums.\nfn total(x: i32) -> i32 {\n"
    found = code_of("fn total(x: i32) -> i32 { help(x) }\n", "rust", prompt)
    assert found.count("/// Helps.\nfn help") == 1 and "Sums" not in found


INNER = "mod inner {\n    pub fn total(x: i32) -> i32 { x }\n    pub struct P;\n}\n"


@pytest.mark.parametrize(
    "use", ["pub use inner::total;", "use self::inner::{P, total};", "use inner::*;", "use inner::P as total;"]
)
def test_a_use_may_define(use: str) -> None:
    for code in (INNER + use, f"{use}\n{INNER}", f"```rust\n{INNER}{use}\n```"):
        assert "fn total(xs" not in code_of(code, "rust")


def test_a_use_of_others_is_no_definition() -> None:
    code = f"```rust\n{FULL['rust']}```\n```rust\nuse solution::total;\nuse inner2::total as total;\n```\n"
    assert FULL["rust"] in code_of(code, "rust")


@pytest.mark.parametrize("language", ["c", "cpp", "rust"])
@pytest.mark.parametrize("code", ["}", "}\n", " };\n", "// done\n}", "/* x */ }\n}", "```\n}\n```"])
def test_a_closing_bracket_is_no_code(code: str, language: str) -> None:
    assert code_of(code, language) == ""
