"""C and C++ as text: words, macros, names, and what is refused of code that is compiled beside tests.

The lexer follows the language's first phases, so that nothing hides in what the compiler takes for code and this one
for a comment or a literal; what compilers read differently is refused. A word that ## could make of several counts as
there. Everything is linear in the text's length.
"""

import re
from dataclasses import dataclass
from functools import cached_property

SPLICE = re.compile(r"\\[ \t\f\v]*\r?\n")
LITERALS = r"""
      //[^\n]* | /\*.*?(?:\*/|\Z)
    | (?P<number>{number})
    | {raw}
    | "(?:\\.|[^"\\\n])*(?:"|$) | '(?:\\.|[^'\\\n])*(?:'|$)
"""
RAW = r'\b(?:u8|[uUL])?R"(?P<mark>[^()\\\s]{0,16})\(.*?(?:\)(?P=mark)"|\Z)'
NUMBER = r"(?<![\w.])\.?\d(?:[eEpP][+-]|[\w.]|{separator})*"
NEVER = r"(?!)"
LEXERS = {
    (raw, separators): re.compile(
        LITERALS.format(number=NUMBER.format(separator=r"'\w" if separators else NEVER), raw=RAW if raw else NEVER),
        re.VERBOSE | re.DOTALL | re.MULTILINE,
    )
    for raw in (False, True)
    for separators in (False, True)
}
YEARS = {"0x": 11, "1x": 11, "1y": 14, "1z": 17, "2a": 20, "2b": 23, "2c": 26, "2x": 23, "2y": 26}

WORD = re.compile(r"[^\W\d]\w*")
HASH = r"(?:\#|%:|\?\?=)"
PASTE = re.compile(HASH * 2)
PRAGMA = re.compile(rf"{HASH}\s*pragma\b")
DEFINITION = re.compile(rf"{HASH}\s*define\s+(\w+)")
ALTERNATIVE = re.compile(rf"{HASH}\s*el(?:se|if)")
LINE_CHANGE = re.compile(rf"^[ \t\f\v\ufeff]*{HASH}\s*(?:line\b|\d)", re.MULTILINE)
MAIN = re.compile(r"\bmain\s*\(")
MAIN_DEFINITION = re.compile(r"\b(?:(?P<type>[^\W\d]\w*+)\s++)?main\s*\((?P<parameters>[^()]*)\)[\w\s>-]{0,40}\{")
CALL = re.compile(r"\b([^\W\d]\w*+)\s*+\(")
FUNCTION = re.compile(r"\b([^\W\d]\w*+)\s*+\([^;{}()]*(?:\([^;{}()]*\)[^;{}()]*)*\)[^;{}()=]*\{")
CLASS = re.compile(r"\b(?:class|struct|union|enum(?:\s+(?:class|struct))?)\s++(\w++)\s*+(?:final\s*+)?[:{;<]")
TYPEDEF = re.compile(r"\}\s*+(\w++)\s*+;")
TEMPLATE_PARAMETER = re.compile(r"\b(?:class|typename)\s*+(?:\.\.\.\s*+)?(\w++)\s*+[,>=]")

SILENCING = ("diagnostic", "system_header")
ASSEMBLY = ("asm", "__asm", "__asm__")
LINKAGE = tuple(
    f"{u}{name}{u}" for name in ("alias", "ifunc", "weakref", "symver", "section", "naked") for u in ("", "__")
)
RENAMING = ("redefine_extname", "__REDIRECT", "__REDIRECT_NTH", "__REDIRECT_LDBL", "__REDIRECT_NTHNL", "__ASMNAME")
OPEN_ATTRIBUTE = re.compile(r"\b__attribute(?:__)?\b|\[\s*\[|<:")
EQUALITY = re.compile(r"\boperator\s*(==|!=|<=>|not_eq\b)\s*(?:<[^()]{0,200}>\s*)?\(")
STANDARD_NAMES = frozenset(
    re.findall(
        r"\w+",
        """std string basic_string string_view vector pair tuple optional variant array list forward_list deque map
        multimap set multiset unordered_map unordered_set stack queue priority_queue bitset complex shared_ptr
        unique_ptr""",
    )
)
SPECIALIZED = re.compile(
    r"\btemplate\s*<\s*>[^;{}]{0,200}?\b(char_traits|basic_string|basic_string_view|vector|pair|tuple|optional|array"
    r"|list|deque|map|set|allocator|equal_to|not_equal_to|equal)\s*<"
)
NEAR_HEADER_NAME = re.compile(r"<[^>\n]*/[/*]")
PARAMETERS_LENGTH = 2000


@dataclass(frozen=True)
class CText:
    """A source text of `language` (c or cpp) in the standard `standard` (as in -std=)."""

    text: str
    language: str
    standard: str

    @cached_property
    def code(self) -> str:
        """The text as a parser meets it: lines spliced, comments and the insides of literals blanked out."""
        return self._masked(self._spliced)

    @cached_property
    def shown(self) -> str:
        """The text with comments and the insides of literals blanked out; all else is in its place."""
        return self._masked(self.text)

    @cached_property
    def _spliced(self) -> str:
        return SPLICE.sub("", self.text.replace("\0", " "))

    def _masked(self, text: str) -> str:
        raw = self.language == "cpp" and self.year >= 11
        return LEXERS[raw, self.year >= (14 if self.language == "cpp" else 23)].sub(_blank, text)

    @cached_property
    def year(self) -> int:
        """Of the standard; those before 2000 are 0."""
        digits = self.standard[-2:]
        year = YEARS.get(digits, int(digits) if digits.isdigit() else 0)
        return year if year < 80 else 0

    @cached_property
    def words(self) -> frozenset[str]:
        """Identifiers and keywords."""
        return frozenset(WORD.findall(self.code))

    def has(self, *names: str) -> str | None:
        """The first of `names` that is among the words, or that ## could make of several of them."""
        pastes = PASTE.search(self.code) is not None
        return next((name for name in names if name in self.words or (pastes and _composed(name, self.words))), None)

    @cached_property
    def macros(self) -> frozenset[str]:
        """Names that the text defines as macros."""
        return frozenset(DEFINITION.findall(self.code))

    @cached_property
    def has_main(self) -> bool:
        """Whether it is a program, not a library."""
        return MAIN.search(self.code) is not None

    @cached_property
    def called(self) -> frozenset[str]:
        """Names that are followed by a parenthesis."""
        return frozenset(CALL.findall(self.code))

    @cached_property
    def functions(self) -> frozenset[str]:
        """Names of functions that are defined outside all braces."""
        return frozenset(FUNCTION.findall(_outermost(self.code))) - {"main"}

    @cached_property
    def classes(self) -> frozenset[str]:
        """Names of its own classes, unions and enumerations."""
        names = {*CLASS.findall(self.code), *TYPEDEF.findall(self.code)}
        return frozenset(names - set(TEMPLATE_PARAMETER.findall(self.code)) - STANDARD_NAMES)

    @cached_property
    def hides_warnings(self) -> bool:
        """Whether pragmas or line markers may keep its warnings from being shown, or from being put down to it."""
        if LINE_CHANGE.search(self.code):
            return True
        if self.has("_Pragma", "__pragma"):  # what it is given is a literal
            return any(word in self._spliced for word in SILENCING) or self.has(*SILENCING) is not None
        return PRAGMA.search(self.code) is not None and self.has(*SILENCING) is not None

    def broken(self) -> str | None:
        """What makes it no program whatever stands before it; None where nothing is seen."""
        if ALTERNATIVE.search(self.code):
            return None  # brackets may well be there twice
        opened: list[str] = []
        pairs = {")": "(", "]": "[", "}": "{"}
        for sign in re.findall(r"[()\[\]{}]", self.code):
            if sign not in pairs:
                opened.append(sign)
            elif not opened or opened.pop() != pairs[sign]:
                return f"an unexpected {sign}"
        return f"a {opened[-1]} that is not closed" if opened else None

    def refusal(self, known: frozenset[str] = frozenset()) -> str | None:
        """Why it must not be compiled beside tests, for a verdict; None where it may. `known`: the tests' words.

        Refused is what could change the code of the tests, or what their comparisons mean: assembly, symbols named by
        hand, equality of types that are not its own, and text that compilers read in several ways.
        """
        if self._doubtful():
            return "text that compilers read differently beside tests"
        if word := self.has(*ASSEMBLY):
            return f"{word}: no assembly beside tests"
        if word := self.has(*RENAMING):
            return f"{word}: no symbols named by hand beside tests"
        if OPEN_ATTRIBUTE.search(self.code) and (word := self.has(*LINKAGE)):
            return f"attribute {word}: no symbols placed by hand beside tests"
        return self._unfair_equality(known) if self.language == "cpp" else None

    def _doubtful(self) -> bool:
        text = self.text
        lone_return = "\r" in text.replace("\r\n", "")
        raw = re.search(r'\b(?:u8|[uUL])?R"', text)
        odd_raw = raw is not None and (self.language == "c" or SPLICE.search(text) is not None)
        odd_name = "__has_" in self._spliced and NEAR_HEADER_NAME.search(self._spliced)
        return lone_return or odd_raw or "??/" in text or bool(odd_name)

    def _unfair_equality(self, known: frozenset[str]) -> str | None:
        """An equality that the library has already, or of a class that the tests do not name with another type."""
        if found := SPECIALIZED.search(self.code):
            return f"specializes {found[1]} of the standard library"
        if "operator" not in self.words and self.has("operator"):
            return "operator: no keyword made by ##"
        for found in EQUALITY.finditer(self.code):
            parameters = _until_closed(self.code, found.end())
            own = [self.classes & set(WORD.findall(parameter)) for parameter in _split(parameters)]
            if len(own) == 2 and not all(own) and not any(names & known for names in own):
                return f"operator{found[1]} for types that are not its own"
        return None


def _blank(found: re.Match) -> str:
    text = found[0]
    if found["number"]:
        return text
    if text[0] == "/":
        return re.sub(r"[^\n]", " ", text)
    quote = text.find('"') if text[0] != "'" else 0
    end = len(text) - 1 if len(text) > quote + 1 and text[-1] == text[quote] else len(text)
    return text[: quote + 1] + re.sub(r"[^\n]", " ", text[quote + 1 : end]) + text[end:]


def _composed(name: str, words: frozenset[str]) -> bool:
    """Whether `name` is several of `words` one behind the other."""
    reached = {0}
    for end in range(1, len(name) + 1):
        if any(name[start:end] in words and name[start:end] != name for start in reached):
            reached.add(end)
    return len(name) in reached


def _until_closed(text: str, at: int) -> str:
    """From `at`, behind a parenthesis that opens, to the one that closes it."""
    depth = 1
    block = text[at : at + PARAMETERS_LENGTH]
    for end, sign in enumerate(block):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return block[:end]
    return block


def _split(parameters: str) -> list[str]:
    """Parameters one by one."""
    depth, found = 0, [""]
    for sign in parameters:
        depth += (sign in "<([{") - (sign in ">)]}")
        if sign == "," and depth == 0:
            found.append("")
        else:
            found[-1] += sign
    return found


def _outermost(code: str) -> str:
    """`code` without what is inside braces."""
    parts, depth = [], 0
    for part in re.split(r"([{}])", code):
        depth = max(0, depth - (part == "}"))
        if depth == 0:
            parts.append(part)
        depth += part == "{"
    return "".join(parts)
