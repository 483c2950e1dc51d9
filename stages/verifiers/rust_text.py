"""Rust as text: what is refused of code that is compiled beside tests, and what the tests' text consists of.

Everything is linear in the text's length.
"""

import re
from dataclasses import dataclass
from functools import cached_property

LITERALS = re.compile(
    r"""
      //[^\n]* | (?P<comment>/\*) | \b(?:br|cr|r)(?P<hashes>\#{0,255})"
    | "(?:\\.|[^"\\])*+"? | '(?:\\[^\n]{1,12}?|[^'\\\n])'
    """,
    re.DOTALL | re.VERBOSE,
)
COMMENT_EDGE = re.compile(r"/\*|\*/")
WORD = re.compile(r"[^\W\d]\w*")
MAIN = re.compile(r"\bfn\s+main\s*\(\s*\)")
OWN_CRATE = re.compile(r"(?<![\w$])(\$?)crate(\s*::)")
# Attributes and macros that put code or symbols where the tests' are, and names that would be others' in the tests.
REFUSED = {
    "asm",
    "global_asm",
    "naked_asm",
    "no_mangle",
    "export_name",
    "link_section",
    "link_name",
    "naked",
    "global_allocator",
}
RENAMED_STANDARD = re.compile(r"\bas\s+(?:std|core|alloc)\b")
EQUALITY = re.compile(r"\bPartial(?:Eq|Ord)\s*(?:::\s*)?(?P<other>\s+as\b|<)")
TARGET = re.compile(r"\s*\bfor\b(?!\s*<)([^{;]*?)(?=\bwhere\b|[{;]|\Z)")
HOOKS = {"set_hook", "take_hook"}
EXPECTED = re.compile(r"should_panic\s*(?:\(\s*expected\s*)?=\s*(\"(?:\\.|[^\"\\])*\"|r(#*)\".*?\"\2)", re.DOTALL)
DERIVED = re.compile(r"\bderive\s*\([^()]*\)")
BY_MACRO = re.compile(r"\bimpl\b[^{};]{0,200}\$")
MARK = re.compile(r"#\s*\[\s*test\s*\]")
ATTRIBUTE = re.compile(r"\s*#\s*\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\]")
TEST_ATTRIBUTES = re.compile(r"#\s*\[\s*(?:test|ignore\b[^\[\]]*|should_panic\b[^\[\]]*|cfg\s*\(\s*test\s*\))\s*\]")
FUNCTION = re.compile(r"\s*(?P<visible>pub\s*(?:\([^()]*\)\s*)?)?(?:unsafe\s+)?fn\s+(?P<name>\w+)\s*\(\s*\)")
STRUCTURE = re.compile(
    r"(?P<visible>\bpub\s*(?:\([^()]*\)\s*)?)?\bmod\s+(?P<module>\w+)\s*\{|[{}]|(?P<test>#\s*\[\s*test\s*\])"
)
INNER = re.compile(r"\A\ufeff?#!(?!\s*\[)[^\n]*|\s+|//[^\n]*|(?P<comment>/\*)|(?P<attribute>#\s*!\s*\[)")


@dataclass(frozen=True, slots=True)
class RustTest:
    """A test function by its path in the tests' module, and what is expected of it."""

    path: str
    panics: bool = False
    expected: str = '""'  # a literal: what a panic must say


@dataclass(frozen=True)
class RustText:
    """A source text."""

    text: str

    @cached_property
    def shown(self) -> str:
        """The text with comments and the insides of literals blanked out; all else is in its place."""
        parts, at, text = [], 0, self.text
        while found := LITERALS.search(text, at):
            end = found.end()
            if found["comment"]:
                end = _end_of_comment(text, found.start())
            elif found["hashes"] is not None:
                end = text.find('"' + found["hashes"], end)
                end = len(text) if end < 0 else end + 1 + len(found["hashes"])
            parts += [text[at : found.start()], re.sub(r"[^\n]", " ", text[found.start() : end])]
            at = end
        return "".join([*parts, text[at:]])

    @cached_property
    def words(self) -> frozenset[str]:
        """Identifiers and keywords."""
        return frozenset(WORD.findall(self.shown))

    @cached_property
    def has_main(self) -> bool:
        """Whether it is a program, not a library."""
        return MAIN.search(self.shown) is not None

    def refusal(self) -> str | None:
        """Why it must not be compiled beside tests, for a verdict; None where it may."""
        if word := min(self.words & REFUSED, default=None):
            return f"{word}: no assembly and no symbols named by hand beside tests"
        if word := min(self.words & HOOKS, default=None):
            return f"{word}: what a panic does is the tests' to say"
        if found := RENAMED_STANDARD.search(self.shown):
            return f"{found[0]}: another crate under the standard library's name"
        for found in EQUALITY.finditer(self.shown):
            if claim := self._foreign(found):
                return f"{' '.join(claim.split())[:80]}: equality with a type that is not its own"
        written = DERIVED.sub("", self.shown) if {"PartialEq", "PartialOrd"} & self.words else ""
        if re.search(r"\bPartial(?:Eq|Ord)\b", written) and BY_MACRO.search(written):
            return "equality by a macro that implements traits"
        return None

    def _foreign(self, found: re.Match) -> str | None:
        """The text of an equality that is another's, or is given another name; None for a type's with itself."""
        if found["other"] != "<":
            return found[0]
        end = _end_of_angles(self.shown, found.end())
        target = TARGET.match(self.shown, end)
        if target is None:
            return None  # a bound
        own = "".join(target[1].split())
        other = "".join(self.shown[found.end() : end - 1].split())
        return None if other in ("Self", own) else self.shown[found.start() : target.end()]

    def broken(self) -> str | None:
        """What makes it no program: brackets that do not match; None where nothing is seen."""
        opened: list[str] = []
        pairs = {")": "(", "]": "[", "}": "{"}
        for sign in re.findall(r"[()\[\]{}]", self.shown):
            if sign not in pairs:
                opened.append(sign)
            elif not opened or opened.pop() != pairs[sign]:
                return f"an unexpected {sign}"
        return f"a {opened[-1]} that is not closed" if opened else None

    def split(self) -> tuple[str, str]:
        """The inner attributes that it begins with, on one line, and the text without them, on the same lines."""
        text, at, attributes = self.text, 0, []
        while found := INNER.match(text, at):
            end = found.end()
            if found["comment"]:
                end = _end_of_comment(text, at)
            elif found["attribute"]:
                end = _end_of_brackets(self.shown, end)
                attributes.append(" ".join(self.text[at:end].split()))
            at = end
        return " ".join(attributes), re.sub(r"[^\n]", " ", text[:at]) + text[at:]

    def tests(self) -> tuple[list[RustTest], str]:
        """The tests, and the text with these made functions that the tests' module can call.

        Marked functions are tests, but for ignored ones; where there are none, main is one.
        """
        found, inserts = [], []
        modules: list[str | None] = []
        for piece in STRUCTURE.finditer(self.shown):
            if piece["module"]:
                modules.append(piece["module"])
                if not piece["visible"]:
                    inserts.append(piece.start())
            elif piece[0] == "{":
                modules.append(None)
            elif piece[0] == "}":
                del modules[-1:]
            else:
                self._add_test(piece, [name for name in modules if name], found, inserts)
        text = self._without_marks(inserts)
        if not found and self.has_main and not MARK.search(self.shown):
            found.append(RustTest("main"))
        return found, text

    def _add_test(self, mark: re.Match, modules: list[str], found: list[RustTest], inserts: list[int]) -> None:
        begin = mark.start()
        while before := re.search(r"#\s*\[[^\[\]]*\]\s*$", self.shown[max(0, begin - 300) : begin]):
            begin -= len(before[0])
        end = mark.end()
        while attribute := ATTRIBUTE.match(self.shown, end):
            end = attribute.end()
        function = FUNCTION.match(self.shown, end)
        attributes = self.shown[begin:end]
        if function is None or re.search(r"#\s*\[\s*ignore\b", attributes):
            return
        panics = re.search(r"#\s*\[\s*should_panic\b", attributes) is not None
        said = EXPECTED.search(self.text[begin:end])
        found.append(RustTest("::".join([*modules, function["name"]]), panics, said[1] if said else '""'))
        if not function["visible"]:
            inserts.append(function.end() - len(function[0].lstrip()))

    def _without_marks(self, inserts: list[int]) -> str:
        text = self.text
        for found in TEST_ATTRIBUTES.finditer(self.shown):
            text = text[: found.start()] + re.sub(r"[^\n]", " ", found[0]) + text[found.end() :]
        for at in sorted(inserts, reverse=True):
            text = f"{text[:at]}pub(crate) {text[at:]}"
        return text


def _end_of_comment(text: str, at: int) -> int:
    """Behind a comment that opens at `at`; comments nest."""
    depth = 0
    for edge in COMMENT_EDGE.finditer(text, at):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


def _end_of_angles(shown: str, at: int) -> int:
    """Behind the > that closes the < in front of `at`."""
    depth = 1
    for edge in re.compile(r"->|=>|[<>]").finditer(shown, at):
        depth += {"<": 1, ">": -1}.get(edge[0], 0)
        if depth == 0:
            return edge.end()
    return len(shown)


def _end_of_brackets(shown: str, at: int) -> int:
    """Behind the bracket that closes the one in front of `at`."""
    depth = 1
    for edge in re.compile(r"[\[\]]").finditer(shown, at):
        depth += 1 if edge[0] == "[" else -1
        if depth == 0:
            return edge.end()
    return len(shown)
