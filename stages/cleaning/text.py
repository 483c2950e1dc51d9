"""Texts and code in forms that can be compared: copies that differ in layout, comments or names come out equal."""

import hashlib
import re
from collections.abc import Iterator
from functools import cache, lru_cache

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, String, Text, _TokenType
from pygments.util import ClassNotFound

from stages.common.records import Task

Token = tuple[_TokenType, str]

# Lines of a prompt that are code rather than words: they name functions, which copies rename.
_CODE_LINE = re.compile(r"^\s*(?:assert\b|>>>|```).*$", re.MULTILINE)
_FENCED = re.compile(r"^```[^\n]*\n.*?^```[ \t]*$", re.MULTILINE | re.DOTALL)
_DECLARING = frozenset(("*", "&", ">", "def", "fn"))  # a name behind one of these may be declared there
_MEMBER = frozenset((".", "->", "::"))
# Types and objects of C++ and Rust that no call gives away as a library's: a set and a multiset are not the same.
_LIBRARY = frozenset(
    re.findall(
        r"\w+",
        """std vector array set map multiset multimap unordered_set unordered_map pair tuple queue priority_queue stack
        deque list string bitset optional cin cout cerr endl greater less size_t int64_t uint64_t int32_t uint32_t Vec
        HashMap HashSet BTreeMap BTreeSet VecDeque BinaryHeap String Option Some None Result Ok Err Box Rc Arc""",
    )
)


def writable(text: str) -> str:
    """The text with lone surrogates, which a JSON escape can bring in and UTF-8 does not have, replaced."""
    return text.encode("utf-8", "replace").decode()


def without_name(text: str, name: str | None, by: str = " ") -> str:
    """The text with `by` in place of a function's name, which copies change; words that only contain it stay."""
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", by, text) if name else text


def words(text: str) -> list[str]:
    """The words and numbers of a text in lower case, without punctuation, as GPT-3's report compares texts (Brown et
    al. 2020, appendix C)."""
    return re.findall(r"[^\W_]+", text.lower())


def squeezed(text: str) -> str:
    """Lower case, each run of white space one space: copies that differ in layout are equal."""
    return " ".join(text.lower().split())


def prose(prompt: str) -> str:
    """A prompt without fenced blocks, assertions and doctest lines; the whole where nothing else is left."""
    rest = _CODE_LINE.sub("", _FENCED.sub("", prompt))
    return rest if words(rest) else prompt


def statement(task: Task) -> str:
    """The problem in its own words: `meta.statement` where the source tells it apart from what all its prompts say,
    else the prompt's prose."""
    told = task.meta.get("statement")
    return told if isinstance(told, str) and words(told) else prose(task.prompt)


def numbers(text: str) -> list[str]:
    """The numbers of a text in order: prompts that differ in one ask for different programs."""
    return re.findall(r"\d+(?:\.\d+)?", text)


def digest(*parts: str) -> bytes:
    """16 bytes that stand for the parts."""
    joined = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=16).digest()


@cache
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


@lru_cache(maxsize=16)  # a task's code is asked for several times in a row, and this is where the time goes
def _lexed(code: str, language: str) -> tuple[Token, ...]:
    lexer = _lexer(language)
    return tuple(lexer.get_tokens(code)) if lexer else tuple((Text, word) for word in re.findall(r"\s+|\S+", code))


def _says_nothing(kind: _TokenType) -> bool:
    return kind in Comment or kind in String.Doc


def tokens(code: str, language: str) -> Iterator[Token]:
    """The tokens that matter to what a program does: no white space, comments, docstrings or preprocessor lines.

    A language that Pygments does not know is cut at white space.
    """
    for kind, text in _lexed(code, language):
        said = text.strip()
        if said and not _says_nothing(kind):
            # Either kind of quotes will do.
            yield kind, '"' * len(said) if kind in String and not said.strip("'") else said


def _declares(before: str, kind: _TokenType | None) -> bool:
    """Whether the token before a name tells that the name is declared there: a type, `def`, `*`."""
    if kind is None:
        return False
    return kind in Name or kind in Keyword.Type or kind in Keyword.Declaration or before in _DECLARING


def _binds(found: list[Token], position: int) -> bool:
    """Whether Python binds the name there: `for NAME`, or NAME = at the start of a statement or among parameters."""
    before = found[position - 1][1] if position else ""
    after = found[position + 1][1] if position + 1 < len(found) else ""
    return before == "for" or (after == "=" and before not in ("(", ","))


def _parameters(found: list[Token]) -> set[str]:
    """Names of the parameters of Python's functions."""
    names, depth, inside = set(), 0, False
    for position, (kind, text) in enumerate(found):
        if text == "def":
            inside, depth = True, 0
        elif inside:
            depth += text.count("(") - text.count(")")
            if kind in Name and found[position - 1][1] in ("(", ",", "*", "**") and depth == 1:
                names.add(text)
            inside = depth > 0 or kind in Name.Function
    return names


def _own_names(found: list[Token], language: str) -> set[str]:
    """The names that a program gives itself. Names that it only calls are a library's: they tell what it does."""
    own = _parameters(found) if language == "python" else set()
    for position, (kind, text) in enumerate(found):
        before = found[position - 1] if position else ("", None)
        if kind not in Name or before[1] in _MEMBER:
            continue
        if language == "python":
            if _binds(found, position):
                own.add(text)
            foreign = kind in Name.Builtin or kind in Name.Namespace
        else:
            foreign = text in _LIBRARY or kind in Name.Builtin or kind in Name.Namespace
        after = found[position + 1][1] if position + 1 < len(found) else ""
        if not foreign and (not after.startswith("(") or _declares(before[1] or "", before[0] or None)):
            own.add(text)
    return own


def canonical(code: str, language: str) -> list[str]:
    """The program's tokens with its own names replaced by their number in order of appearance.

    Names behind a dot, built-in names and those of functions that it only calls stay.
    """
    found = list(tokens(code, language))
    own = _own_names(found, language)
    places: dict[str, int] = {}
    out, before = [], ""
    for kind, text in found:
        if kind in Name and text in own and before not in _MEMBER:
            out.append(f"\0{places.setdefault(text, len(places))}")
        else:
            out.append(text)
        before = text
    return out


def code_words(code: str, language: str) -> list[str]:
    """The words of code between white space, in lower case; comments and preprocessor lines left out."""
    return "".join(" " if _says_nothing(kind) else text for kind, text in _lexed(code, language)).lower().split()


def fingerprint(code: str, language: str) -> bytes | None:
    """Equal for programs that differ in names, comments and layout only; None for code without a token."""
    found = canonical(code, language)
    return digest(language, *found) if found else None
