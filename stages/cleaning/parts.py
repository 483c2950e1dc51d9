"""The functions and classes of a program, each in a form in which copies are equal, whatever stands around them."""

import ast
import warnings
from collections.abc import Iterator

from stages.cleaning.text import canonical, digest, tokens

SHORTEST = 24  # tokens; shorter functions are equal by chance


def parts(code: str, language: str) -> Iterator[tuple[bytes, int]]:
    """The fingerprint and the number of tokens of each outermost function or class that is not too short.

    Python's are taken without annotations, docstrings and formatting; other languages' by their braces.
    """
    for text in _python_parts(code) if language == "python" else _braced_parts(code, language):
        found = canonical(text, language)
        if len(found) >= SHORTEST:
            yield digest("part", language, *found), len(found)


def _python_parts(code: str) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes that Python warns about are not ours to mend
            tree = ast.parse(code)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield ast.unparse(_Bare().visit(node))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return


class _Bare(ast.NodeTransformer):
    """Takes annotations, decorators and docstrings away."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns, node.decorator_list = None, []
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef


def _braced_parts(code: str, language: str) -> Iterator[str]:
    """Tokens from behind the last part to the brace that closes this one; what ends with a semicolon is left out."""
    depth, part = 0, []
    for _, text in tokens(code, language):
        part.append(text)
        depth += text.count("{") - text.count("}")
        if depth <= 0 and text.endswith(("}", ";")):
            if "{" in part:
                yield " ".join(part)
            depth, part = 0, []
