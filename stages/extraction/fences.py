"""Fenced blocks: a CommonMark parser finds them, with tolerance on top for what small models write.

CommonMark does not know a fence that is glued to a word or to the code, text behind a closing fence, a fence that is
missing, or one inside of a docstring. Where a block as CommonMark reads it is no sound program, other ends are tried.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from stages.extraction.tags import TAGS, is_tag, language_of

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

LONGEST = 200_000  # characters that the CommonMark parser reads; of longer texts the lines alone are looked at
RUN = re.compile(r"`{3,}|~{3,}")
FENCE = re.compile(r"^[ \t]*(?P<marks>`{3,}|~{3,})(?P<info>[^\n]*)$", re.MULTILINE)
QUOTE = re.compile(r"^[ \t]*>[ \t]?", re.MULTILINE)
CODE_BEHIND = re.compile(r"[(=;{]|^\s*(?:import|from|use|def|class|fn|pub|@|#\s*include)\b")
ATTRIBUTE = re.compile(r"^\s*[\w-]+=(?:\"[^\"\n]*\"|'[^'\n]*')(?=\s|$)")
ENDS = 12  # other ends that are tried of a block
REPAIRS = 24  # blocks of a text that may end elsewhere than CommonMark says
GLUED = 64  # fences within lines that are looked at
BUDGET, BUDGET_AT_LEAST = 2, 50_000  # characters that are tried, and read again, by the text's length


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its info string, its content, where it begins and ends in the text with its fences."""

    info: str
    content: str
    begin: int
    end: int
    closed: bool = True
    inline: bool = False  # code within a line of prose

    @property
    def language(self) -> str:
        """The language that the tag names, "" for none."""
        return language_of(self.info)[0]


@cache
def _parser() -> "MarkdownIt":
    """CommonMark without what begins no block of code. A tag like <answer> does not hide the fence behind it."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"maxNesting": 8})
    parser.core.ruler.enableOnly(["normalize", "block"])
    parser.block.ruler.disable(["html_block", "reference", "heading", "lheading", "hr"])
    return parser


def commonmark(text: str, at: int = 0) -> Iterator[Block]:
    """The blocks behind `at` as CommonMark reads them."""
    part = text[at:]
    if "```" not in part and "~~~" not in part:
        return
    if len(part) > LONGEST:
        yield from _by_lines(text, at)
        return
    starts = [at, *(at + found.end() for found in re.finditer(r"\r\n?|\n", part)), len(text) + 1]
    for token in _parser().parse(part):
        if token.type != "fence":
            continue
        first, behind = token.map
        begin, end = starts[first], min(starts[min(behind, len(starts) - 1)], len(text))
        end = begin + len(text[begin:end].rstrip("\r\n"))
        last = text[starts[behind - 1] : end].strip(" \t>\r\n")
        closed = behind - first > 1 and set(last) == {token.markup[0]} and len(last) >= len(token.markup)
        yield Block(token.info.strip(), token.content, begin, end, closed)


def _by_lines(text: str, at: int) -> Iterator[Block]:
    """The blocks behind `at` by the look of lines: as CommonMark, but for its containers, and for empty blocks."""
    opened: re.Match | None = None
    for fence in FENCE.finditer(text, at):
        marks, info = fence["marks"], fence["info"].strip()
        if opened is None:
            opened = None if marks[0] == "`" and "`" in info else fence
        elif marks[0] == opened["marks"][0] and len(marks) >= len(opened["marks"]) and not info:
            content = text[opened.end() + 1 : fence.start()]
            if content and not content.isspace():
                yield Block(opened["info"].strip(), content, opened.start(), fence.end())
            opened = None
    if opened is not None:
        yield Block(opened["info"].strip(), text[opened.end() + 1 :], opened.start(), len(text), False)


def _tagged(block: Block) -> Block:
    """The block with the tag that stands on its first line by mistake."""
    if block.info or block.inline:
        return block
    first, _, rest = block.content.partition("\n")
    language, end = language_of(first.strip())
    if language not in TAGS or end != len(first.strip()):  # no program begins with a line of such a name alone
        return block
    return Block(first.strip(), rest, block.begin, block.end, block.closed)


class Reader:
    """Reads the blocks of one text. `sound` says whether a content is code as the task wants it."""

    def __init__(self, text: str, sound: Callable[[str], bool]) -> None:
        self.text = text
        self._sound = sound
        self._budget = BUDGET * len(text) + BUDGET_AT_LEAST
        self._rereads = self._budget
        self._repairs = REPAIRS if len(text) <= LONGEST else 0
        self._glued_left = GLUED

    def sound(self, content: str) -> bool:
        """Whether a content is sound, as long as not too much was asked."""
        self._budget -= len(content)
        return self._budget >= 0 and bool(content.strip()) and self._sound(content)

    def blocks(self) -> list[Block]:
        """All blocks in order."""
        return [_tagged(block) for block in self._blocks()]

    def _blocks(self) -> list[Block]:
        if not self._repairs:
            return list(commonmark(self.text))
        found: list[Block] = []
        at, strict = 0, commonmark(self.text)
        block = next(strict, None)
        while True:
            glued = self._glued(at, block.begin if block else len(self.text)) if self._repairs else None
            if glued is None and block is None:
                return found
            taken, behind = glued or self._settled(block)
            if taken is not None:
                found.append(taken)
            in_step = glued is None and behind == block.end
            at = behind
            if not in_step:
                self._rereads -= len(self.text) - at
                self._repairs = self._repairs - 1 if self._rereads > 0 else 0
                strict = commonmark(self.text, at)
            block = next((later for later in strict if later.begin >= at), None)

    def _settled(self, block: Block) -> tuple[Block | None, int]:
        """A block of CommonMark's as it is best read, and where to go on."""
        if self.sound(block.content) and not self._behind_tag(block):
            return block, block.end
        opening = FENCE.match(self.text, block.begin) if self._repairs > 0 else None
        if opening is None or self._is_foreign(block):
            return self._with_tag_line(block), block.end
        inner = next((f for f in FENCE.finditer(block.content) if f["info"].strip() and is_tag(f["info"])), None)
        if inner and (block.language in ("markdown", "md") or not block.content[: inner.start()].strip()):
            return None, min(opening.end() + 1, len(self.text))  # a wrapper around blocks
        begin, head, body = block.begin, opening.end("marks"), opening.end() + 1
        if repaired := self._ended(block.info, opening["marks"], head, body, begin, block.closed):
            return repaired
        if inner:
            return self._cut(block, opening)
        return self._with_tag_line(block), block.end

    def _cut(self, block: Block, opening: re.Match) -> tuple[Block | None, int]:
        """A block whose end is missing, up to the fence that opens the next one."""
        later = next(
            (f for f in FENCE.finditer(self.text, opening.end() + 1) if f["info"].strip() and is_tag(f["info"])), None
        )
        if later is None or later.start() >= block.end:
            return block, block.end
        content = self.text[opening.end() + 1 : later.start()]
        own = block.language in TAGS
        return (Block(block.info, content, block.begin, later.start(), False) if own else None), later.start()

    def _is_foreign(self, block: Block) -> bool:
        """A block of another language, or of text: whatever is in there, it ends where CommonMark says."""
        return block.closed and block.language not in ("", "markdown", "md", "text", "txt", *TAGS)

    def _behind_tag(self, block: Block) -> str:
        """Code that stands on the line of the opening fence; "" for none."""
        language, end = language_of(block.info)
        rest = ATTRIBUTE.sub("", block.info[end:]) if language in TAGS else block.info
        return rest.strip() if CODE_BEHIND.search(rest[:LONGEST]) else ""

    def _with_tag_line(self, block: Block) -> Block:
        """The block with the code on the line of its opening fence, where that makes it sound."""
        if rest := self._behind_tag(block):
            content = f"{rest}\n{block.content}"
            if self.sound(content):
                return Block(block.info.removesuffix(rest), content, block.begin, block.end, block.closed)
        return block

    def _ended(self, info: str, marks: str, head: int, body: int, begin: int, closed: bool) -> tuple[Block, int] | None:
        """The block that opens with `marks`, at the first end with which it is sound; None where there is none.

        `head` is behind the marks, `body` behind their line.
        """
        rest = self._behind_tag(Block(info, "", begin, body))
        shortest = 3 if not closed else len(marks)
        tried = 0
        for run in RUN.finditer(self.text, min(body if not rest else head, len(self.text))):
            if len(run[0]) < shortest:
                continue
            if (tried := tried + 1) > ENDS:
                break
            if block := self._sound_block(info, rest, body, run.start(), begin):
                return block, self._go_on(run)
        if block := self._sound_block(info, rest, body, len(self.text), begin):
            return replace(block, closed=False), len(self.text)
        return None if closed else self._without_prose(info, rest, body, begin)

    def _sound_block(self, info: str, rest: str, body: int, end: int, begin: int) -> Block | None:
        lines = self._lines(body, end, begin) if end > body else ""
        contents = [lines]
        if lines != self.text[body:end]:  # the fence alone has a margin
            contents.append(self.text[body:end])
        if rest:
            at = self.text.find(rest, begin)
            contents.insert(0, f"{self.text[at : min(at + len(rest), end)]}\n{lines}")
        for content in contents:
            if self.sound(content):
                return Block(info, content, begin, end)
        return None

    def _without_prose(self, info: str, rest: str, body: int, begin: int) -> tuple[Block, int] | None:
        """The block up to the last paragraph with which it is sound: no fence ends it, and prose follows."""
        text = self.text
        ends = [found.start() + 1 for found in re.finditer(r"\n[ \t\r]*\n", text[body:])][-ENDS:]
        for end in reversed(ends):
            if block := self._sound_block(info, rest, body, body + end, begin):
                return Block(block.info, block.content, begin, body + end, False), body + end
        return None

    def _lines(self, body: int, end: int, begin: int) -> str:
        """The content from `body` to `end` without the fence's own indentation, or marks of quotation."""
        content = self.text[body:end]
        line = self.text.rfind("\n", 0, begin) + 1
        if self.text[line:begin].strip(" \t") == ">" or self.text[begin : begin + 1] == ">":
            return QUOTE.sub("", content)
        opening = FENCE.match(self.text, line)
        margin = opening.start("marks") - line if opening else 0
        if not margin:
            return content
        lines = content.split("\n")
        return "\n".join(line[min(margin, len(line) - len(line.lstrip(" \t"))) :] for line in lines)

    def _go_on(self, run: re.Match) -> int:
        """Behind a fence that ends a block; before it where it opens the next one at the same time."""
        line_end = self.text.find("\n", run.end())
        info = self.text[run.end() : line_end if line_end >= 0 else len(self.text)]
        if info.strip() and is_tag(info):
            return run.start()
        return run.end()

    def _glued(self, at: int, end: int) -> tuple[Block, int] | None:
        """The first block between `at` and `end` whose opening fence CommonMark does not see, and where to go on."""
        for run in RUN.finditer(self.text, at, end):
            self._glued_left -= 1
            if self._glued_left < 0:
                return None
            line_end = self.text.find("\n", run.end())
            line_end = line_end if line_end >= 0 else len(self.text)
            line = self.text[run.end() : line_end]
            if run[0] in line:
                inner, _, _ = line.partition(run[0])
                tag = language_of(inner)
                code = inner[tag[1] :] if tag[0] in TAGS else inner
                for content in (code.strip(), inner.strip()):
                    if self.sound(content):
                        close = run.end() + len(inner) + len(run[0])
                        info = inner[: tag[1]] if tag[0] in TAGS else ""
                        return Block(info, content, run.start(), close, inline=True), close
            body = min(line_end + 1, len(self.text))
            if found := self._ended(line.strip(), run[0], run.end(), body, run.start(), False):
                return found
        return None
