"""What a text is in a language, asked of that language's parser."""

import re
from functools import lru_cache

from stages.extraction.python_source import PythonSource
from stages.extraction.tree_source import COMMENT, GRAMMARS, TreeSource

Source = PythonSource | TreeSource
RUST_MAIN = re.compile(rb"(?:\s+|//[^\n]*+\n?|/\*(?s:.*?)\*/)*+(?:pub\s+)?fn\s+main\s*\(\s*\)")
REMEMBERED = 64  # texts: an answer's candidates are looked at several times
READS = re.compile(
    r"\b(?:cin|w?scanf|fscanf|getw?char(?:_unlocked)?|f?gets|f?getc|getline|fread|read|stdin|read_line|read_to_string"
    r"|read_to_end|lines|BufReader|istreambuf_iterator|istream_iterator)\b"
)


class UnknownSource:
    """A text in a language without a parser here. Its lines say what it defines."""

    whole = is_program = only_reads = False
    is_something = True

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_empty = not text.strip()

    def defines(self, path: tuple[str, ...]) -> bool:
        """Whether a line of it seems to define, or calls, the last name of `path`."""
        name = re.escape(path[-1]) if path else r"(?!)"
        return re.search(rf"\b{name}[ \t]*\(|\b(?:class|struct|fn)[ \t]+{name}\b", self.text) is not None

    def is_stub(self, path: tuple[str, ...]) -> bool:
        """Nothing is known of bodies."""
        return False


def reads_input(found: Source | UnknownSource) -> bool:
    """Whether a program seems to read its standard input."""
    if isinstance(found, PythonSource):
        return found.reads > 0
    return READS.search(COMMENT.sub(" ", found.text)) is not None


@lru_cache(REMEMBERED)
def source(text: str, language: str) -> Source | UnknownSource:
    """What `text` is in `language`."""
    if language == "python":
        return PythonSource(text)
    return TreeSource(text, language) if language in GRAMMARS else UnknownSource(text)


def without_main(code: str, language: str) -> str:
    """C, C++ or Rust code without the `main` that it defines beside its functions, on the same lines."""
    if "main" not in code or language not in GRAMMARS:
        return code
    found = source(code, language)
    mains = [item for item in found.items if item.names == ("main",) and item.kind.startswith("function_")]
    if language == "rust":  # a symbol of that name, by attributes or an ABI, is another matter
        mains = [item for item in mains if RUST_MAIN.match(found.data[item.start : item.end])]
    others = any(item.names and "main" not in item.names for item in found.items)
    return found.without(mains) if mains and others else code
