"""The usual trimming of answers, as published figures are made with: never a reward, but a figure to compare.

As EvalPlus' sanitizer does, the entry point and what it needs is kept of a program, and calls, tests and demonstrations
beside it go. A base model writes on where its answer has ended: such text is cut at the usual stop words.
"""

import ast
import re
from collections.abc import Iterator

from stages.common.records import Task
from stages.extraction.code import extract_code
from stages.extraction.definitions import source
from stages.extraction.prelude import Prompt, prompt_of
from stages.extraction.python_source import PythonSource
from stages.extraction.tree_source import TreeSource

STOPS = re.compile(
    r"<\|endoftext\|>|<\|end_of_text\|>|<\|im_end\|>|<\|eot_id\|>|</s>|\n```"
    r"|\n(?=(?:def|class|if|print|assert|import|from|async def|@|#)\b|@|#|\"\"\"|''')"
)
FIRST_LINES, LAST_LINES = 24, 24  # of prose that are tried without
TRIED, TRIED_AT_LEAST = 4, 50_000  # characters that are tried in all, by the text's length


def trimmed_code(completion: str, task: Task) -> str:
    """The program in `completion` without what the entry point does not need; the strict one where that is the same."""
    strict = extract_code(completion, task)
    prompt = prompt_of(task.prompt, task.language, task.entry_point)
    found = source(strict, task.language)
    if not strict or not isinstance(found, (PythonSource, TreeSource)):
        return strict
    if not found.whole:
        strict = _salvaged(completion, strict, prompt)
        found = source(strict, task.language)
    if isinstance(found, PythonSource) and found.whole and prompt.path and found.defines(prompt.path):
        return _needed(found, prompt.path[0])
    return strict


def _salvaged(completion: str, strict: str, prompt: Prompt) -> str:
    """A part of a text that does not parse which does: as far as the stop words, or without prose around it."""
    if prompt.is_open:
        if prompt.language == "python":
            body = completion[: _stop(completion)]
            if prompt.continues(body):
                return prompt.join(body)
        else:
            whole = source(prompt.join(completion), prompt.language)
            item = whole.definition(prompt.path) if isinstance(whole, TreeSource) else None
            end = len(prompt.text.encode("utf-8", "surrogatepass"))
            if item and item.end > end and whole.grows_behind(end):
                return whole.data[: item.end].decode("utf-8", "surrogatepass") + "\n"
    left = TRIED * len(completion) + TRIED_AT_LEAST
    for part in _parts(completion):
        left -= len(part)
        if left < 0:
            break
        found = source(part, prompt.language)
        if found.whole and (found.defines(prompt.path) if prompt.path else found.is_program):
            return prompt.around(part) if prompt.path else part
    return strict


def _stop(text: str) -> int:
    found = STOPS.search(text)
    return found.start() + (text[found.start()] == "\n") if found else len(text)


def _parts(text: str) -> Iterator[str]:
    """The text without some of its first lines, and then without some of its last ones as well."""
    lines = text.splitlines(keepends=True)
    for first in range(min(FIRST_LINES, len(lines))):
        if first == 0 or lines[first].strip():
            yield "".join(lines[first:])
    start = next(
        (n for n, line in enumerate(lines) if re.match(r"(?:def|class|import|from|#include|use|fn)\b", line)), 0
    )
    for last in range(1, min(LAST_LINES, len(lines) - start)):
        yield "".join(lines[start : len(lines) - last])


def _needed(found: PythonSource, entry: str) -> str:
    """The imports, and the statements that bind what the entry point uses, directly or not; all of them: the text."""
    kept, wanted, seen = set(), [entry], set()
    binding: dict[str, list[int]] = {}
    body = found.statements
    for number, statement in enumerate(body):
        for name in found.binds(statement):
            binding.setdefault(name, []).append(number)
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            kept.add(number)
    while wanted:
        name = wanted.pop()
        for number in binding.get(name, ()) if name not in seen else ():
            if number not in kept or isinstance(body[number], (ast.Import, ast.ImportFrom)):
                kept.add(number)
                wanted += found.uses(body[number])
        seen.add(name)
    idle = {n for n, statement in enumerate(body) if _is_text(statement)}
    if kept | idle == set(range(len(body))):
        return found.text
    return "".join(found.lines_of(body[number]) for number in sorted(kept))


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
