"""Programs in C, C++ and Rust that an answer gives in several blocks."""

import time

import pytest

from stages.common.records import Task
from stages.extraction.code import extract_code

HELPER = "#include <vector>\nstatic int pick(int a, int b) { return a > b ? a : b; }\n"
TOTAL = "int total(std::vector<int> xs) {\n    int best = 0;\n"
TOTAL += "    for (int x : xs) best = pick(best, x);\n    return best;\n}\n"
HEADER = "#ifndef STACK_H\n#define STACK_H\n#include <vector>\nclass Stack {\n    std::vector<int> xs;\npublic:\n"
HEADER += "    void push(int x);\n    int size() const { return xs.size(); }\n};\n#endif\n"
METHODS = '#include "stack.h"\nvoid Stack::push(int x) { xs.push_back(x); }\n'
STRUCT = "#[derive(Default)]\npub struct Stack { xs: Vec<i32> }\n"
IMPL = "impl Stack {\n    pub fn push(&mut self, x: i32) { self.xs.push(x); }\n}\n"
SHOW = "impl std::fmt::Display for Stack {\n"
SHOW += "    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { Ok(()) }\n}\n"


def code_of(blocks: list[str], language: str, entry: str | None = "total", prompt: str = "Write it.") -> str:
    """What is judged of an answer with these blocks."""
    text = "\nThen:\n".join(f"```{language}\n{block}```\n" for block in blocks)
    return extract_code(text, Task("t", language, prompt, "v", entry, "", []))


@pytest.mark.parametrize(
    ("language", "entry", "blocks", "order"),
    [
        ("cpp", "total", [HELPER, TOTAL], "0 1"),
        ("cpp", "total", [TOTAL, HELPER], "1 0"),
        ("cpp", "total", [HELPER, TOTAL, "int main() { return total({}); }\n"], "0 1"),
        ("cpp", "total", ["#include <vector>\n#include <string>\n", TOTAL.replace("pick", "std::max")], "0 1"),
        ("cpp", "total", ["int pick(int a, int b) { return a; }\n", HELPER, TOTAL], "1 2"),
        ("cpp", "total", [HELPER.replace("a >", "LIMIT + a >"), "#define LIMIT 3\n", TOTAL], "1 0 2"),
        ("cpp", "total", [HELPER, HELPER + TOTAL], "1"),
        ("cpp", "total", ["int other(int a) { return a; }\n", HELPER + TOTAL], "1"),
        ("cpp", "total", ["int best(int a) { return a; }\n", HELPER + TOTAL], "1"),
        ("cpp", "Stack", [HEADER, METHODS], "0 1"),
        ("cpp", "Stack", [METHODS, HEADER], "1 0"),
        ("cpp", "Stack", [HEADER, METHODS + "int main() { Stack s; s.push(1); }\n"], "0 1"),
        ("cpp", "Stack", [HEADER + METHODS.partition("\n")[2], HEADER], "0"),
        ("cpp", None, [HELPER, TOTAL + "int main() { return total({}); }\n"], "0 1"),
        ("c", "total", ["struct P { int x; };\n", "int total(struct P *p) { return p->x; }\n"], "0 1"),
        (
            "c",
            "total",
            ["typedef int P;\n", "P one(P p) { return p; }\n", "int total(int x) { return one(x); }\n"],
            "0 1 2",
        ),
        ("rust", "total", ["use std::cmp;\n", "fn total(x: i32) -> i32 { cmp::max(x, 0) }\n"], "0 1"),
        ("rust", "total", ["fn one() -> i32 { 1 }\n", "fn total(x: i32) -> i32 { vec![one(), x][0] }\n"], "0 1"),
        ("rust", "total", [STRUCT, IMPL, "fn total(s: Stack) -> i32 { 0 }\n"], "0 1 2"),
        ("rust", "Stack", [STRUCT, IMPL, SHOW], "0 2 1"),
        ("rust", "Stack", [STRUCT + IMPL, STRUCT], "0"),
        ("rust", "Stack", [STRUCT + IMPL, "fn main() { Stack::default().push(1); }\n"], "0"),
        ("rust", "Stack", [STRUCT, IMPL.replace("push(x)", "clear()"), IMPL], "0 2"),
    ],
)
def test_pieces_are_joined(language: str, entry: str | None, blocks: list[str], order: str) -> None:
    found = code_of(blocks, language, entry)
    expected = "".join(blocks[int(number)] for number in order.split()).replace('#include "stack.h"', "")
    assert "".join(found.split()) == "".join(expected.split())


def test_a_body_that_goes_on_from_the_prompt_stands_alone() -> None:
    prompt = "int pick(int);\nint total(int x) {\n"
    found = code_of(["int pick(int x) { return x; }\n", "    return pick(x);\n}\n"], "c", prompt=prompt)
    assert found == prompt + "    return pick(x);\n}\n"


@pytest.mark.parametrize("language", ["c", "cpp", "rust"])
@pytest.mark.parametrize(
    "block",
    [
        "int f{n}(int x) {{ return f{m}(x); }}\n",
        "fn f{n}() {{ f{m}() }}\n",
        "struct S{n} {{ S{m} *x; }};\n",
        "a{n} b{m}\n",
    ],
)
def test_many_blocks_take_linear_time(language: str, block: str) -> None:
    def took(number: int) -> float:
        blocks = [block.format(n=n, m=n + 1) for n in range(number)] + ["int total(int x) { return f0(x); }\n"]
        start = time.perf_counter()
        code_of(blocks, language)
        return time.perf_counter() - start

    took(10)
    assert took(1000) < 20 * took(100) + 1


def test_a_header_of_the_answers_own_comes_first() -> None:
    header = "#pragma once\nint half(int x);\nint total(int x);\n"
    own = '#include "total.h"\nint total(int x) { return half(x); }\nint half(int x) { return x / 2; }\n'
    for language in ("c", "cpp"):
        found = code_of([header, own], language)
        assert found.startswith(header) and '"total.h"' not in found and found.count("return half") == 1
    assert code_of([own], "c") == own
