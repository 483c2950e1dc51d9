"""What the usual trimming leaves of an answer."""

import pytest

from stages.common.records import Task
from stages.extraction.code import extract_code
from stages.extraction.trimming import trimmed_code

HEAD = 'import math\n\n\ndef add(a, b):\n    """Add."""\n'
BODY = "    return a + b\n"
DEFINED = "def add(a, b):\n    return a + b\n"
NEEDED = "import math\nLIMIT = 3\ndef helper(a):\n    return a + LIMIT\n@staticmethod\ndef add(a, b):\n"
NEEDED += "    return helper(a) + b\n"
TABLE = {
    "nothing to trim": ("Write add.", DEFINED, DEFINED),
    "calls beside it": ("Write add.", f"{DEFINED}print(add(input(), 2))\nassert add(1, 2) == 4\n", DEFINED),
    "a main beside it": ("Write add.", f'{DEFINED}if __name__ == "__main__":\n    add(1)\n', DEFINED),
    "other functions": ("Write add.", f"def other():\n    return 1 / 0\n{DEFINED}other()\n", DEFINED),
    "what it needs": ("Write add.", f"x = 1 / 0\n{NEEDED}", NEEDED),
    "prose around": ("Write add.", f"Here you are:\n{DEFINED}\nI hope this helps.\n", f"{DEFINED}"),
    "a base model that writes on": (HEAD, f"{BODY}\n\ndef next_one(x):\n    return (x", f"{HEAD}{BODY}"),
    "a base model that stops": (HEAD, f"{BODY}<|endoftext|>junk", f"{HEAD}{BODY}"),
    "a base model's next tag": (HEAD, f"{BODY}\n@decorated(\n", f"{HEAD}{BODY}"),
    "nothing": ("Write add.", "", ""),
    "no code at all": ("Write add.", "I cannot.", "I cannot."),
}


@pytest.mark.parametrize("name", TABLE)
def test_trimming(name: str) -> None:
    prompt, completion, expected = TABLE[name]
    found = trimmed_code(completion, Task("t", "python", prompt, "pytest", "add", "", []))
    assert found.rstrip() == expected.rstrip()


def test_compiled_continuations_end_with_the_function() -> None:
    prompt = "#include <vector>\nint add(int a, int b) {\n"
    task = Task("t", "cpp", prompt, "gcc", "add", "", [])
    completion = "    return a + b;\n}\n\n/* Next: */\nint sub(int a, int b) {\n    return a"
    assert trimmed_code(completion, task) == f"{prompt}    return a + b;\n}}\n"
    whole = "int add(int a, int b) { return a + b; }\nint main() { return 0; }\n"
    assert trimmed_code(whole, task) == extract_code(whole, task)


def test_programs_lose_the_prose_around_them() -> None:
    task = Task("t", "python", "Read and print.", "pytest", None, "", [])
    assert trimmed_code("This reads:\nn = input()\nprint(n)\n", task) == "n = input()\nprint(n)\n"
    assert trimmed_code("n = input()\nprint(n)\n", task) == "n = input()\nprint(n)\n"
