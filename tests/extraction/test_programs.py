"""Answers to tasks without an entry point: the last block that is a whole program of the task's language."""

import pytest

from stages.common.records import Task
from stages.extraction.code import choose_program, extract_code

PROGRAMS = {
    "python": "n = int(input())\nprint(sum(map(int, input().split())))\n",
    "c": '#include <stdio.h>\nint main(void) { int n; scanf("%d", &n); printf("%d", n); }\n',
    "cpp": "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << n; }\n",
    "rust": "use std::io;\nfn main() { let mut s = String::new(); io::stdin().read_line(&mut s).unwrap(); }\n",
}
DRAFTS = {
    "python": "import sys\ndef solve(xs):\n    total = 0\n    for x in xs:\n        total += x\n    return total\n"
    "print(solve(map(int, sys.stdin.read().split()[1:])))\n",
    "c": '#include <stdio.h>\nint longer_helper(int n) { return n + 1; }\nint main(void) { int n; scanf("%d", &n);'
    ' n = longer_helper(n); printf("%d", n); }\n',
    "cpp": "#include <iostream>\nint longer_helper(int n) { return n + 1; }\nint main() { int n; std::cin >> n;"
    " n = longer_helper(n); std::cout << n; }\n",
    "rust": "use std::io;\nfn longer_helper(n: i32) -> i32 { n + 1 }\nfn main() { let mut s = String::new();"
    ' io::stdin().read_line(&mut s).unwrap(); println!("{}", longer_helper(1)); }\n',
}
PIECES = {
    "python": "assert solve([1, 2, 3]) == 6 and solve([]) == 0 and solve([-1, 1]) == 0  # of the function above\n",
    "c": "int longer_helper(int n) {\n    /* a piece that has no main, however long it may be */ return n; }\n",
    "cpp": "int longer_helper(int n) {\n    /* a piece that has no main, however long it may be */ return n; }\n",
    "rust": "fn longer_helper(n: i32) -> i32 {\n    /* a piece without a main, however long it may be */ n }\n",
}
TAGS = {"python": "Python 3", "c": "C99", "cpp": "C++17", "rust": "rs"}
SHAPES = {
    "text": "{code}",
    "block": "```{tag}\n{code}```",
    "a long draft first": "```{tag}\n{draft}```\nToo slow. Final:\n```{tag}\n{code}```\n",
    "a tagged draft first": "```{tag}\n{draft}```\nToo slow. Final:\n```\n{code}```\nOutput:\n```\n6\n```\n",
    "output behind": "```{tag}\n{code}```\nOutput:\n```\n6\n```\n",
    "words of output behind": "```{tag}\n{code}```\nOutput:\n```\nYES\n```\n",
    "output that parses behind": "```\n{code}```\nOutput:\n```\ntotal = 6\n```\n",
    "a shell behind": "```\n{code}```\nRun:\n```bash\nrun < input.txt --with a --long list of --arguments in it\n```\n",
    "a session behind": "```\n{code}```\n```\n$ run sum\n3\n1 2 3\n6\n```\n",
    "a piece behind": "```{tag}\n{code}```\nThe idea in short:\n```{tag}\n{piece}```\n",
    "a piece before": "The idea:\n```{tag}\n{piece}```\nThe program:\n```{tag}\n{code}```\n",
    "samples around": "Input:\n```\n8\n```\nCode:\n```\n{code}```\nOutput:\n```\nYES\n```\n",
    "another language behind": "```{tag}\n{code}```\nOr:\n```java\nclass Main {{ int main() {{ return 1; }} }}\n```\n",
    "glued": "```{tag}\n{stripped}```",
    "text behind the fence": "```{tag}\n{code}``` It reads and adds.\n",
    "no end": "```{tag}\n{code}",
    "an end alone": "{code}```\nIt reads and adds.\n",
}


@pytest.mark.parametrize("language", PROGRAMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_program(shape: str, language: str) -> None:
    code = PROGRAMS[language]
    answer = SHAPES[shape].format(
        code=code, stripped=code.rstrip(), draft=DRAFTS[language], piece=PIECES[language], tag=TAGS[language]
    )
    found = extract_code(answer, Task("t", language, "Read n, then n integers.", "v", None, "", []))
    assert found.strip() == code.strip()
    if "```" in answer:
        assert choose_program(answer, language).strip() == code.strip()


def test_pieces_of_one_program_are_joined() -> None:
    task = Task("t", "python", "Add.", "pytest", None, "", [])
    read, write = "n = int(input())\n", "print(sum(map(int, input().split())))\n"
    answer = f"```python\n{read}```\nthen\n```python\n{write}```\n"
    assert extract_code(answer, task) == f"{read}\n{write}"
    define = "def solve(xs):\n    return sum(xs)\n"
    use = "input()\nprint(solve(map(int, input().split())))\n"
    assert extract_code(f"```python\n{define}```\n```python\n{use}```", task) == f"{define}\n{use}"


def test_no_block_of_code_is_no_program() -> None:
    for answer in ("", "prose", "```\n```", "```bash\nls\n```", "<think>\n```python\nprint(1)\n```"):
        assert choose_program(answer, "python") is None


def test_a_language_of_ones_own_may_be_a_shell() -> None:
    task = Task("t", "sh", "Copy.", "shell_verifier:Shell", None, "", [])
    for text in ("cat\n", "```sh\ncat\n```", "Use\n```bash\ncat\n```\n"):
        assert extract_code(text, task) == "cat\n"


def test_tests_tell_what_is_wanted_where_no_entry_point_does() -> None:
    tests = "#include <assert.h>\nint main() { assert(add(1, 2) == 3); }\n"
    task = Task("t", "cpp", "Write add.", "gcc", None, tests, [])
    code, main = "int add(int a, int b) { return a + b; }\n", "int main() { std::cout << add(1, 2); return 0; }\n"
    assert extract_code(f"```cpp\n{code}```\nUse it:\n```cpp\n{main}```", task) == code
