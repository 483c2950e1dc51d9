"""A stub in the prompt is no program: an answer that gives it no body is judged without it."""

import pytest

from stages.common.records import Task
from stages.extraction.code import extract_code

FUNCTION = 'def tidy(rows):\n    """Sort the rows in place."""\n'
METHOD = 'class Shelf:\n    def tidy(self, rows):\n        """Sort the rows in place."""\n'
OPEN = {
    "c": "#include <stddef.h>\nvoid tidy(int *rows, size_t n) {\n",
    "cpp": "class Shelf {\npublic:\n    void tidy(std::vector<int>& rows) {\n",
    "rust": "pub struct Shelf;\nimpl Shelf {\n    pub fn tidy(rows: &mut Vec<i32>) {\n",
}
ENDS = {"c": "", "cpp": "};\n", "rust": "}\n"}


def code_of(answer: str, prompt: str, entry: str, language: str = "python") -> str:
    """What is judged of an answer."""
    return extract_code(answer, Task("t", language, prompt, "v", entry, "", []))


BESIDE = [
    "import sys",
    "limit = 3\n",
    "tidy([2, 1])",
    "def sort(rows): return rows",
    "print('done')\n",
    "class A: pass\n",
]
BESIDE += ['    """Sorry."""\n', "    12\n", "    import sys\n", "    def inner(): return 1\n"]
BODIES = [
    "    pass\n",
    "    ...\n",
    "    rows.sort()\n",
    '    """Sorts."""\n    rows.sort()\n',
    "    import sys\n    rows.sort()\n",
]


@pytest.mark.parametrize("shape", ["{}", "```python\n{}\n```", "So:\n```\n{}\n```\nDone."])
@pytest.mark.parametrize("answer", BESIDE)
def test_code_beside_a_function(answer: str, shape: str) -> None:
    for prompt in (FUNCTION, "import math\n\n" + FUNCTION, FUNCTION + "    ...\n"):
        assert "def tidy" not in code_of(shape.format(answer), prompt, "tidy")


@pytest.mark.parametrize("body", BODIES)
def test_bodies_of_a_function(body: str) -> None:
    assert code_of(body, FUNCTION, "tidy") == FUNCTION + body
    assert code_of(f"```python\n{body}```", FUNCTION, "tidy") == FUNCTION + body


@pytest.mark.parametrize("entry", ["Shelf", "Shelf.tidy"])
@pytest.mark.parametrize(
    "answer", [*BESIDE, "def sort(self, rows): return rows\n", "    def sort(self, rows):\n        return rows\n"]
)
def test_code_beside_a_method(answer: str, entry: str) -> None:
    for text in (answer, f"```python\n{answer}```", answer.replace("    ", "        ")):
        assert "def tidy" not in code_of(text, METHOD, entry)


@pytest.mark.parametrize("entry", ["Shelf", "Shelf.tidy"])
def test_bodies_of_a_method(entry: str) -> None:
    again = "    def tidy(self, rows):\n        rows.sort()\n"
    more = "        rows.sort()\n\n    def size(self):\n        return 3\n"
    for body in ("        rows.sort()\n", "        pass\n", again, more):
        assert code_of(body, METHOD, entry) == METHOD + body
    empty = 'class Shelf:\n    """Has rows."""\n'
    assert code_of(again, empty, entry) == empty + again


CLOSED = [
    "}}\n{end}{other}",
    "// so\n}}\n{end}{other}",
    ";\n}}\n{end}{other}",
    "}}\n{other}{end}",
    "/* so */ }}{end}{other}",
]
OTHER = {"c": "int other(void) { return 1; }\n", "cpp": "int other() { return 1; }\n", "rust": "fn other() {}\n"}


@pytest.mark.parametrize("language", OPEN)
@pytest.mark.parametrize("shape", CLOSED)
def test_a_body_that_is_closed_at_once(shape: str, language: str) -> None:
    answer = shape.format(end=ENDS[language], other=OTHER[language])
    for entry in ("tidy",) if language == "c" else ("Shelf", "Shelf::tidy"):
        for text in (answer, f"```{language}\n{answer}```", answer.rstrip()):
            assert "tidy" not in code_of(text, OPEN[language], entry, language)


@pytest.mark.parametrize("directive", ["#include <stdio.h>", "#define MOST 3", "#pragma once"])
def test_a_directive_is_no_body(directive: str) -> None:
    for answer in (f"}}\n{directive}", f"{directive}\n}}\n", f'"Sorry.";\n}}\n{directive}\n'):
        assert "tidy" not in code_of(answer, OPEN["c"], "tidy", "c")


@pytest.mark.parametrize("language", OPEN)
def test_a_body_goes_on_from_the_brace(language: str) -> None:
    statement = {"c": "    if (n) rows[0] = 1;\n", "cpp": "    rows.clear();\n", "rust": "    rows.clear();\n"}[
        language
    ]
    answer = f"{statement}}}\n{ENDS[language]}"
    for entry in ("tidy",) if language == "c" else ("Shelf", "Shelf::tidy"):
        assert code_of(answer, OPEN[language], entry, language) == OPEN[language] + answer


PARTIAL = {
    "c": "int tally(int n) {\n    int sum = 0;\n",
    "cpp": "#include <vector>\nint tally(int n) {\n    int sum = 0;\n    while (n) {\n        sum += n--;\n",
    "rust": "fn tally(n: i32) -> i32 {\n    let sum = n;\n",
}
RESTS = {"c": "    return sum;\n}\n", "cpp": "    }\n    return sum;\n}\n", "rust": "    sum\n}\n"}


@pytest.mark.parametrize("language", PARTIAL)
def test_a_prompt_may_end_in_a_statement(language: str) -> None:
    prompt, rest = PARTIAL[language], RESTS[language]
    for answer in (rest, f"```{language}\n{rest}```\nDone."):
        assert code_of(answer, prompt, "tally", language) == prompt + rest
    full = prompt[prompt.index("int tally") if language != "rust" else 0 :] + rest
    found = code_of(full, prompt, "tally", language)
    assert found.endswith(full) and found.count("tally") == 1


def test_a_full_definition_before_its_excerpt() -> None:
    full = "def tidy(rows):\n    done = sorted(rows)\n    rows[:] = done\n"
    answer = f"```python\n{full}```\nThis sorts:\n```python\n    done = sorted(rows)\n```\n"
    assert code_of(answer, FUNCTION, "tidy") == full


def test_an_impl_gets_its_type() -> None:
    own = "impl Shelf {\n    pub fn tidy(rows: &mut Vec<i32>) {\n        rows.sort();\n    }\n}\n"
    for entry in ("Shelf", "Shelf::tidy"):
        for answer in (own, f"```rust\n{own}```", f"```rust\npub struct Shelf;\n{own}```"):
            found = code_of(answer, OPEN["rust"], entry, "rust")
            assert own in found and found.count("struct Shelf;") == 1 and found.count("fn tidy") == 1
    head = "class Shelf {\npublic:\n    int size(int n);\n};\n"
    method = "int Shelf::size(int n) { return n; }\n"
    for entry in ("Shelf", "Shelf::size"):
        assert code_of(method, f"{head}int Shelf::size(int n) {{\n", entry, "cpp") == head + method
