"""Walks over the syntax trees of tests. They leave out what nobody looks for there, which is half of the nodes: whether
a name is loaded or stored, and which operator an expression has; so they take half as long as those of `ast`.

Runs inside the sandbox and imports the standard library alone.
"""

import ast
from collections.abc import Iterable, Iterator

SCOPES = frozenset((ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda))
LEAVES = frozenset((ast.Name, ast.Constant, ast.Pass, ast.Break, ast.Continue, ast.Global, ast.Nonlocal, ast.alias))
# Fields that hold text, numbers, or nodes without any of their own.
PLAIN_FIELDS = frozenset(
    ("ctx", "op", "ops", "id", "attr", "arg", "name", "asname", "module", "level", "kind", "type_comment", "lineno")
)


class _Fields(dict):
    """Names of the fields of a class of nodes that may hold other nodes."""

    def __missing__(self, kind: type) -> tuple[str, ...]:
        names = () if kind in LEAVES else kind._fields
        self[kind] = found = tuple(name for name in names if name not in PLAIN_FIELDS)
        return found


FIELDS = _Fields()


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes right below another one."""
    found: list[ast.AST] = []
    for name in FIELDS[type(node)]:
        value = getattr(node, name, None)
        if type(value) is list:
            found += [part for part in value if isinstance(part, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def walk(node: ast.AST) -> list[ast.AST]:
    """The node and all below it, those nearest to it first."""
    found = [node]
    for inner in found:
        if type(inner) not in LEAVES:
            found += children(inner)  # which the loop then comes to as well
    return found


def here(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it that run with it: not the bodies of functions, classes and lambdas that it defines."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        yield found
        if type(found) not in LEAVES:
            waiting += [child for child in children(found) if type(child) not in SCOPES]


def name_of(node: ast.AST | None) -> str:
    """The last part of a name, an attribute, or what a call calls; "" for anything else."""
    if isinstance(node, ast.Call):
        return name_of(node.func)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def references(node: ast.AST, names: Iterable[str]) -> bool:
    """Whether what runs with the node names one of `names`."""
    wanted = set(names)
    return any(name_of(inner) in wanted for inner in here(node) if isinstance(inner, ast.Name | ast.Attribute))
