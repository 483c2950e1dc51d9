"""Answers as small models write them, in every language: the program in each is the one that a reader would take."""

import pytest

from stages.common.records import Task
from stages.extraction.code import extract_code

PROGRAMS = {
    "python": "def add(a, b):\n    return a + b\n",
    "c": "int add(int a, int b) {\n    return a + b;\n}\n",
    "cpp": "int add(int a, int b) {\n    return a + b;\n}\n",
    "rust": "fn add(a: i32, b: i32) -> i32 {\n    a + b\n}\n",
}
TAG = {"python": "python", "c": "c", "cpp": "cpp", "rust": "rust"}
USAGE = {
    "python": "print(add(1, 2))\n",
    "c": '#include <stdio.h>\nint main(void) { printf("%d", add(1, 2)); }\n',
    "cpp": "#include <iostream>\nint main() { std::cout << add(1, 2); }\n",
    "rust": 'fn main() { println!("{}", add(1, 2)); }\n',
}
RECAP = {
    "python": "def add(a, b):\n    ...\n",
    "c": "int add(int a, int b);\n",
    "cpp": "int add(int a, int b);\n",
    "rust": "fn add(a: i32, b: i32) -> i32;\n",
}
# {code}: the program, {tag}: the language's, {usage}: code that calls it, {recap}: its signature.
SHAPES = {
    "text alone": "{code}",
    "a byte order mark": "\ufeff{code}",
    "a byte order mark in a block": "\ufeff```{tag}\n\ufeff{code}```",
    "one block": "Sure:\n```{tag}\n{code}```\nDone.",
    "tildes": "~~~{tag}\n{code}~~~",
    "tildes that backticks end": "~~~{tag}\n{code}```",
    "four backticks": "````{tag}\n{code}````",
    "four backticks that three end": "````{tag}\n{code}```",
    "a space before the tag": "``` {tag}\n{code}```",
    "attributes": "```{{.{tag} .numberLines}}\n{code}```",
    "a title": '```{tag} title="add"\n{code}```',
    "a tag in capitals": "```{TAG}\n{code}```",
    "windows": "```{tag}\r\n{code}```\r\n",
    "no end": "```{tag}\n{code}",
    "no end, then prose": "```{tag}\n{code}\nThis adds two numbers, as you asked.\n",
    "fence behind a word": "The answer: ```{tag}\n{code}```",
    "fence behind a word, glued": "Answer:```{tag}\n{code}```\nThat is all.",
    "code behind the tag": "```{tag} {line}\n```",
    "code glued to the tag": "```{tag}{code}```\n",
    "all on one line": "```{tag} {line}```",
    "all on one line without a tag": "```{line}```",
    "on one line in prose": "Use ```{line}``` for that.",
    "closing fence glued to the code": "```{tag}\n{stripped}```",
    "text behind the closing fence": "```{tag}\n{code}``` This adds both.\n",
    "text glued behind the closing fence": "```{tag}\n{stripped}```And this is why.\n",
    "text behind it, then usage": "```{tag}\n{code}``` Usage:\n```{tag}\n{usage}```\n",
    "markdown around it": "```markdown\n# Solution\n\n```{tag}\n{code}```\n```\n",
    "four backticks of markdown around it": "````markdown\nHere:\n```{tag}\n{code}```\n````\n",
    "an untagged fence around it": "```\n```{tag}\n{code}```\n```\n",
    "markdown around prose and code": "```md\nWe add.\n\n```{tag}\n{code}```\nDone.\n```",
    "lone closing fence": "{code}```",
    "lone closing fence, prose before": "Here is the function:\n\n{code}```\n",
    "lone closing fence, prose close before": "Here is the function:\n{code}```\n",
    "lone closing fence, prose behind": "{code}```\n\nIt adds both numbers.\n",
    "lone closing fence, then usage": "{code}```\n\nUsage:\n\n```{tag}\n{usage}```\n",
    "lone opening fence": "```{tag}\n{code}\n",
    "a stray fence before": "```\n\n```{tag}\n{code}```\n",
    "a stray fence behind": "```{tag}\n{code}```\n```\n",
    "indented": "1. So:\n\n   ```{tag}\n{indented}   ```\n",
    "far indented": "- so\n  - like this\n\n        ```{tag}\n{far}        ```\n",
    "in a list, code to the left": "1. So:\n   ```{tag}\n{code}   ```\n",
    "far indented, code to the left": "So:\n\n    ```{tag}\n{code}    ```\nDone.",
    "quoted": "> Here:\n> ```{tag}\n{quoted}> ```\n",
    "between tags": "<answer>\n```{tag}\n{code}```\n</answer>\n",
    "a draft first": "```{tag}\n{draft}```\nNo:\n```{tag}\n{code}```\n",
    "a draft without its end": "```{tag}\n{draft}\nNo, that is wrong. Again:\n```{tag}\n{code}```\n",
    "usage behind": "```{tag}\n{code}```\nUse it:\n```{tag}\n{usage}```\n",
    "usage before": "You want this to work:\n```{tag}\n{usage}```\nSo:\n```{tag}\n{code}```\n",
    "a recap behind": "```{tag}\n{code}```\nIts signature is\n```{tag}\n{recap}```\n",
    "a recap before": "The signature:\n```{tag}\n{recap}```\nThe function:\n```{tag}\n{code}```\n",
    "output behind": "```{tag}\n{code}```\nOutput:\n```\nadd(1, 2)\n```\n",
    "a shell behind": "```{tag}\n{code}```\n```bash\nrun add(1, 2) --with all of its many arguments\n```\n",
    "a session behind": "```{tag}\n{code}```\n```\n>>> add(1, 2)\n3\n```\n",
    "no tag": "So:\n```\n{code}```\n",
    "no tag, others tagged": "```\n{code}```\n```bash\nmake\n```\n",
    "another tag": "```javascript\n{code}```\n",
    "inline code in prose": "`add(a, b)` calls ```add``` as you see.\n```{tag}\n{code}```\nSee ```add(1, 2)```.\n",
    "a thought": "<think>\n```{tag}\n{draft}```\n</think>\n```{tag}\n{code}```\n",
    "a thought before the text": "Let me see.\n</think>\n\n```{tag}\n{code}```\n",
    "a thought with a draft before the text": "```{tag}\n{draft}```\nwrong\n</think>\n\n```{tag}\n{code}```\n",
    "two thoughts": "<think>a</think>\n<think>b</think>\n{code}",
    "a mention of a thought behind": "```{tag}\n{code}```\nNothing is between `<think>` and `</think>` here.\n",
    "a mention of its end behind": "```{tag}\n{code}```\nIt also works where </think> is missing.\n",
    "a mention of its end at a line's end": "```{tag}\n{code}```\nIt also works without `</think>`\n",
}


def shaped(shape: str, language: str) -> str:
    """An answer of that shape in a language."""
    code = PROGRAMS[language]

    def behind(margin: str) -> str:
        return "".join(margin + line for line in code.splitlines(keepends=True))

    return shape.format(
        code=code,
        line=" ".join(code.split()) if language != "python" else "def add(a, b): return a + b",
        stripped=code.rstrip(),
        draft=code.replace("+", "-"),
        indented=behind("   "),
        far=behind(" " * 8),
        quoted=behind("> "),
        tag=TAG[language],
        TAG=TAG[language].upper(),
        usage=USAGE[language],
        recap=RECAP[language],
    )


def code_of(completion: str, language: str, prompt: str = "Write add.", entry: str | None = "add") -> str:
    """What is judged of a completion."""
    return extract_code(completion, Task("t", language, prompt, "v", entry, "", []))


@pytest.mark.parametrize("language", PROGRAMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_answer(shape: str, language: str) -> None:
    found = code_of(shaped(SHAPES[shape], language), language)
    assert "".join(found.split()) == "".join(PROGRAMS[language].split())
    if language == "python":
        compile(found, "found", "exec")
