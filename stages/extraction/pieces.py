"""A program in C, C++ or Rust that an answer gives in several blocks, put together.

A block is joined where the chosen one needs names that it defines: helpers, types, `use`, the methods of a class. Each
comes before what needs it. Methods outside of their class come behind the class.
"""

import re
from collections.abc import Sequence

from stages.extraction.definitions import source
from stages.extraction.tree_source import Item, TreeSource, imports

MOST = 32  # blocks that are looked at: a program in more of them is none that anybody wrote
OWN_INCLUDE = re.compile(rb'#\s*include\s*"(?!(?:std\w+|string|math|assert|ctype|limits|float|errno|time)\.h")')
WITHOUT_CODE = {"preproc_include", "preproc_call", "preproc_def", "preproc_function_def", "using_declaration"}


def put_together(code: str, contents: Sequence[str], language: str, path: tuple[str, ...]) -> str:
    """`code`, the chosen block, with those of `contents` that it needs; as it is where it lacks nothing."""
    chosen = source(code, language)
    if not isinstance(chosen, TreeSource) or not chosen.whole:
        return code
    pieces = []
    for content in [content for content in contents if content.strip()][-MOST:]:
        found = source(content, language)
        if content != code and isinstance(found, TreeSource) and found.whole and _is_piece(found, path):
            pieces.append(found)
    program = _Program(chosen, pieces)
    program.add(chosen)
    if len(program.texts) == 1 and not (pieces and any(_is_own(chosen, item) for item in chosen.items)):
        return code
    text = "\n".join(_without_own_includes(part) for part in program.texts)
    whole = source(text, language)
    return text if isinstance(whole, TreeSource) and whole.whole and chosen.names <= whole.names else code


def _is_piece(found: TreeSource, path: tuple[str, ...]) -> bool:
    """Whether it is no program by itself, no call of what is asked for, and no other version of it."""
    if not path:
        return bool(found.items) and not found.is_program
    return bool(found.items) and found.names != {"main"} and found.definition(path[:1]) is None


class _Program:
    """Blocks in the order in which they are compiled."""

    def __init__(self, chosen: TreeSource, pieces: list[TreeSource]) -> None:
        self.texts: list[TreeSource] = []
        self._taken: set[str] = set(chosen.names) | _bound(chosen)
        self._open = list(pieces)
        self._chosen = chosen

    def add(self, text: TreeSource) -> None:
        """A block behind those which it needs, and before the methods that it leaves to others."""
        heads = [piece for piece in self._open if text is self._chosen and _is_head(piece, text)]
        for piece in heads:
            self._open.remove(piece)
            self.texts.append(piece)
        while piece := self._next(text):
            self._open.remove(piece)
            self._taken |= piece.names | _bound(piece)
            self.add(piece)
        self.texts.append(text)
        lacking = {name for item in text.items for name in text.lacking(item)}
        for piece in reversed(self._open.copy()):
            if piece in self._open and _completes(piece, text, lacking) and not piece.names & self._taken:
                self._open.remove(piece)
                self._taken |= piece.names
                self.add(piece)

    def _next(self, text: TreeSource) -> TreeSource | None:
        """The last block that defines what is needed, and nothing once more."""
        needed = text.used - text.names - _bound(text) - self._taken
        for piece in reversed(self._open):
            names = piece.names | _bound(piece)
            if needed & names and not names & self._taken:
                return piece
        return None


def _bound(text: TreeSource) -> set[str]:
    """What `use` and `using` of a text bring in."""
    if text.language != "rust":
        return set()
    uses = [item for item in text.items if item.kind == "use_declaration"]
    return {name for item in uses for _, name in imports(text.text, item) if not name.endswith("*")}


def _is_head(piece: TreeSource, text: TreeSource) -> bool:
    """Whether it is nothing but the includes that a text in C or C++ has none of."""
    if text.language == "rust":
        return False
    if any(item.kind == "preproc_include" for item in text.items):
        return _is_header(piece, text)
    plain = all(item.kind in WITHOUT_CODE for item in piece.items)
    includes = [item for item in piece.items if item.kind == "preproc_include"]
    return plain and bool(includes) and not any(_is_own(piece, item) for item in includes)


def _is_header(piece: TreeSource, text: TreeSource) -> bool:
    """Whether a text that includes a file of the answer's own may mean this one: it declares what the text defines."""
    declared = {name for item in piece.items for name in item.declared}
    includes = any(item.kind == "preproc_include" and _is_own(text, item) for item in text.items)
    return includes and bool(declared & text.names) and not piece.names & text.names


def _completes(piece: TreeSource, text: TreeSource, lacking: set[str]) -> bool:
    """Whether it holds methods that a class leaves to others, or an `impl` of a type of Rust."""
    return bool(lacking & piece.names) or any(item.owner in text.names for item in piece.items if item.owner)


def _is_own(text: TreeSource, item: Item) -> bool:
    return OWN_INCLUDE.match(text.data, item.start, item.end) is not None


def _without_own_includes(text: TreeSource) -> str:
    """A block that is joined includes no other one."""
    own = [item for item in text.items if item.kind == "preproc_include" and _is_own(text, item)]
    return text.without(own).removeprefix("\ufeff") if own else text.text
