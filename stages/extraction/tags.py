"""Info strings of fenced blocks: the language that a tag such as `C++17`, `py3` or `{.python}` names."""

import re
from functools import lru_cache

TAGS = {
    "python": ("python", "py", "python3", "py3"),
    "cpp": ("cpp", "c++", "cc", "cxx"),
    "c": ("c",),
    "rust": ("rust", "rs"),
}
# What may stand behind a name: a version (`C++17`, `Python 3.11`, `c++2a`) and the end of the word.
_VERSION = r"(?:[-_ ]?v?\d[\d.]*[a-z]?)?(?![\w+#-])"
_NAMES = {
    "python": r"(?:c?python|ipython3?|py)",
    "cpp": r"(?:(?:gnu|ms|modern)?[ -]?(?:c\+\+|cpp|cxx|cc)|[gc]\+\+|gnu\+\+|hpp|c[_/]cpp)",
    "c": r"(?:ansi[ -]?c|gnu[ -]?c|c|gnu(?=\d))",
    "rust": r"(?:rust(?:lang)?(?:[- ]edition)?|rs)",
}
_OPENINGS = {
    language: re.compile(rf"[\s{{.]*(?:(?:lang(?:uage)?|class)\s*=\s*[\"']?)?{name}{_VERSION}", re.IGNORECASE)
    for language, name in _NAMES.items()
}
# A name with code glued to it: "pythondef add(a, b):", "cpp#include <map>", "rustfn main() {".
_C_WORDS = (
    r"#\s*(?:include|define)\b|(?:int|void|long|double|float|bool|char|static|struct|typedef|unsigned|const)\s+\w"
)
_CPP_WORDS = rf"{_C_WORDS}|(?:using|template|class|namespace|auto|constexpr)\b\s*[<\w]"
_BEGINNINGS = {
    "python": r"(?:python3?|py3?)(?=(?:def|class|import|from|async)\s+\w|@\w|#)",
    "cpp": rf"(?:cpp|c\+\+)(?={_CPP_WORDS})",
    "c": rf"c(?={_C_WORDS})",
    "rust": r"(?:rust|rs)(?=(?:fn|use|pub|struct|impl|enum|mod|const|static)\b\s*[\w(<]|#\[|#!\[)",
}
_GLUED = {language: re.compile(rf"\s*{beginning}") for language, beginning in _BEGINNINGS.items()}
_FIRST_WORD = re.compile(r"[\s{.]*([^\s,;:{}()=]*)")
# Sessions of a shell or an interpreter, output and data: never the program, whatever parsers make of them.
NO_PROGRAM = re.compile(
    r"(?:bash|sh|shell|zsh|fish|ksh|csh|console|terminal|cmd|bat|batch|dos|powershell|ps1?|pwsh|shell-?session|session"
    r"|sh-session|python-(?:repl|console)|pycon|ipython-console|repl|doctest|output|out|stdout|stdin|input|log|json"
    r"|jsonl|ya?ml|toml|ini|csv|tsv|xml|html|diff|patch|make|makefile|cmake|dockerfile|mermaid|latex|tex|math)"
)
LONGEST = 200  # characters of an info string that are looked at


@lru_cache(1024)
def language_of(info: str) -> tuple[str, int]:
    """The language that an info string names, and where what stands behind its name begins.

    A name of a language that is not ours is given as it is, in small letters; "" for none.
    """
    head = info[:LONGEST]
    for language, opening in (*_OPENINGS.items(), *_GLUED.items()):
        if found := opening.match(head):
            return language, found.end()
    word = _FIRST_WORD.match(head)
    return word[1].lower(), word.end()


def is_no_program(language: str) -> bool:
    """Whether a tag says that its block is a session, output or data."""
    return NO_PROGRAM.fullmatch(language) is not None


def is_tag(info: str) -> bool:
    """Whether an info string is nothing but the name of one of our languages, or attributes behind it."""
    language, end = language_of(info)
    return language in TAGS and re.fullmatch(r"[\s,;:{}.\w=\"'-]*", info[end : end + LONGEST]) is not None
