"""Stubs of Python solutions, by `ast`."""

import ast
import re
from collections.abc import Callable, Sequence

from stages.llm.stubs.bodies import Stub

Function = ast.FunctionDef | ast.AsyncFunctionDef
CONSTANTS = ("0", "1", "-1", "True", "False", "[]", "{}", "''")
AWAITED = re.compile(r"\b(?:raises|assertRaises|assertRaisesRegex)\(\s*([A-Za-z_][\w.]*)")
MOST_AWAITED = 3  # kinds of exceptions


def python_stubs(code: str, entry_point: str | None, tests: str) -> Sequence[Stub] | None:
    """The stubs of a solution; None where it is nested too deeply to be written again."""
    try:
        return _stubs(code, entry_point, tests)
    except (RecursionError, MemoryError):
        return None


def _stubs(code: str, entry_point: str | None, tests: str) -> list[Stub]:
    tree = _tree(code)
    raised = ["NotImplementedError", *list(dict.fromkeys(AWAITED.findall(tests)))[:MOST_AWAITED]]
    kinds: dict[str, Callable[[Function], str]] = {
        "does nothing": _nothing,
        "returns its argument": _argument,
        "returns its last argument": lambda function: _argument(function, -1),
    }
    for constant in CONSTANTS:
        kinds[f"returns {constant}"] = lambda _, constant=constant: f"return {constant}"
    for name in raised:
        kinds[f"raises {name}"] = lambda _, name=name: f"raise {name}"
    found: dict[str, Stub] = {}
    for alone in (None, entry_point) if tree and entry_point else (None,) if tree else ():
        functions = _functions(tree, alone)
        lambdas = [] if functions or alone else _named_lambdas(tree)
        for kind, body in kinds.items() if functions or lambdas else ():
            stub = _stub(tree, functions, lambdas, body)
            found.setdefault(stub, Stub(kind, stub))
    return list(found.values())


def _tree(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError):
        return None


def _stub(
    tree: ast.Module, functions: Sequence[Function], lambdas: Sequence[ast.Lambda], body: Callable[[Function], str]
) -> str:
    """The program with other bodies; the tree is left as it was."""
    before = [node.body for node in (*functions, *lambdas)]
    made = [ast.parse(f"def f():\n    {body(function)}").body[0].body for function in functions]  # type: ignore[attr-defined]
    for function, statements in zip(functions, made, strict=True):
        function.body = statements
    for named in lambdas:
        # What a lambda can be is an expression: raising is a division by nothing.
        text = body(_as_function(named))
        value = text.removeprefix("return ") if text.startswith("return ") else "1 / 0"
        named.body = ast.parse(value, mode="eval").body
    try:
        return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    finally:
        for node, was in zip((*functions, *lambdas), before, strict=True):
            node.body = was  # type: ignore[assignment]


def _functions(tree: ast.Module, alone: str | None) -> list[Function]:
    """The functions and methods; `alone`: those of the function or class of that name at the left margin."""
    name = (alone or "").partition(".")[0].removesuffix("()")
    roots = [node for node in tree.body if alone is None or getattr(node, "name", None) == name]
    nodes = [node for root in roots for node in ast.walk(root) if isinstance(node, Function)]
    others = [node for node in nodes if node.name != "__init__"]
    return others or nodes  # without it, a method would fail for want of an attribute


def _named_lambdas(tree: ast.Module) -> list[ast.Lambda]:
    values = (node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign))
    return [value for value in values if isinstance(value, ast.Lambda)]


def _as_function(named: ast.Lambda) -> ast.FunctionDef:
    return ast.FunctionDef(name="f", args=named.args, body=[ast.Expr(named.body)], decorator_list=[])


def _nothing(function: Function) -> str:
    return "return\n    yield" if _yields(function) else "return None"


def _argument(function: Function, at: int = 0) -> str:
    names = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
    names = [name for name in names if name not in ("self", "cls")]
    return f"return {names[at]}" if names else "return None"


def _yields(function: Function) -> bool:
    """Whether it is a generator: has a `yield` that is not a nested function's."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return False
