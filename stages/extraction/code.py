"""The code under test inside a completion. Pure, and linear in the completion's length however hostile it is."""

import re
import textwrap
from collections.abc import Callable, Sequence
from functools import lru_cache

from stages.common.records import Task
from stages.common.thinking import drop_thinking
from stages.extraction.definitions import Source, UnknownSource, reads_input, source
from stages.extraction.fences import RUN, Block, Reader
from stages.extraction.pieces import put_together
from stages.extraction.prelude import Prompt, prompt_of
from stages.extraction.python_source import PythonSource
from stages.extraction.tags import TAGS, is_no_program
from stages.extraction.tree_source import GRAMMARS

BYTE_ORDER_MARK = re.compile(r"(\A|\n)\ufeff+")
WORD = re.compile(r"[^\W\d]\w*")
FIRST_LINES, LAST_LINES = 16, 6  # of a text without an opening fence, at which its code may begin, and end


def extract_code(completion: str, task: Task) -> str:
    """The program that `completion` proposes for `task`; "" where it holds no code.

    A text that is code as a whole is taken as it is. Else a thought at its start is dropped, and of its fenced blocks
    the last is taken that defines the task's entry point, or that is a whole program where there is none: one of the
    task's language before one without a tag, and that before others. Without blocks the text is taken. Where the
    prompt is code, code that goes on from there is put behind it, and code that defines the entry point behind what
    precedes it in the prompt.
    """
    has_input = any(str(case.get("stdin", "")).strip() for case in task.cases)
    return _extract(completion, task.language, task.prompt, task.entry_point, task.tests, has_input)


@lru_cache(64)  # selection and trimming ask for the same few again and again
def _extract(completion: str, language: str, prompt: str, entry: str | None, tests: str, has_input: bool) -> str:
    return Choice(prompt_of(prompt, language, entry), tests, has_input).of(completion)


class Choice:
    """Chooses the code in answers to one prompt. `tests` tell what is wanted where no entry point does.

    Of programs that get input, those that read it are preferred.
    """

    def __init__(self, prompt: Prompt, tests: str = "", has_input: bool = False) -> None:
        self.prompt, self.language, self.path = prompt, prompt.language, prompt.path
        self._tests, self._has_input = tests, has_input
        self._tested = self._words_of(tests) if tests.strip() and not self.path else frozenset()

    def _words_of(self, tests: str) -> frozenset[str]:
        """The words in tests, but for names that tests in Python bind themselves other than by an import."""
        found = self._source(tests)
        own = found.own_names if isinstance(found, PythonSource) else set()
        return frozenset(WORD.findall(tests)) - own

    def of(self, completion: str) -> str:
        """The program in a completion, with what the prompt brings to it; "" for none."""
        code = self.found(completion)
        return "" if self.is_nothing(code) else self._whole(code)

    def is_nothing(self, code: str) -> bool:
        """Whether it holds no code: nothing but white space, comments and, in Python, values that are stated."""
        found = self._source(code)
        if not isinstance(found, PythonSource) or not found.whole or found.is_something:
            return found.is_empty
        return found.is_empty or not self.prompt.continues(code)

    def found(self, completion: str) -> str:
        """The program as it stands in a completion."""
        text = BYTE_ORDER_MARK.sub(r"\1", completion)
        if self.serves(text):
            return text
        text = drop_thinking(text)
        if ("```" not in text and "~~~" not in text) or self.serves(text):
            return text
        reader = Reader(text, self.is_sound)
        blocks = reader.blocks()
        first = RUN.search(text).start()
        before = self._before(text[:first], reader)
        if before is not None:
            blocks.insert(0, Block("", before, 0, first))
        return self._chosen(blocks, text)

    def _source(self, code: str) -> Source | UnknownSource:
        return source(code, self.language)

    def is_definition(self, code: str) -> bool:
        """Whether it is code without an error that defines the entry point."""
        found = self._source(code)
        return found.whole and found.defines(self.path)

    def serves(self, code: str) -> bool:
        """Whether it is, as a whole, what the task asks for: not a piece of it, and nothing beside it."""
        found = self._source(code)
        if self.path:
            return (found.whole and found.defines(self.path) and not found.is_stub(self.path)) or (
                self.prompt.continues(code) and not found.is_empty
            )
        return found.whole and self._is_wanted(found)

    def _is_wanted(self, found: Source | UnknownSource) -> bool:
        """Whether it is a program, or defines what the tests of a task without an entry point use."""
        if not self._tested:
            return found.is_program
        names = found.bound.keys() if isinstance(found, PythonSource) else getattr(found, "names", frozenset())
        return bool(self._tested & (set(names) - {"main"}))

    def _makes_wanted(self, found: Source | UnknownSource) -> bool:
        """Whether it is Python that defines what the tests use, with a body, and does not take it from elsewhere."""
        if not isinstance(found, PythonSource) or not found.whole:
            return False
        names = (self._tested & found.bound.keys()) - {"main"}
        return any(not found.is_stub((name,)) and not found.is_borrowed((name,)) for name in names)

    def is_sound(self, code: str) -> bool:
        """Whether it is code without an error, or goes on from the prompt."""
        found = self._source(code)
        if found.whole:
            return found.is_something or not self.path
        if self.prompt.continues(code):
            return True
        return self.language == "python" and code[:1] in " \t\n" and self._source(textwrap.dedent(code)).whole

    def _before(self, text: str, reader: Reader) -> str | None:
        """Code before the first fence, whose opening fence is missing; None where there is none."""
        if not text.strip():
            return None
        lines = text.splitlines(keepends=True)
        ends = [len(lines) - last for last in range(LAST_LINES) if last == 0 or lines[-last:][0].strip()]
        for first, line in enumerate(lines[:FIRST_LINES]):
            for end in ends if line.strip() else ():
                code = "".join(lines[first:end])
                if reader.sound(code) and self.serves(code):
                    return code
        return None

    def _chosen(self, blocks: Sequence[Block], text: str) -> str:
        if not blocks:
            return text
        if self.language in TAGS:  # in another language, a session of a shell may be the program
            blocks = [block for block in blocks if not is_no_program(block.language)]
        if not blocks:
            return ""
        choose = self._defining if self.path else self._program
        code = choose(blocks)
        if code is None and self.path:
            code = self._last(blocks, lambda code: self.prompt.with_method(code) is not None)
        if code is not None:
            return self._with_pieces(code, blocks)
        real = [block for block in blocks if not block.inline] or blocks
        own = [block.content for block in real if block.language == self.language]
        return max(own, key=len) if own else real[-1].content

    def _groups(self, blocks: Sequence[Block]) -> list[list[str]]:
        """Contents by how likely they are meant: of the task's language, without a tag, others.

        A whole program without a tag is as good as one with a tag.
        """
        own = [block.content for block in blocks if block.language == self.language]
        untagged = [block.content for block in blocks if not block.language]
        others = [block.content for block in blocks if block.language and block.language != self.language]
        both = [block.content for block in blocks if block.language in ("", self.language)]
        return [own, untagged, others] if self.path else [both, others]

    def _last(self, blocks: Sequence[Block], accepts: Callable[[str], bool]) -> str | None:
        """The last content that is accepted, of the first group that has one."""
        for group in self._groups(blocks):
            for content in reversed(group):
                if content.strip() and accepts(content):
                    return content
        return None

    def _defining(self, blocks: Sequence[Block]) -> str | None:
        """The last block that defines the entry point or goes on from the prompt, rather one without an error."""

        blocks = self._without_cut(blocks)

        def full(code: str) -> bool:
            return self.is_definition(code) and not self._source(code).is_stub(self.path)

        def goes_on(code: str) -> bool:
            return not self._source(code).is_empty and self.prompt.continues(code)

        def is_meant(code: str) -> bool:
            """No usage that imports the entry point."""
            found = self._source(code)
            return full(code) and not (isinstance(found, PythonSource) and found.is_borrowed(self.path))

        def is_body(code: str) -> bool:
            """No signature once more."""
            return goes_on(code) and not self._source(self.prompt.join(code)).is_stub(self.path)

        same = [block for block in blocks if block.language in ("", self.language)]
        if (code := self._last(same, is_meant)) is not None:  # what goes on from the prompt may be an excerpt of it
            return self._with_helpers(code, blocks)
        for accepts in (is_body, is_meant, lambda code: full(code) or goes_on(code)):
            if (code := self._last(blocks, accepts)) is not None:
                return self._with_helpers(code, blocks)
        if (code := self._last(blocks, lambda code: full(textwrap.dedent(code)))) is not None:
            return textwrap.dedent(code)
        for accepts in (lambda code: self.prompt.with_method(code) is not None, self.prompt.completes):
            if (code := self._last(blocks, accepts)) is not None:
                return code
        fenced = [block for block in blocks if not block.inline]
        if (code := self._last(fenced, lambda code: self.prompt.indented(code) is not None)) is not None:
            return self.prompt.indented(code)
        return self._last(blocks, lambda code: self._source(code).defines(self.path))

    def _without_cut(self, blocks: Sequence[Block]) -> Sequence[Block]:
        """The blocks but for a last one that the text breaks off in, in a function that returns in an earlier one."""
        found = self._source(blocks[-1].content)
        if blocks[-1].closed or not isinstance(found, PythonSource) or not found.whole:
            return blocks
        earlier = [self._source(block.content) for block in blocks[:-1]]
        cut = found.yields_nothing(self.path) and any(one.whole and one.ends(self.path) for one in earlier)
        cut = cut or any(one.text.startswith(found.text.rstrip()) and not one.is_stub(self.path) for one in earlier)
        return blocks[:-1] if cut else blocks

    def _with_helpers(self, code: str, blocks: Sequence[Block]) -> str:
        """Python code with the blocks that bind names which it uses and lacks: answers go step by step.

        They precede it, but for those behind it that need what it binds.
        """
        found, prompt = self._source(code), self._source(self.prompt.before)
        if not isinstance(found, PythonSource) or not isinstance(prompt, PythonSource):
            return code
        before, behind = [], []
        lacks, passed = set(found.missing - prompt.bound.keys()), False
        if self._tested:  # the tests may use what several blocks define
            steps = [
                step for step in (self._source(block.content) for block in blocks) if isinstance(step, PythonSource)
            ]
            lacks |= {name for step in steps for name in self._tested - found.bound.keys() if step.has_body((name,))}
        for content in (block.content for block in blocks):
            step = self._source(content)
            passed = passed or content == code
            if content == code or not isinstance(step, PythonSource) or step.defines(self.path):
                continue
            new = {name for name in lacks & step.bound.keys() if not passed or not step.is_borrowed((name,))}
            if new:
                lacks -= new if passed else set()
                (behind if passed and step.missing & found.bound.keys() else before).append(content)
        joined = "\n".join([*before, code, *behind])
        return joined if len(joined) > len(code) and self._source(joined).whole else code

    def _with_pieces(self, code: str, blocks: Sequence[Block]) -> str:
        """Code in C, C++ or Rust that does not go on from the prompt, with the other blocks that it needs."""
        if self.language not in GRAMMARS or (self.path and self.prompt.continues(code)):
            return code
        own = [block.content for block in blocks if not block.inline and block.language in ("", self.language)]
        return put_together(code, own, self.language, self.path)

    def _program(self, blocks: Sequence[Block]) -> str | None:
        """The last block that is a whole program; pieces of one are joined."""
        own = [block.content for block in blocks if block.language == self.language and block.content.strip()]
        if not own:
            untagged = [block.content for block in blocks if not block.language and not block.inline]
            own = [
                content for content in untagged if self._source(content).whole and self._source(content).is_something
            ]

        def is_wanted(code: str) -> bool:
            return self._source(code).whole and self._is_wanted(self._source(code))

        if (
            self._tested
            and (code := self._last(blocks, lambda code: self._makes_wanted(self._source(code)))) is not None
        ):
            return self._with_helpers(code, blocks)
        code = None
        if self._has_input:
            code = self._last(blocks, lambda code: reads_input(self._source(code)) and is_wanted(code))
        code = code if code is not None else self._last(blocks, is_wanted)
        begun = [piece for piece in own if self._source(piece).only_reads]
        if code is None or (begun and code in own and self._goes_on(own[: own.index(code)], begun, code)):
            joined = "\n".join(own if code is None else [*begun, code])
            if len(own) > 1 and self._source(joined).whole and self._is_wanted(self._source(joined)):
                return joined
        return code if code is not None else self._last(blocks, lambda code: self._source(code).is_program)

    def _goes_on(self, before: Sequence[str], begun: Sequence[str], code: str) -> bool:
        """Whether a program is behind pieces that begin to read, and does not read the same again."""
        found, first = self._source(code), self._source("\n".join(begun))
        known = isinstance(found, PythonSource) and isinstance(first, PythonSource)
        return begun[0] in before and known and first.begins(found)

    def _whole(self, code: str) -> str:
        """Code with what the prompt brings to it."""
        found = self._source(code)
        defines = bool(self.path) and found.defines(self.path)
        if not self.path or (defines and found.whole and not found.is_stub(self.path)):
            return self.prompt.around(code) if self.path else code
        if self.prompt.continues(code):
            return self.prompt.join(code)
        if defines or self.prompt.completes(code):
            return self.prompt.around(code)
        if (joined := self.prompt.with_method(code)) is not None:
            return joined
        return code if not self.prompt.is_bare or self.prompt.stands_beside(code) else self.prompt.join(code)


def choose_program(text: str, language: str) -> str | None:
    """The whole program in an answer that is no completion of a prompt; None where it holds no fenced block of code."""
    if RUN.search(drop_thinking(text)) is None:
        return None
    choice = Choice(prompt_of("", language, None))
    code = choice.found(text)
    return None if not code.strip() or source(code, language).is_empty else code


def fenced_blocks(text: str, language: str) -> list[Block]:
    """The fenced blocks of a text, read for code of one language."""
    return Reader(text, Choice(prompt_of("", language, None)).is_sound).blocks()
