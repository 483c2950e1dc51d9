"""What a prompt that is code brings to an answer: the head that it continues, or what precedes the entry point."""

import ast
import re
import textwrap
from dataclasses import dataclass
from functools import cached_property, lru_cache

from stages.extraction import c_prelude
from stages.extraction.definitions import Source, UnknownSource, source
from stages.extraction.methods import framed
from stages.extraction.python_source import (
    FUNCTIONS,
    LONGEST,
    PythonSource,
    always_ends,
    does_more_behind,
    ends_at,
    has_body_behind,
    is_stub,
)
from stages.extraction.tree_source import COMMENT, GRAMMARS, Item, TreeSource, imports

BODIES = ("", "    pass\n", "        pass\n", "            pass\n", "\tpass\n", "\t\tpass\n", "  pass\n", " pass\n")
BLANK = re.compile(rf"{COMMENT.pattern}|^[ \t]*#[^\n]*", re.DOTALL | re.MULTILINE)
CLOSING = re.compile(r"[\s;]*\}")
CLOSINGS = ("", "\n}", "\n}\n}", "\n};", "\n}\n};", "\n}\n}\n}", "{}", ";")


@dataclass(frozen=True)
class Prompt:
    """A prompt in a language, with the path of the entry point: ("Solution", "twoSum") for a method."""

    text: str
    language: str
    path: tuple[str, ...]

    @cached_property
    def _closed(self) -> Source | UnknownSource | None:
        """The prompt as a whole program that defines the entry point, with the body or brackets that it lacks."""
        if not self.path:
            return None
        for end in BODIES if self.language == "python" else CLOSINGS:
            found = source(self.text + end, self.language)
            if found.whole and self._at(found) is not None:
                return found
        return None

    def _at(self, found: Source | UnknownSource) -> int | None:
        """Where the entry point's definition begins in the prompt, in characters."""
        if isinstance(found, PythonSource):
            node = found.definition(self.path[:1])
            return None if node is None else found.offset(node)
        if not isinstance(found, TreeSource):
            return None
        item = self._item(found) or next((item for item in found.items if self.path[0] in item.declared), None)
        return None if item is None else len(found.data[: item.start].decode("utf-8", "surrogatepass"))

    def _item(self, found: TreeSource) -> Item | None:
        """What holds the entry point: the `impl` of a type rather than the type, or a method outside of its class."""
        own = found.definition(self.path) if len(self.path) > 1 else None
        inside = f"{self.path[0]}::"
        methods = (one for one in reversed(found.items) if any(name.startswith(inside) for name in one.names))
        return own or next(methods, None) or found.definition(self.path[:1])

    @cached_property
    def is_open(self) -> bool:
        """Whether it ends inside of the entry point, so that an answer may go on from there."""
        found = self._closed
        if isinstance(found, PythonSource):
            return found.last is found.definition(self.path[:1])
        if self.language == "python" or not self.path:
            return False
        if found is not None and found.text == self.text + "{}":
            return True  # a signature alone
        end = len(self.text.encode("utf-8", "surrogatepass"))
        if isinstance(found, TreeSource) and found.is_in_function(end):
            item = self._item(found)
            return item is not None and item.end > end
        mentioned = UnknownSource(self.text).defines(self.path)
        return mentioned and COMMENT.sub("", self.text).rstrip().endswith("{")

    @cached_property
    def before(self) -> str:
        """What precedes the entry point: imports, helpers, types. "" where the prompt is no code."""
        found = self._closed
        if found is not None:
            before = self.text[: self._at(found)]
        elif self.is_open:
            name = re.search(rf"^.*\b{re.escape(self.path[0])}\s*[({{:<]", self.text, re.MULTILINE)
            before = self.text[: name.start()] if name else ""
        else:
            return ""
        return "" if source(before, self.language).is_empty else before

    def continues(self, code: str) -> bool:
        """Whether the prompt and `code` are a program in which the entry point has got a body, or more of it."""
        if not self.is_open or not code.strip():
            return False
        whole = source(self.text + code, self.language)
        if not whole.whole or not whole.defines(self.path):
            return False
        if isinstance(whole, PythonSource):
            return self._grows(whole.definition(self.path[:1]))
        item, end = self._item(whole), len(self.text.encode("utf-8", "surrogatepass"))
        return item is None or (item.end > end and whole.grows_behind(end))

    def completes(self, code: str) -> bool:
        """Whether it is methods alone, in an `impl` or outside of their class, of a type that the prompt defines."""
        own, known = source(code, self.language), source(self.before, self.language)
        if not isinstance(own, TreeSource) or not own.whole or not isinstance(known, TreeSource) or len(self.path) != 1:
            return False
        inside = f"{self.path[0]}::"
        has_methods = any(name.startswith(inside) for name in own.names)
        return has_methods and self.path[0] in known.names and not own.defines(self.path)

    def stands_beside(self, code: str) -> bool:
        """Whether code that does not continue the prompt makes a program with it, so that a stub would be judged."""
        if self.language != "python" and self.text.rstrip().endswith("{") and CLOSING.match(BLANK.sub(" ", code)):
            return True
        return source(f"{self.text}{code}\n", self.language).whole

    @cached_property
    def is_bare(self) -> bool:
        """Whether it is open and its entry point does nothing yet, so that it is worth nothing by itself."""
        if self.language != "python" or not self.is_open:
            return self.is_open
        return self._closed.is_stub(self.path)

    @cached_property
    def _ends_bare(self) -> bool:
        """Whether the function or class that it ends in does nothing yet."""
        return is_stub(self._closed.innermost(self.path))

    @cached_property
    def _is_finished(self) -> bool:
        """Whether nothing that goes on from it would run: its last function ends on every way through it."""
        node = self._closed.innermost(self.path)
        if self._closed.text != self.text or RETURN_AT_END.search(self.text) or not isinstance(node, FUNCTIONS):
            return False
        return always_ends(node.body)

    def _grows(self, node: object) -> bool:
        """Whether a definition goes on behind the prompt, with code that runs; with any, where it is bare."""
        lines = re.split(r"\r\n|\r|\n", self.text.rstrip())
        end = len(lines), len(lines[-1].encode("utf-8", "surrogatepass"))
        while isinstance(node, ast.ClassDef):
            grown = next((member for member in node.body if ends_at(member) > end), None)
            if grown is None or (grown.lineno, grown.col_offset) >= end:
                return grown is not None and self._has_members(node, end)
            node = grown
        if not isinstance(node, FUNCTIONS) or ends_at(node.body[-1]) <= end:
            return False
        if self._ends_bare:
            return has_body_behind(node, end)
        return not self._is_finished and does_more_behind(node, end)

    def _has_members(self, node: ast.ClassDef, end: tuple[int, int]) -> bool:
        """Whether members behind the prompt are what a class lacked: beside a bare method, that method again."""
        last = self._closed.innermost(self.path)
        if not self._ends_bare or not isinstance(last, FUNCTIONS):
            return self._ends_bare or does_more_behind(node, end)
        new = (member for member in node.body if (member.lineno, member.col_offset) >= end)
        return any(isinstance(member, FUNCTIONS) and member.name == last.name for member in new)

    def indented(self, code: str) -> str | None:
        """`code` as the body of the bare function that the prompt ends in, where only its margin is missing.

        That is so of statements that return outside of a function, and where the first line alone has lost its margin.
        """
        node = self._closed.innermost(self.path) if self.language == "python" and self.is_open else None
        if not isinstance(node, FUNCTIONS) or not self._ends_bare or len(code) > LONGEST:
            return None
        starts = self._closed.offset(node.body[0])
        margin = self._closed.text[starts:][: node.body[0].col_offset]
        own = source(code, "python")
        body = textwrap.indent(code, margin) if own.whole and own.returns else f"{margin}{code.lstrip(LINE_ENDS)}"
        if margin.strip() or (own.whole and not own.returns) or not self.continues(body):
            return None
        return body

    def with_method(self, code: str) -> str | None:
        """The prompt's class with `code` in place of its open method, which it says again; None where it is none."""
        if self.language in GRAMMARS:
            found = framed(self.text, self.language, self.path, code)
            return found and self._put_behind(found[0], found[1]) + found[2]
        head = self._closed
        node = head.definition(self.path[:1]) if isinstance(head, PythonSource) and self.is_open else None
        stub = node.body[-1] if isinstance(node, ast.ClassDef) else None
        own = source(_to_the_left(code, stub.name), "python") if isinstance(stub, FUNCTIONS) else None
        if not isinstance(own, PythonSource) or not isinstance(own.definition((stub.name,)), FUNCTIONS):
            return None
        before, methods, behind = own.split_methods(stub.name)
        margin = self.text[head.offset(stub) :][: stub.col_offset]
        start = head.offset(node)
        whole = before + self.text[start : head.offset(stub)] + textwrap.indent(methods, margin) + behind
        return _around_python(self.text[:start], whole)

    def join(self, code: str) -> str:
        """The prompt, with `code` behind it that continues it."""
        return self.text + code

    def around(self, code: str) -> str:
        """`code`, which defines the entry point, with what of the prompt's beginning it does not have itself."""
        if not self.before:
            return code
        if self.language == "python":
            return _around_python(self.before, code)
        return self._put_behind(source(self.before, self.language), code)

    def _put_behind(self, known: Source | UnknownSource, code: str) -> str:
        own = source(code, self.language)
        if not isinstance(known, TreeSource) or not isinstance(own, TreeSource):
            return code
        return _around_rust(known, own) if self.language == "rust" else c_prelude.around(known, own, self.path)


LINE_ENDS = "\r\n"
RETURN_AT_END = re.compile(r"\breturn[ \t]*\Z")  # its value may follow


@lru_cache(1024)
def prompt_of(text: str, language: str, entry_point: str | None) -> Prompt:
    """What there is to know of a task's prompt, worked out once."""
    return Prompt(text, language, tuple(re.split(r"\.|::", entry_point)) if entry_point else ())


def _to_the_left(code: str, name: str) -> str:
    """Code without the margin of a class: its own, or that of the method `name` and all behind it."""
    code = textwrap.dedent(code)
    method = re.search(rf"^[ \t]+(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b", code, re.MULTILINE)
    if method is None or source(code, "python").whole:
        return code
    return code[: method.start()] + textwrap.dedent(code[method.start() :])


def _around_python(before: str, code: str) -> str:
    """Future imports come first, whoever brings them."""
    if code.startswith(before):
        return code
    own, known = source(code, "python"), source(before, "python")
    if not isinstance(own, PythonSource) or not own.whole or not (end := own.future_end()):
        return before + code
    if isinstance(known, PythonSource) and known.whole and (first := known.future_end()):
        return code[:end] + before[first:] + code[end:]
    return code[:end] + before + code[end:]


def _around_rust(known: TreeSource, own: TreeSource) -> str:
    """Behind the code, which may begin with attributes of the crate; macros come before what uses them."""
    named = {name for item in own.items for _, name in _uses(own, item)}
    paths = {path for item in own.items for path, _ in _uses(own, item)}
    parts, macros = [], []
    for item in known.items:
        if item.kind == "use_declaration":
            parts += [
                f"#[allow(unused_imports)] use {path};"
                for path, name in _uses(known, item)
                if path not in paths and (name not in named | own.names or name == "_")
            ]
        elif item.kind != "inner_attribute_item" and not _is_there(known, item, own):
            (macros if item.kind == "macro_definition" else parts).append(_text(known, item))
    behind = "\n".join(parts)
    text = own.text + (f"\n{behind}\n" if behind else "")
    if not macros:
        return text
    heads = [item.end for item in own.items if item.kind == "inner_attribute_item"]
    at = len(own.data[: max(heads, default=0)].decode("utf-8", "surrogatepass"))
    return text[:at] + "\n".join(macros) + "\n" + text[at:]


def _uses(text: TreeSource, item: Item) -> tuple[tuple[str, str], ...]:
    return imports(text.text, item) if item.kind == "use_declaration" else ()


def _is_there(known: TreeSource, item: Item, own: TreeSource) -> bool:
    """Whether code has an item of the prompt's: by its name where it defines one, else word for word."""
    if item.names:
        return any(name in own.names for name in item.names)
    return _words(known, item) in _all_words(own)


@lru_cache(8)
def _all_words(text: TreeSource) -> frozenset[str]:
    return frozenset(_words(text, item) for item in text.items)


def _text(text: TreeSource, item: Item) -> str:
    return text.data[item.start : item.end].decode("utf-8", "surrogatepass")


def _words(text: TreeSource, item: Item) -> str:
    return re.sub(r"\s+", "", _text(text, item))
