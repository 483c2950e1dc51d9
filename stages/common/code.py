"""The code under test inside a completion. Pure, and linear in the completion's length however hostile it is."""

import ast
import functools
import re

from stages.common.records import Task
from stages.common.thinking import drop_thinking

TAGS = {
    "python": ("python", "py", "python3", "py3"),
    "cpp": ("cpp", "c++", "cc", "cxx"),
    "c": ("c",),
    "rust": ("rust", "rs"),
}
FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)  # of C, C++ and Rust; HumanEval-X has some behind the brace


def extract_code(completion: str, task: Task) -> str:
    """The program that `completion` proposes for `task`.

    `<think>...</think>` is dropped. Of fenced blocks, the last that defines the task's entry point is taken, else the
    longest of the task's language, else the last; without a block, the whole text. Where the prompt is code that
    defines the entry point, code that does not is put behind it, and code that does behind what precedes the
    definition there: an answer in a chat repeats the function, seldom the prompt's imports and helpers.
    """
    text = drop_thinking(completion)
    blocks, before = fenced_blocks(text)
    entry = (task.entry_point or "").rsplit(".", 1)[-1]
    code = _choose(blocks, task.language, entry) if blocks else (before if before is not None else text)
    if not entry or not is_code(task.prompt, entry, task.language):
        return code
    if not defines(code, entry, task.language):
        return task.prompt + code
    # A future import must come first, and so cannot follow the prelude.
    return code if "__future__" in code else prelude(task.prompt, entry, task.language) + code


def fenced_blocks(text: str) -> tuple[list[tuple[str, str]], str | None]:
    """(tag, content) of every fenced block; the last may lack its end.

    The second value is for a completion that starts inside a block, as after a prompt that opened one: where the only
    fence is a bare one, the text before it; else None.
    """
    blocks = []
    opened: re.Match | None = None
    fences = 0
    for fence in FENCE.finditer(text):
        marks, info = fence[1], fence[2].strip()
        if opened is None:
            if marks[0] == "`" and "`" in info:
                continue  # inline code
            opened = fence
            fences += 1
        elif marks[0] == opened[1][0] and len(marks) >= len(opened[1]) and not info:
            blocks.append((_tag(opened[2]), _content(text, opened, fence.start())))
            opened = None
            fences += 1
    if opened is not None:
        before = text[: opened.start()]
        if fences == 1 and not opened[2].strip() and before.strip():
            return [], before
        blocks.append((_tag(opened[2]), _content(text, opened, len(text))))
    return blocks, None


def _tag(info: str) -> str:
    words = info.strip().strip("{}").lstrip(".").split(None, 1)
    return words[0].lower() if words else ""


def _content(text: str, opened: re.Match, end: int) -> str:
    """The block's lines, with the fence's own indentation taken off."""
    content = text[opened.end() + 1 : end]
    margin = opened.start(1) - opened.start()
    if not margin:
        return content
    lines = content.split("\n")
    return "\n".join(line[min(margin, len(line) - len(line.lstrip(" \t"))) :] for line in lines)


def _choose(blocks: list[tuple[str, str]], language: str, entry: str) -> str:
    own = [content for tag, content in blocks if tag in TAGS.get(language, (language,))]
    if entry:
        untagged = [content for tag, content in blocks if not tag]
        for group in (own, untagged, [content for _, content in blocks]):
            defining = [content for content in group if defines(content, entry, language)]
            if defining:
                return defining[-1]
    return max(own, key=len) if own else blocks[-1][1]


@functools.lru_cache(maxsize=4096)
def _definition(entry: str, language: str) -> re.Pattern:
    name = re.escape(entry)
    if language == "python":
        return re.compile(rf"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+{name}\b|^{name}[ \t]*[:=](?!=)", re.MULTILINE)
    return re.compile(rf"\b{name}[ \t]*\(|\b(?:class|struct|fn)[ \t]+{name}\b")


def defines(code: str, entry: str, language: str) -> bool:
    """Whether `code` defines (in languages other than Python: defines or calls) `entry`."""
    return _definition(entry, language).search(code) is not None


@functools.lru_cache(maxsize=4096)
def prelude(prompt: str, entry: str, language: str) -> str:
    """What a Python prompt holds before the definition of `entry`; "" where that is no program by itself."""
    definition = _definition(entry, language).search(prompt)
    before = prompt[: definition.start()] if definition else ""
    try:
        ast.parse(before)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return before if language == "python" else ""


@functools.lru_cache(maxsize=4096)
def is_code(prompt: str, entry: str, language: str) -> bool:
    """Whether a prompt is the beginning of a program that defines `entry`, to be continued by the completion."""
    if not defines(prompt, entry, language):
        return False
    if language != "python":
        return COMMENT.sub("", prompt).rstrip().endswith("{")
    for body in ("", "    pass\n"):  # a signature without a docstring is no module yet
        try:
            ast.parse(prompt + body)
            return True
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return False
