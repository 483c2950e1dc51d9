"""Functions as a parser of tree-sitter finds them in a source text, and the text with other bodies in their place."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tree_sitter import Language, Node, Parser

PARSE_SECONDS = 3.0  # an ordinary solution takes milliseconds
MOST_NODES = 500  # functions, or classes: an exercise has a handful
PIECE = 1 << 14  # bytes that the parser reads at a time; between pieces it looks at the clock
TOLD = {
    "default": "does nothing or returns a default value",
    "one": "returns 1 or true",
    "argument": "returns its argument",
    "raises": "raises at once",
    "awaited": "fails as the tests wait for it",
}


@dataclass(frozen=True, slots=True)
class Stub:
    """A program, and in words what its functions do."""

    kind: str
    code: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function with a body at begin:end (bytes) and what may stand there instead, by kind. A `guess` may not compile
    and would spoil the others: it is made of the entry point alone."""

    name: str
    begin: int
    end: int
    bodies: dict[str, str] = field(default_factory=dict)
    guess: bool = False


def parsed(text: bytes, grammar: object) -> Node | None:
    """The syntax tree of a text; None where the parser takes too long."""
    deadline = time.monotonic() + PARSE_SECONDS
    parser = Parser(Language(grammar))
    try:
        tree = parser.parse(
            lambda at, _: text[at : at + PIECE], progress_callback=lambda *_: time.monotonic() > deadline
        )
    except ValueError:  # the callback has said that it is to stop
        return None
    return tree.root_node if tree else None


def outermost(root: Node, kind: str) -> Iterator[Node]:
    """The nodes of a kind that lie in no other of that kind, in the text's order, a few hundred at most. Deep
    trees need no stack."""
    cursor, found = root.walk(), 0
    while found < MOST_NODES:
        node = cursor.node
        assert node is not None
        if node.type == kind:
            found += 1
            yield node
        elif cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return


def words(node: Node | None) -> str:
    """A node's text in one line."""
    return " ".join((node.text or b"").decode("utf-8", "replace").split()) if node else ""


def replaced(text: bytes, functions: Sequence[Function], kind: str, entry_point: str | None) -> Stub | None:
    """The text with the bodies of all functions, or of those called as the entry point is, replaced; None where none
    is."""
    name = None if entry_point is None else entry_point.replace("::", ".").rpartition(".")[2]
    chosen = [f for f in functions if kind in f.bodies and (f.name == name if name else not f.guess)]
    if not chosen:
        return None
    parts, at = [], 0
    for function in chosen:
        parts += [text[at : function.begin], function.bodies[kind].encode()]
        at = function.end
    parts.append(text[at:])
    return Stub(TOLD[kind], b"".join(parts).decode("utf-8", "surrogatepass"))
