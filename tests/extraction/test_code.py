"""What counts as the code of a completion."""

import time

import pytest

from stages.common.records import Task
from stages.extraction.code import extract_code

PROMPT = 'def add(a, b):\n    """Add."""\n'


def code(completion: str, prompt: str = "Write add.", entry_point: str | None = "add", language: str = "python") -> str:
    """The code that a task with these fields gets out of the completion."""
    return extract_code(completion, Task("t", language, prompt, "pytest", entry_point, "", []))


DEFINED = "def add(a, b):\n    return a + b\n"
TABLE = {
    "whole text": (DEFINED, DEFINED),
    "one block": (f"Sure:\n```python\n{DEFINED}```\nDone.", DEFINED),
    "block without a tag": (f"```\n{DEFINED}```", DEFINED),
    "block of another tag": (f"```javascript\n{DEFINED}```", DEFINED),
    "block without an end": (f"```python\n{DEFINED}", DEFINED),
    "tildes": (f"~~~py\n{DEFINED}~~~", DEFINED),
    "longer fence around a shorter one": (f"````python\n{DEFINED}#```\n```\n````", f"{DEFINED}#```\n```\n"),
    "windows line ends": (f"```python\r\n{DEFINED}```\r\n", DEFINED),
    "inline code is no block": (f"Use ```x``` here.\n```python\n{DEFINED}```", DEFINED),
    "the defining block, not the longest": (
        f"```python\n{DEFINED}```\n```python\nprint(add(1, 2))\nprint(add(2, 3))\nprint(add(3, 4))\n```",
        DEFINED,
    ),
    "the last of two defining blocks": (f"```python\ndef add(a, b): ...\n```\n```python\n{DEFINED}```", DEFINED),
    "own language before another": (f"```python\n{DEFINED}```\n```text\ndef add(a, b): like this\n```", DEFINED),
    "block in a list": ("1. So:\n   ```python\n   def add(a, b):\n       return a + b\n   ```", DEFINED),
    "a start inside a block": (f"{DEFINED}```", DEFINED),
    "a thought": (f"<think>\n```python\ndef add(): pass\n```\n</think>\n```python\n{DEFINED}```", DEFINED),
    "a thought that began earlier": (f"so...\n</think>{DEFINED}", DEFINED),
    "a thought without an end": (f"<think>{DEFINED}", ""),
    "a word that looks like a thought": (f"{DEFINED}# <think>", f"{DEFINED}# <think>"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("name", TABLE)
def test_extraction(name: str) -> None:
    completion, expected = TABLE[name]
    assert code(completion) == expected


def test_longest_block_where_nothing_is_to_be_defined() -> None:
    completion = (
        "```python\nprint(1)\n```\n```python\nprint(1 + 1)\n```\n```sh\npython add.py --with many arguments\n```"
    )
    assert code(completion, entry_point=None) == "print(1 + 1)\n"
    assert code("```a\nx = 1\n```\n```b\nx = 2\n```", entry_point=None) == "x = 2\n"


def test_prompt_is_put_before_its_continuation() -> None:
    assert code("    return a + b\n", PROMPT) == PROMPT + "    return a + b\n"
    assert code("```python\n    return a + b\n```", PROMPT) == PROMPT + "    return a + b\n"
    assert code(DEFINED, PROMPT) == DEFINED
    assert code("    return a + b\n", "Please write:\n" + PROMPT) == "    return a + b\n"
    assert code("    return a + b\n", "def add(a, b):\n") == "def add(a, b):\n    return a + b\n"


def test_methods_and_names() -> None:
    assert (
        code("```\nx = 1\n```\n```\nclass Solution:\n    def add(self): ...\n```", entry_point="Solution.add")[:5]
        == "class"
    )
    assert code("```\nadd = lambda a, b: a + b\n```\n```\nadd == 1\n```")[:6] == "add = "


def test_cpp_continuation() -> None:
    prompt = "#include <vector>\nint add(int a, int b){\n"
    assert code("    return a + b;\n}", prompt, "add", "cpp") == prompt + "    return a + b;\n}"
    definition = "int add(int a, int b) { return a; }\n"
    assert code(f"```cpp\n{definition}```", prompt, "add", "cpp") == f"#include <vector>\n{definition}"


HOSTILE = ["(", "{", "f'{", 'r#"', '"', "'''\n", "```\n(\n", "x```\n", "```python\nx\n", "```cpp\n{\n\n", "\r", "\0"]
HOSTILE += [
    "\ud800",
    "if x:\n",
    "x=1\n",
    "a<",
    "int f(){",
    "- ```\n",
    "> ```\n",
    "</think>`",
    "def add(a):\n",
    "a?b:",
    "x add()\n",
]


@pytest.mark.parametrize("language", ["python", "c", "cpp", "rust"])
@pytest.mark.parametrize("piece", HOSTILE)
def test_parsers_are_safe_from_hostile_text(piece: str, language: str) -> None:
    """Nothing is raised, and no piece takes more than a small multiple of the time that others take."""
    heads = {"python": PROMPT, "rust": "fn add(a: i32, b: i32) -> i32 {\n"}
    prompt = heads.get(language, "int add(int a, int b){\n")
    began = time.process_time()
    for entry in ("add", None):
        code(piece * (20_000 // len(piece)), prompt, entry, language)
    assert time.process_time() - began < 8


def test_deep_nesting_is_no_crash() -> None:
    heads = {"python": PROMPT, "cpp": "int add(int a, int b){\n", "rust": "fn add() {\n"}
    pairs = (("(", ")"), ("[", "]"), ("{", "}"), ("-", ""), ("if (1) {", "}"), ("struct a {", "};"))
    for language, prompt in heads.items():
        for opening, closing in pairs:
            for depth in (90, 1_000, 10_000):
                code(f"x = {opening * depth}1{closing * depth}\n", prompt, "add", language)


@pytest.mark.parametrize(
    "piece", ["`", "```\n", "``` x\n", "~~~\n`", "<think>", "</think>", " ", "\n", "def add", "def  ", "add ", "\t`` "]
)
def test_time_is_linear(piece: str) -> None:
    """Five megabytes of what the search looks for take no longer than five megabytes of anything."""
    text = piece * (5_000_000 // len(piece))
    began = time.process_time()
    for entry in ("add", None):
        code(text, PROMPT, entry)
    assert time.process_time() - began < 8


def test_a_comment_behind_the_brace_ends_no_head() -> None:
    """As in four prompts of HumanEval-X: a completion that is a body alone continues them."""
    prompt = "// Adds.\nint add(int a, int b){ // both\n    /* to be done */\n"
    assert code("    return a + b;\n}", prompt, "add", "cpp") == prompt + "    return a + b;\n}"
