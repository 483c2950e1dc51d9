"""docs/TROUBLESHOOTING.md quotes this project's messages as its source has them."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.pages import ROOT, quoted

TOLD = re.compile(r"[a-z]{2,}[^\0]* [a-z]|[a-z]{2,} \0.* [a-z]{2,}", re.IGNORECASE)  # two words: one is found anywhere
HOLE = "\0"


def templates() -> Iterator[str]:
    """The texts of the source, docstrings apart, with a hole for each value that is put in."""
    for folder in ("stages", "toolbox"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            formatted = [node.values for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
            inner = {id(part) for values in formatted for part in values}
            inner |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            plain = [[node] for node in ast.walk(tree) if is_text(node) and id(node) not in inner]
            for parts in formatted + plain:
                yield "".join(part.value if is_text(part) else HOLE for part in parts)
    for path in (ROOT / "toolbox").rglob("*.sh"):
        for text in re.findall(r'"((?:[^"\\]|\\.)*)"', path.read_text(encoding="utf-8")):
            yield re.sub(r"\$\{[^}]*\}|\$\([^)]*\)|\$\w+|\$\*", HOLE, text)


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@pytest.fixture(scope="module")
def patterns() -> list[re.Pattern[str]]:
    long = {text for text in templates() if TOLD.search(text)}
    return [re.compile(".*".join(map(re.escape, text.split(HOLE)))) for text in long]


@pytest.mark.parametrize("line", quoted(ROOT / "docs" / "TROUBLESHOOTING.md"))
def test_a_quoted_message_is_in_the_source(line: str, patterns: list[re.Pattern[str]]) -> None:
    assert any(pattern.search(line) for pattern in patterns)


def test_a_message_that_is_not_there_is_not_found(patterns: list[re.Pattern[str]]) -> None:
    assert not any(pattern.search("models/base: not on the DVC remote, push it") for pattern in patterns)
