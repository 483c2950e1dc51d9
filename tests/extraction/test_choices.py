"""Which of a text's blocks is the answer, and what of the prompt counts as one: never what the prompt holds already."""

import textwrap

import pytest

from stages.common.records import Task
from stages.extraction.code import extract_code

STUB = 'def inc(x):\n    """Add one."""\n'
WHOLE = f"{STUB}    return x + 1\n"
BRANCHES = "def inc(x):\n    if x:\n        return x + 1\n    else:\n        raise ValueError(x)\n"
LOOP = "def inc(x):\n    while True:\n        x += 1\n        return x\n"
IN_PLACE = "def inc(xs):\n    xs.append(1)\n"
PARTIAL = "def inc(x):\n    if x == 0:\n        return 1\n"
CLASS = "class Solution:\n    def inc(self, x):\n        return x + 1\n"


def code_of(
    completion: str,
    prompt: str = "Write inc.",
    entry: str | None = "inc",
    *,
    tests: str = "",
    stdin: str | None = None,
    language: str = "python",
) -> str:
    """What is judged of a completion."""
    cases = [] if stdin is None else [{"stdin": stdin, "stdout": "1\n"}]
    return extract_code(completion, Task("t", language, prompt, "v", entry, tests, cases))


BESIDE = ["import os", "pass", "x = 1", "assert inc(1) == 2", "print(inc(1))\n", "def other(x):\n    return x\n"]
BESIDE += ["```python\nassert inc(1) == 2\n```", "Use it:\n```python\nprint(inc(1))\n```\n", "\n\nx = 1\n"]
DEAD = ["    pass\n", "    x = 1\n", "    return x\n", "    # as above\n    x = 2\n", '    """Done."""\n', "    42\n"]


@pytest.mark.parametrize(
    "prompt", [WHOLE, WHOLE.rstrip(), BRANCHES, LOOP, IN_PLACE, PARTIAL, "inc = lambda x: x + 1\n"]
)
@pytest.mark.parametrize("answer", BESIDE)
def test_what_the_prompt_defines_is_no_answer(answer: str, prompt: str) -> None:
    assert "def inc" not in code_of(answer, prompt)
    assert "lambda" not in code_of(answer, prompt)


@pytest.mark.parametrize("prompt", [WHOLE, BRANCHES, LOOP])
@pytest.mark.parametrize("answer", DEAD)
def test_dead_code_behind_a_whole_function_is_no_answer(answer: str, prompt: str) -> None:
    assert "def inc" not in code_of(answer, prompt)


@pytest.mark.parametrize("answer", ["    pass\n", "    42\n", "    Answer: 42\n", "    ...\n", "    # so\n"])
def test_nothing_behind_a_function_that_works_is_no_answer(answer: str) -> None:
    assert "def inc" not in code_of(answer, IN_PLACE)


@pytest.mark.parametrize("entry", ["Solution", "Solution.inc"])
@pytest.mark.parametrize("answer", [*BESIDE, "    pass\n", "        pass\n", "        return x + 2\n", "    x: int\n"])
def test_what_a_class_of_the_prompt_defines_is_no_answer(answer: str, entry: str) -> None:
    assert "class Solution" not in code_of(answer, CLASS, entry)


def test_another_method_that_is_open_makes_no_answer() -> None:
    prompt = f'{CLASS}\n    def dec(self, x):\n        """Less one."""\n'
    for answer in ("import os", "x = 1\n"):
        assert "class" not in code_of(answer, prompt, "Solution.inc")
        assert "class" not in code_of(answer, prompt, "Solution")
    assert code_of("        return x - 1\n", prompt, "Solution") == prompt + "        return x - 1\n"


def test_unfinished_functions_and_classes_go_on() -> None:
    for prompt, answer in (
        (PARTIAL, "    return x + 1\n"),
        (IN_PLACE, "    return xs\n"),
        (STUB, "    pass\n"),
        (STUB.rstrip(), "\n    return x + 1"),
        ("def inc(x):", " return x + 1"),
        ("def inc(x):\n    return", " x + 1"),
        ("def inc(x):\n    for _ in range(1):\n", "        x += 1\n    return x\n"),
    ):
        assert code_of(answer, prompt) == prompt + answer
    more = "    def dec(self, x):\n        return x - 1\n"
    assert code_of(more, CLASS, "Solution") == CLASS + more
    own = "def inc(x):\n    return 1 + x\n"
    assert code_of(own, WHOLE) == own


PROSE = [
    "Answer: 42",
    "42",
    "None",
    '"Add one."',
    "'''Add\none.'''",
    "- a",
    "- a\n- b\n",
    "yes",
    "a, b",
    "x + 1",
    "{1: 2}",
]
PROSE += ["Note: none\nAnswer: 42\n", "*a", "not x", "x[0]", "...", "x if y else z", "# 1\n2 < 3"]
PROSE += ["```\n42\n```", "The result:\n```python\nNone\n```\n"]


@pytest.mark.parametrize("prompt", ["Write inc.", STUB, WHOLE, PARTIAL, CLASS])
@pytest.mark.parametrize("answer", PROSE)
def test_prose_that_parses_is_no_code(answer: str, prompt: str) -> None:
    for entry in ("inc", None, "Solution"):
        assert code_of(answer, prompt, entry) == ""


OWN = "def inc(x):\n    return x + 1\n"
USAGE = {
    "import": "from solution import inc\n\nprint(inc(1))\n",
    "import of a module": "import inc\n\nprint(inc.inc(1))\n",
    "unittest": "import unittest\nfrom your_module import inc\n\n\nclass T(unittest.TestCase):\n"
    "    def test_a(self):\n        self.assertEqual(inc(1), 2)\n",
    "its own result": "inc = inc(1)\nprint(inc)\n",
    "wrapped": "from functools import lru_cache\ninc = lru_cache(inc)\n",
    "a loop": "for inc in (1, 2):\n    print(inc)\n",
    "a recap": "def inc(x):\n    ...\n",
    "a recap without a body": 'def inc(x):\n    """Add one."""\n',
    "a result of that name": "inc = 2\nprint(inc)\n",
    "an attribute": "import solution\ninc = solution.inc\nassert inc(1) == 2\n",
    "an attribute of what is loaded": "import importlib\ninc = importlib.import_module('answer').inc\nprint(inc(1))\n",
    "getattr": "import importlib\nm = importlib.import_module('answer')\ninc = getattr(m, 'inc')\nprint(inc(1))\n",
    "an element": "import runpy\ninc = runpy.run_path('answer.py')['inc']\nprint(inc(1))\n",
}


@pytest.mark.parametrize("prompt", ["Write inc.", STUB, "def inc(x):\n"])
@pytest.mark.parametrize("usage", USAGE)
def test_usage_is_no_definition(usage: str, prompt: str) -> None:
    for before in (OWN, f"{OWN}print(inc(1))\n"):
        assert code_of(f"```python\n{before}```\nThen:\n```python\n{USAGE[usage]}```\n", prompt) == before
    body = "    return x + 1\n"
    if prompt != "Write inc.":
        answer = f"```python\n{body}```\nThen:\n```python\n{USAGE[usage]}```\n"
        assert code_of(answer, prompt) == prompt + body


@pytest.mark.parametrize(
    "own",
    [
        "from math import sqrt as inc\n",
        "class A:\n    def inc(self, x):\n        return x + 1\n\n\na = A()\ninc = a.inc\n",
        "inc = lambda x: inc(x - 1) + 1 if x else 1\n",
        f"{OWN}inc = str(inc)\n",
    ],
)
def test_what_else_defines(own: str) -> None:
    assert code_of(f"```python\n{own}```\nUse it:\n```python\nprint(inc(1))\n```\n") == own


def test_a_class_that_inherits_is_whole() -> None:
    base = "class Base:\n    def inc(self, x):\n        return x + 1\n"
    own = "class Bank(Base):\n    pass\n"
    for entry in ("Bank", "Bank.inc"):
        assert code_of(f"```python\n{base}```\n```python\n{own}```", entry=entry) == f"{base}\n{own}"
    recap = "class Bank(Base):\n    def inc(self, x): ...\n"
    assert code_of(f"```python\n{base}{own}```\n```python\n{recap}```", entry="Bank") == base + own


@pytest.mark.parametrize("tag", ["python", ""])
def test_pieces_of_a_program(tag: str) -> None:
    pieces = ["n = int(input())\nxs = input().split()\n", "total = sum(map(int, xs))\n", "print(total)\n"]
    answer = "\n".join(f"Then:\n```{tag}\n{piece}```" for piece in pieces)
    assert code_of(f"{answer}\nOutput:\n```\n7\n```\n", "Read.", None, stdin="1\n7\n") == "\n".join(pieces)


TESTED = "found = inc(1)\nassert found == 2\n"


def test_tests_without_an_entry_point() -> None:
    for usage in ("from sol import inc\nprint(inc(1))\n", "def inc(x): ...\n", "found = inc(2)\nprint(found)\n"):
        assert code_of(f"```python\n{OWN}```\n```python\n{usage}```\n", "Write it.", None, tests=TESTED) == OWN
    helper, own = "def step(x):\n    return x + 1\n", "def inc(x):\n    return step(x)\n"
    answer = f"```python\n{helper}```\n```python\n{own}```\n"
    assert code_of(answer, "Write it.", None, tests=TESTED) == f"{helper}\n{own}"
    other = "def dec(x):\n    return x - 1\n"
    both = f"{TESTED}assert dec(1) == 0\n"
    answer = f"```python\n{OWN}```\n```python\n{other}```\n"
    assert code_of(answer, "Write it.", None, tests=both) == f"{OWN}\n{other}"


READS = "n = int(input())\nxs = input().split()\nprint(*xs[:n])\n"
DEMOS = {
    "python": [
        "print(max(1, 3))\n",
        "import subprocess\nprint(subprocess.run(['python', 's.py'], input='1', text=True).stdout)\n",
        "import io, sys\nfrom solution import main\nsys.stdin = io.StringIO('1')\nmain()\nprint('ok')\n",
    ],
    "cpp": [
        "#include <cassert>\nint main() { assert(1 < 2); } // std::cin\n",
        "int main() { /* scanf */ return 0; }\n",
    ],
    "c": ["#include <assert.h>\nint main(void) { assert(1 < 2); }\n"],
    "rust": ["fn main() { assert!(1 < 2); }\n"],
}
READERS = {
    "python": [READS, "import sys\nfor line in sys.stdin:\n    print(line)\n", "print(open(0).read())\n"],
    "cpp": ["#include <iostream>\nint main() { int n; std::cin >> n; std::cout << n; }\n"],
    "c": ['#include <stdio.h>\nint main(void) { int n; scanf("%d", &n); printf("%d", n); }\n'],
    "rust": ['fn main() { for line in std::io::stdin().lines() { println!("{}", line.unwrap()); } }\n'],
}


@pytest.mark.parametrize("language", READERS)
def test_a_program_that_gets_input_reads_it(language: str) -> None:
    for program in READERS[language]:
        for demo in DEMOS[language]:
            answer = f"```{language}\n{program}```\nA test:\n```{language}\n{demo}```\n"
            assert code_of(answer, "Read.", None, stdin="1\n", language=language) == program
            assert code_of(answer, "Print.", None, stdin="", language=language) == demo
    demo = DEMOS[language][0]
    assert code_of(f"```{language}\n{demo}```", "Read.", None, stdin="1\n", language=language) == demo


@pytest.mark.parametrize(
    "piece", ["n = int(input())\nxs = input().split()\n", "n = int(input())\n", "import sys\ndata = sys.stdin.read()\n"]
)
@pytest.mark.parametrize(
    "program", [READS, "def main():\n    n = int(input())\n    print(input().split()[:n])\n\n\nmain()\n"]
)
def test_a_program_that_reads_it_all_follows_no_piece(piece: str, program: str) -> None:
    answer = f"First read:\n```python\n{piece}```\nAll of it:\n```python\n{program}```\n"
    assert code_of(answer, "Read.", None, stdin="1\n1\n") == program


def test_helpers_may_follow() -> None:
    own = "def inc(x):\n    return step(x)\n"
    helper = "def step(x):\n    return x + 1\n"
    assert code_of(f"```python\n{own}```\nwith\n```python\n{helper}```") == f"{helper}\n{own}"
    shown = f"{helper}print(inc(1))\n"
    assert code_of(f"```python\n{own}```\nwith\n```python\n{shown}```") == f"{own}\n{shown}"
    again = "def step(x):\n    return x + 2\n"
    assert code_of(f"```python\n{own}```\n```python\n{helper}```\nor\n```python\n{again}```") == f"{helper}\n{own}"


def test_a_repetition_that_breaks_off_is_not_taken() -> None:
    cut = "```python\ndef inc(x):\n    y = x\n"
    assert code_of(f"```python\n{OWN}```\n{cut}") == OWN
    whole = "def inc(x):\n    y = x\n    return y + 1\n"
    assert code_of(f"```python\n{OWN}```\nNo:\n```python\n{whole}") == whole
    search = "def inc(x):\n    for y in range(x, x + 2):\n        if y > x:\n            return y\n"
    assert code_of(f"```python\n{OWN}```\nNo:\n```python\n{search}") == search
    again = "```python\ndef inc(x):\n    for y in range(x, x + 2):\n        if y > x:\n"
    assert code_of(f"```python\n{search}```\n```python\n{again}            return y\n") == search
    in_place = "def inc(x):\n    x.append(1)\n"
    assert code_of(f"```python\ndef inc(x):\n    x += 1\n```\nNo:\n```python\n{in_place}") == in_place
    method = "class Solution:\n    def inc(self, x):\n        return x + 1\n"
    cut = "```python\nclass Solution:\n    def inc(self, x):\n        y = 0\n"
    for entry in ("Solution", "Solution.inc"):
        assert code_of(f"```python\n{method}```\n{cut}", entry=entry) == method


C = "int inc(int x) {\n    return x + 1;\n}\n"


@pytest.mark.parametrize("tag", ["c", "C", "c99", "C11", "c "])
def test_a_name_on_the_line_behind_the_fence(tag: str) -> None:
    assert code_of(f"```\n{tag}\n{C}```", language="c") == C
    assert code_of(f"```\ntext\n```\n```\n{tag}\n{C}```\n", language="c") == C
    assert code_of(f"```\n{tag}\nint main(void) {{ return 0; }}\n```", entry=None, language="c")[:8] == "int main"


@pytest.mark.parametrize("tag", ["python", "py", "Python 3", "python3.11"])
def test_a_name_on_the_line_behind_the_fence_of_python(tag: str) -> None:
    assert code_of(f"```\n{tag}\n{OWN}```") == OWN


@pytest.mark.parametrize("comment", ["# no more </think>", "x = 1  # </think>"])
@pytest.mark.parametrize("behind", ["", "\nUse it:\n```python\nprint(inc(1))\n```\n", "\nThat is all."])
def test_a_tag_in_a_block_ends_no_thought(behind: str, comment: str) -> None:
    own = f"{OWN}{comment}\n"
    assert code_of(f"```python\n{own}```{behind}") == own
    assert code_of(f"```python\n{OWN}```\n```python\n{own}```{behind}") == own


def test_a_tag_behind_a_block_ends_a_thought() -> None:
    draft = "def inc(x):\n    return x\n"
    for before in (f"```python\n{draft}```\nThat is wrong.</think>", f"```python\n{draft}Wrong.</think>"):
        for tag in ("python", ""):
            assert code_of(f"{before}\n\n```{tag}\n{OWN}```\n") == OWN


LEETCODE = "from typing import List\n\nclass Solution:\n    def top(self, xs: List[int]) -> List[int]:\n"
METHOD = "def top(self, xs: List[int]) -> List[int]:\n    return self.most(xs, LIMIT) + least(xs)\n"


def test_a_bare_method_keeps_what_stands_around_it() -> None:
    before = "from itertools import accumulate\nLIMIT = 3\n\ndef least(xs):\n    return xs[:1]\n\n"
    more = "def most(self, xs, n):\n    return list(accumulate(xs[:n]))\n"
    behind = "print(Solution().top([1]))\n"
    expected = "from typing import List\n\n" + before + "class Solution:\n"
    for head in (LEETCODE, f'{LEETCODE}        """Top."""\n'):
        for entry in ("Solution", "Solution.top"):
            found = code_of(f"```python\n{before}{METHOD}{more}{behind}```", head, entry)
            assert found.startswith(expected)
            assert found.endswith(f"        return list(accumulate(xs[:n]))\n{behind}")
            space: dict = {}
            exec(compile(found, "found", "exec"), space)
            assert space["Solution"]().top([1, 2]) == [1, 3, 1]
    usage = "xs = [1, 2, 3]\nsolution = Solution()\nprint(solution.top(xs), solution.top([]), solution.top([5, 4]))\n"
    own = "from itertools import accumulate\n\n    def top(self, xs):\n        return list(accumulate(xs))\n"
    for method in (own, textwrap.dedent(own.replace("\n    ", "\n"))):
        found = code_of(f"```python\n{method}```\nUse it:\n```python\n{usage}```", LEETCODE, "Solution")
        space = {}
        exec(compile(found, "found", "exec"), space)
        assert space["Solution"]().top([1, 2]) == [1, 3]
    nested = "if True:\n    def top(self, xs):\n        return xs\n"
    compile(code_of(f"```python\n{nested}```", LEETCODE, "Solution"), "found", "exec")
    future = "from __future__ import annotations\nimport math\n\n"
    compile(code_of(f"```python\n{future}{METHOD}```", LEETCODE, "Solution"), "found", "exec")


BODY = "y = x\nif y:\n    return y + 1\nreturn 1\n"


def test_a_fenced_body_may_lack_its_margin() -> None:
    margin = "".join(f"    {line}" for line in BODY.splitlines(keepends=True))
    for prompt in (STUB, "def inc(x):\n"):
        assert code_of(f"```python\n{BODY}```", prompt) == prompt + margin
        assert code_of(f"```python\n{margin.lstrip()}```\nDone.", prompt) == prompt + margin
        assert "    return 1" not in code_of(BODY, prompt)
        assert "    x = 1" not in code_of("```python\nx = 1\nprint(x)\n```", prompt)
    assert code_of(f"```python\n{BODY}```", WHOLE) == BODY
    for method in ("class Solution:\n\tdef inc(self, x):\n", "class Solution:\n  def inc(self, x):\n"):
        found = code_of(f"```python\n{BODY}```\nUse it:\n```python\nprint(1)\n```", method, "Solution")
        space: dict = {}
        exec(compile(found, "found", "exec"), space)
        assert space["Solution"]().inc(1) == 2
