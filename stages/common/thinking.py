"""Thoughts that a model writes down before its answer, between `<think>` and `</think>`."""

import re
from bisect import bisect_left
from collections.abc import Sequence

THINK, END_THINK = "<think>", "</think>"
MENTIONS = 32  # of the tag, before what follows is not looked at
FENCE_LINE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})", re.MULTILINE)


def drop_thinking(text: str) -> str:
    """The text without the thoughts at its start: whole ones, one that began before the text, and one that was cut.

    Tags further on are words of the answer: a comment, a regular expression, a sentence about thoughts.
    """
    at, dropped = _start(text, 0), False
    while text.startswith(THINK, at):
        end = text.find(END_THINK, at)
        if end < 0:
            return ""
        at, dropped = end + len(END_THINK), True
        if text.startswith(THINK, _start(text, at)):
            at = _start(text, at)
    if dropped:
        return text[at:]
    end = text.find(END_THINK)
    opened = text.find(THINK)
    fences = [fence.end() for fence in FENCE_LINE.finditer(text)] if end >= 0 else []
    for _ in range(MENTIONS):
        if end < 0 or 0 <= opened < end:
            break
        if _ends_thought(text, end, fences):
            return text[end + len(END_THINK) :]
        end = text.find(END_THINK, end + len(END_THINK))
    return text


def _start(text: str, at: int) -> int:
    """The first character from `at` on that is no blank, nor a byte order mark."""
    found = re.compile(r"[\s\ufeff]*").match(text, at)
    return found.end()


def _ends_thought(text: str, at: int, fences: Sequence[int]) -> bool:
    """Whether the tag at `at` ends a thought that began before the text, and is not a word of the answer.

    It begins or ends a line then. Behind code, with no code to follow, it is a mention, and so it is inside of a block.
    `fences` are the ends of the marks of all fences.
    """
    behind = at + len(END_THINK)
    line = text[text.rfind("\n", 0, at) + 1 : at]
    if not line.strip():
        return True
    ends_line = text[behind : behind + 1] in ("", "\n", "\r") or text.startswith(("```", "~~~"), behind)
    if not ends_line or line.rstrip().endswith(("`", '"', "'")):
        return False
    before = bisect_left(fences, at)
    following = len(fences) - before
    if text.startswith(("```", "~~~"), behind):
        return True
    if not before or not following:
        return not before
    closes = text[fences[before] : fences[before] + 1] in ("", "\n", "\r")
    return not (closes and before % 2 and following % 2)
