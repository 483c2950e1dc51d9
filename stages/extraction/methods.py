"""A bare method in C++ or Rust as the answer to a prompt with a class, or an `impl`, in which that method is a stub."""

import re

from stages.extraction.definitions import source
from stages.extraction.tree_source import Item, Method, TreeSource

CLOSING = re.compile(r"\s*\}\s*;?\s*\Z")
LAST = 1000  # characters among which such brackets are looked for
CLOSINGS = ("", "\n}", "\n};", "\n}\n}", "\n}\n};", "{}\n}", "{}\n};", ";\n};")
FUNCTIONS = {"function_definition", "function_item", "template_declaration"}


def framed(prompt: str, language: str, path: tuple[str, ...], code: str) -> tuple[TreeSource, str, str] | None:
    """(what precedes the class, the class with the method of `code` in it, what comes behind); None where `code` is no
    method that the prompt leaves open."""
    own = _own(code, language)
    if own is None or language == "c" or len(path) > 2:
        return None
    for end in CLOSINGS:
        closed = source(prompt + end, language)
        if isinstance(closed, TreeSource) and closed.whole and (found := _stub(closed, path, own)):
            return _put_in(closed, *found, own)
    return None


def _own(code: str, language: str) -> TreeSource | None:
    """The answer, without brackets that close the prompt's class."""
    for _ in range(3):
        own = source(code, language)
        if isinstance(own, TreeSource) and own.whole:
            return own
        end, count = CLOSING.subn("\n", code[-LAST:])
        if not count:
            return None
        code = code[:-LAST] + end
    return None


def _stub(closed: TreeSource, path: tuple[str, ...], own: TreeSource) -> tuple[Item, Method] | None:
    """The class, and the method in it that has no body there and is in the answer."""
    given = {name for item in own.items if item.kind in FUNCTIONS or item.members for name in item.names}
    given = given & {path[1]} if len(path) == 2 else given
    for item in reversed(closed.items):
        if item.owner == path[0] or (path[0] in item.names and item.kind not in FUNCTIONS):
            for method in reversed(closed.methods(item)):
                if method.stub and method.name in given:
                    return item, method
    return None


def _put_in(closed: TreeSource, item: Item, stub: Method, own: TreeSource) -> tuple[TreeSource, str, str]:
    """The method stands in the stub's place, other functions that belong to it beside it, all else before the class."""
    inside = [one for one in own.items if _belongs(one, stub, own)]
    mains = [one for one in own.items if one.names == ("main",)]
    before = own.without([*inside, *mains]).strip("\n")
    methods = "\n".join(_text(own, one) for one in inside)
    head = closed.data[item.start : stub.start].decode("utf-8", "surrogatepass")
    tail = closed.data[stub.end : item.end].decode("utf-8", "surrogatepass")
    behind = closed.data[item.end :].decode("utf-8", "surrogatepass")
    main = "".join(f"\n{_text(own, one)}\n" for one in mains)
    known = source(closed.data[: item.start].decode("utf-8", "surrogatepass"), closed.language)
    text = (f"{before}\n" if before.strip() else "") + head + methods + tail
    return known, text, (behind if behind.strip(" \t\r\n;") else "\n") + main


def _belongs(item: Item, stub: Method, own: TreeSource) -> bool:
    if item.kind not in FUNCTIONS or item.names == ("main",) or not item.names:
        return False
    if own.language == "cpp":
        return not any("::" in name or name.startswith("operator") for name in item.names)
    called = re.search(rf"(?:\bself\s*\.|\bSelf\s*::)\s*{re.escape(item.names[0])}\b", own.text)
    return stub.name in item.names or called is not None


def _text(text: TreeSource, item: Item) -> str:
    return text.data[item.start : item.end].decode("utf-8", "surrogatepass")
