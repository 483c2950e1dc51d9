"""From an answer's text to the parts of an example. Pure, and never raises for a text: what is wrong has a kind.

### Problem            any heading, or a line in bold; what stands before the first one is ignored
### Solution           one fenced block
### Tests              one fenced block; or
### Cases              fenced blocks in pairs, input and output
"""

import re
from dataclasses import dataclass, field

from stages.common.thinking import drop_thinking
from stages.extraction.code import fenced_blocks

KINDS = (
    "empty",
    "refused",
    "unfinished",
    "unbalanced_fence",
    "repeated_section",
    "no_problem",
    "no_solution",
    "no_tests",
    "bad_cases",
    "too_long",
)
LONGEST = 200_000  # characters
SECTIONS = {
    "problem": ("problem", "problem statement", "statement", "task", "description", "exercise"),
    "solution": ("solution", "reference solution", "code", "implementation"),
    "tests": ("test", "tests", "unit tests", "test code"),
    "cases": ("case", "cases", "test cases", "examples", "sample cases"),
}
TITLE_OF = {title: section for section, titles in SECTIONS.items() for title in titles}
HEADING = re.compile(
    r"^[ ]{0,3}(?:#{1,6}[ \t]+(?P<marked>[^\n]*?)[ \t#]*|\*\*(?P<bold>[^\n*]{1,60})\*\*:?[ \t]*)$", re.MULTILINE
)
REFUSAL = re.compile(r"\b(?:I(?:'m| am) sorry|I (?:cannot|can't|can not|won't)|as an AI)\b", re.IGNORECASE)
REFUSALS = ("refusal", "content_filter")
# Tests are run beside the solution; models like to import it all the same, from a module that they make up.
OWN_IMPORT = re.compile(
    r"^from[ \t]+(?:solution|your_solution|my_solution|your_module|my_module|main|code|problem)[ \t]+import[ \t]+"
    r"(?:\([^()]*\)|[^\n()]*)[ \t]*\n",
    re.MULTILINE,
)
OUTPUT = re.compile(r"\b(?:out|output|outputs|stdout|expected)\b", re.IGNORECASE)
INPUT = re.compile(r"\b(?:in|input|inputs|stdin)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Draft:
    """An example as it was answered, not yet judged. Either `tests` or `cases` is empty."""

    problem: str
    solution: str
    tests: str = ""
    cases: list[dict[str, str]] = field(default_factory=list)


def parse_answer(text: str, finish: str | None, language: str) -> Draft | str:
    """The draft in an answer, or the kind of what is wrong with it (one of KINDS)."""
    text = drop_thinking(text.replace("\r\n", "\n")).strip()
    if finish in REFUSALS or finish == "length":
        return "unfinished" if finish == "length" else "refused"
    if not text or len(text) > LONGEST:
        return "too_long" if text else "empty"
    text = _unwrapped(text)
    spans, open_fence = _fences(text, language)
    sections = _sections(text, spans)
    if not sections and REFUSAL.search(text):
        return "refused"
    if open_fence or isinstance(sections, str):
        return "unbalanced_fence" if open_fence else str(sections)
    return _draft(sections, language)


def _draft(sections: dict[str, str], language: str) -> Draft | str:
    problem = sections.get("problem", "").strip()
    if not problem:
        return "no_problem"
    solution = _code(sections.get("solution", ""), language)
    if not solution:
        return "no_solution"
    tests = _code(sections.get("tests", ""), language)
    if language == "python":
        tests = OWN_IMPORT.sub("", tests)
    cases = _cases(sections.get("cases", ""), language)
    if cases is None:
        return "bad_cases"
    if not tests and not cases:
        return "no_tests"
    # Unit tests are the richer of the two; cases beside them are mostly examples of calls.
    return Draft(problem, solution, tests, [] if tests else cases)


def _unwrapped(text: str) -> str:
    """An answer that was put into a block as a whole, without that block."""
    lines = text.split("\n")
    wrapped = re.fullmatch(r"(`{3,}|~{3,})[ \t]*(?:markdown|md|text)?[ \t]*", lines[0])
    inner = "\n".join(lines[1:-1])
    if wrapped and lines[-1].strip() == wrapped[1] and HEADING.match(inner.lstrip("\n")):
        return inner.strip()
    return text


def _fences(text: str, language: str) -> tuple[list[tuple[int, int]], bool]:
    """(begin, end) of the fenced blocks, and whether the last one has no end."""
    blocks = [block for block in fenced_blocks(text, language) if not block.inline]
    return [(block.begin, block.end) for block in blocks], bool(blocks) and not blocks[-1].closed


def _sections(text: str, fences: list[tuple[int, int]]) -> dict[str, str] | str:
    """The text of each section that is known, by its name. Headings in blocks are comments of programs."""
    found: list[tuple[str, int, int]] = []
    at = 0
    for heading in HEADING.finditer(text):
        while at < len(fences) and fences[at][1] < heading.start():
            at += 1
        if at < len(fences) and fences[at][0] <= heading.start():
            continue
        title = (heading["marked"] if heading["marked"] is not None else heading["bold"]).strip(" \t:*_`.").lower()
        section = TITLE_OF.get(re.sub(r"^(?:\d+[.)]?|step \d+:?)\s+", "", title))
        # A heading that is none of ours belongs to the problem's text, in which it may well stand.
        if section:
            found.append((section, heading.start(), heading.end()))
    # A heading like "Examples" that comes before the solution is a part of the statement.
    solution = next((begin for section, begin, _ in found if section == "solution"), 0)
    found = [entry for entry in found if not (entry[0] == "cases" and entry[1] < solution)]
    sections: dict[str, str] = {}
    for number, (section, _, begin) in enumerate(found):
        if section in sections:
            return "repeated_section"
        end = found[number + 1][1] if number + 1 < len(found) else len(text)
        sections[section] = text[begin:end]
    return sections


def _code(section: str, language: str) -> str:
    """The program of a section: its longest block of the language, or else its longest one; "" for none."""
    blocks = fenced_blocks(section, language)
    own = [block.content for block in blocks if block.language == language] or [block.content for block in blocks]
    code = max(own, key=len, default="")
    return code.rstrip() + "\n" if code.strip() else ""


def _cases(section: str, language: str) -> list[dict[str, str]] | None:
    """Pairs of blocks, each called input or output by its tag or by the line before it; None where they do not pair.

    Blocks without such names take turns.
    """
    cases: list[dict[str, str]] = []
    spans, _ = _fences(section, language)
    waiting: str | None = None
    last = 0
    for begin, end in spans:
        block, before = section[begin:end], section[last:begin]
        last = end
        first, _, rest = block.partition("\n")
        label = first.strip("`~ \t") or (before.strip().splitlines() or [""])[-1]
        content = rest[: rest.rfind("\n") + 1]
        kind = "out" if OUTPUT.search(label) else "in" if INPUT.search(label) else ("in" if waiting is None else "out")
        if (kind == "in") != (waiting is None):
            return None
        if waiting is None:
            waiting = content
        else:
            cases.append({"stdin": waiting, "stdout": content})
            waiting = None
    return None if waiting is not None else cases
