"""Where the tests of a Python task assert something: told from their text, and counted while they run.

What counts as an assertion, wherever it stands:

- an `assert` statement that holds, unless what it asserts is a constant;
- a condition with a branch that fails: that raises, exits, or calls a function of the tests that does (`if f(1) != 2:
  raise`, `f(1) == 2 or fail()`, also in a function, a loop or a lambda);
- a `with raises(...)` block and its like that ends well, and a `try` block that fails where nothing is raised;
- a call of an assertion function: one named `assert...` that the tests do not define themselves, `raises(Error, f)`;
- an exit whose status is worked out: `sys.exit(main())`.

`Instrument` adds calls to the tests' tree that tell the judge of each as it happens (python_judge.Assertions); they
change nothing of what the tests do.

Runs inside the sandbox and imports the standard library alone.
"""

import ast
from collections.abc import Iterable

from python_nodes import FIELDS, LEAVES, here, name_of, references, walk

# Names that instrumented tests call; the judge provides them.
HELD, CHECKED, ASSERTING, SWALLOWED = "_forge_held", "_forge_checked", "_forge_asserting", "_forge_swallowed"
MARKERS = frozenset((HELD, CHECKED, ASSERTING, SWALLOWED))
EXITS = frozenset(("exit", "quit", "_exit", "SystemExit"))
FAILING = EXITS | {"fail", "abort", "throw"}
BLOCKS = ("raises", "warns", "deprecated_call", "assert")  # what the names of asserting context managers begin with
CATCHES_ASSERTIONS = frozenset(("AssertionError", "Exception", "BaseException"))
REPORTS = ("print", "log", "debug", "info", "warn", "error", "exception", "critical", "write")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def is_runner(node: ast.stmt) -> bool:
    """Whether it is a call of unittest.main or pytest.main and nothing more, also one whose status is the script's."""
    call = node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Call) and name_of(call) in EXITS and call.args:
        call = call.args[0]
    function = call.func if isinstance(call, ast.Call) else None
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "main"
        and name_of(function.value) in ("unittest", "pytest")
    )


def run_by_hand(tree: ast.Module) -> set[str]:
    """Functions of the text that it runs itself and that pytest could not: coroutines, and those that take arguments
    and have no decorators, where a statement of the module names them."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef) or (
            isinstance(node, ast.FunctionDef) and _needs_arguments(node.args) and not node.decorator_list
        ):
            found.add(node.name)
    return {name for name in found if any(references(part, [name]) for node in tree.body for part in _run(node))}


def _needs_arguments(args: ast.arguments) -> bool:
    return len(args.posonlyargs) + len(args.args) > len(args.defaults)


def _run(node: ast.stmt) -> list[ast.AST]:
    """What of a statement of a module runs with it."""
    return list(node.decorator_list) if isinstance(node, (*FUNCTIONS, ast.ClassDef)) else [node]


def definitions(nodes: Iterable[ast.AST]) -> dict[str, list[ast.AST]]:
    """The functions that a text with these nodes defines, by name: `def` anywhere, methods too, and names given to
    lambdas or, in a list or mapping, to some."""
    found: dict[str, list[ast.AST]] = {}
    for node in nodes:
        if isinstance(node, FUNCTIONS):
            found.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for value in _functions_in(node.value):
                for name in filter(None, map(name_of, targets)):
                    found.setdefault(name, []).append(value)
    return found


def _functions_in(value: ast.expr) -> list[ast.expr]:
    """Lambdas and bare names that an assigned value is, or holds as a literal."""
    if isinstance(value, ast.Lambda | ast.Name):
        return [value]
    parts = value.values if isinstance(value, ast.Dict) else getattr(value, "elts", [])
    return [part for part in parts if isinstance(part, ast.Lambda | ast.Name)]


def _inside(node: ast.AST) -> list[ast.AST]:
    """What runs when a function is called."""
    if isinstance(node, ast.Lambda):
        return [node.body]
    return list(node.body) if isinstance(node, FUNCTIONS) else [node]


def closure(functions: dict[str, list[ast.AST]], first: set[str]) -> set[str]:
    """`first`, and the names of all functions that use one of them, directly or through others."""
    used = {
        name: {
            name_of(inner)
            for node in nodes
            for part in _inside(node)
            for inner in walk(part)
            if isinstance(inner, ast.Name | ast.Attribute)
        }
        for name, nodes in functions.items()
    }
    found = set(first)
    while more := {name for name in used if used[name] & found} - found:
        found |= more
    return found


class Instrument(ast.NodeTransformer):
    """Adds to trees of one text the calls that tell of its assertions. `entry_point` names the code under test, whose
    own word is no assertion."""

    def __init__(self, nodes: Iterable[ast.AST], entry_point: str | None) -> None:
        self.functions = functions = definitions(nodes)
        self._failing = set(FAILING)
        while more := {n for n, nodes in functions.items() if any(map(self._always_fails, nodes))} - self._failing:
            self._failing |= more
        own = {node.name for nodes in functions.values() for node in nodes if isinstance(node, FUNCTIONS)}
        own |= {name for name, nodes in functions.items() if any(isinstance(node, ast.Lambda) for node in nodes)}
        self._not_asserting = own | {(entry_point or "").rsplit(".", 1)[-1]}

    # Whether something fails

    def _always_fails(self, function: ast.AST) -> bool:
        """Whether calling a function of the tests raises or exits, whatever it is given."""
        if isinstance(function, ast.Name):
            return function.id in self._failing
        body = _inside(function)
        returns = any(isinstance(inner, ast.Return | ast.Yield) for part in body for inner in here(part))
        return not returns and (self._calls_failing(body[0]) if isinstance(function, ast.Lambda) else self._fails(body))

    def _fails(self, block: list[ast.stmt]) -> bool:
        """Whether a block that runs to its end raises or exits by the tests' own will, other than by a condition."""
        return any(map(self._fails_straight, block))

    def _fails_straight(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.Raise) or _is_false(node):
            return True
        if isinstance(node, ast.Expr | ast.Assign | ast.Return):
            return self._calls_failing(node)
        return isinstance(node, ast.With | ast.AsyncWith | ast.Try) and self._fails(node.body)

    def _calls_failing(self, *nodes: ast.AST) -> bool:
        calls = (inner for node in nodes for inner in here(node) if isinstance(inner, ast.Call))
        return any(name_of(call) in self._failing for call in calls)

    def _forks(self, node: ast.If, behind: list[ast.stmt]) -> bool:
        """Whether a branch fails, or one leaves a block that would fail behind it."""
        if self._fails(node.body) or self._fails(node.orelse):
            return True
        leaves = any(isinstance(inner, ast.Return | ast.Continue | ast.Break) for inner in here(node))
        return leaves and self._fails(behind)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """What is behind an `if` in its block is looked at before the block is changed."""
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            for at, part in enumerate(block if isinstance(block, list) else ()):
                if isinstance(part, ast.If) and self._forks(part, block[at + 1 :]):
                    part.forks = True
        for field in FIELDS[type(node)]:
            value = getattr(node, field, None)
            if type(value) is list:
                value[:] = [made for part in value for made in self._visited(part)]
            elif isinstance(value, ast.AST) and type(value) not in LEAVES:
                setattr(node, field, self.visit(value))
        return node

    def _visited(self, part: object) -> list:
        """What stands in a list in the place of a part of it."""
        made = self.visit(part) if isinstance(part, ast.AST) and type(part) not in LEAVES else part
        return made if isinstance(made, list) else [made]

    # A test module run as a script

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        """`__name__ == "__main__"`, in whatever words, is asked as in a script."""
        self.generic_visit(node)
        parts = [node.left, *node.comparators]
        if any(isinstance(inner, ast.Constant) and inner.value == "__main__" for p in parts for inner in walk(p)):
            fixed = [ast.copy_location(ast.Constant("__main__"), p) if name_of(p) == "__name__" else p for p in parts]
            node.left, node.comparators = fixed[0], fixed[1:]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        """A call of unittest.main or pytest.main is left out: what it would run is collected."""
        return ast.copy_location(ast.Pass(), node) if is_runner(node) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        """As an expression."""
        return ast.copy_location(ast.Pass(), node) if is_runner(node) else self.generic_visit(node)

    # Statements

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        """`assert x` is followed by a word that it held."""
        constant = isinstance(node.test, ast.Constant | ast.Tuple)  # `assert (x, "message")` always holds
        self.generic_visit(node)
        return [node] if constant else [node, _told(HELD, node)]

    def visit_If(self, node: ast.If) -> ast.If:
        """The condition is told of, where a branch fails."""
        fails = getattr(node, "forks", False) or self._forks(node, [])
        self.generic_visit(node)
        if fails:
            node.test = _wrapped(CHECKED, node.test)
        return node

    def visit_While(self, node: ast.While) -> ast.While:
        """As `if`."""
        fails = self._fails(node.body) or self._fails(node.orelse)
        self.generic_visit(node)
        if fails:
            node.test = _wrapped(CHECKED, node.test)
        return node

    def visit_Match(self, node: ast.Match) -> ast.Match:
        """As `if`."""
        fails = any(self._fails(case.body) for case in node.cases)
        self.generic_visit(node)
        if fails:
            node.subject = _wrapped(CHECKED, node.subject)
        return node

    def _loop(self, node: ast.For | ast.AsyncFor) -> list[ast.stmt]:
        """A loop with a body or an `else` that fails has asserted something when it ends well."""
        fails = self._fails(node.body) or self._fails(node.orelse)
        self.generic_visit(node)
        return [node, _told(HELD, node)] if fails else [node]

    def visit_For(self, node: ast.For) -> list[ast.stmt]:
        """See `_loop`."""
        return self._loop(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> list[ast.stmt]:
        """See `_loop`."""
        return self._loop(node)

    def _try(self, node: ast.Try) -> list[ast.stmt]:
        """A block that fails where nothing was raised before has asserted something when it ends well."""
        fails = self._fails(node.body) or self._fails(node.orelse)
        self.generic_visit(node)
        return [node, _told(HELD, node)] if fails else [node]

    def visit_Try(self, node: ast.Try) -> list[ast.stmt]:
        """See `_try`."""
        return self._try(node)

    def visit_TryStar(self, node: ast.Try) -> list[ast.stmt]:
        """See `_try`."""
        return self._try(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.ExceptHandler:
        """A handler that does no more than report tells of the assertion that it swallows."""
        reports = _catches_assertions(node.type) and all(map(_only_reports, node.body))
        self.generic_visit(node)
        if reports:
            node.body = [_told(SWALLOWED, node.body[0]), *node.body]
        return node

    def _with(self, node: ast.With | ast.AsyncWith) -> list[ast.stmt]:
        """A block that expects an exception or the like, and has ended well."""
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        asserting = any(name_of(call).startswith(BLOCKS) for call in calls)
        self.generic_visit(node)
        return [node, _told(HELD, node)] if asserting else [node]

    def visit_With(self, node: ast.With) -> list[ast.stmt]:
        """See `_with`."""
        return self._with(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> list[ast.stmt]:
        """See `_with`."""
        return self._with(node)

    def visit_withitem(self, node: ast.withitem) -> ast.withitem:
        """The call that makes an asserting context manager has asserted nothing yet."""
        if isinstance(node.context_expr, ast.Call):
            self.generic_visit(node.context_expr)
        else:
            node.context_expr = self.visit(node.context_expr)
        return node

    # Expressions

    def visit_IfExp(self, node: ast.IfExp) -> ast.IfExp:
        """As `if`."""
        fails = self._calls_failing(node.body, node.orelse)
        self.generic_visit(node)
        if fails:
            node.test = _wrapped(CHECKED, node.test)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.BoolOp:
        """`x or fail()`, `y and fail()`."""
        fails = self._calls_failing(*node.values[1:])
        self.generic_visit(node)
        if fails:
            node.values[0] = _wrapped(CHECKED, node.values[0])
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Assertion functions, and exits with a status that is worked out. What pytest.main would run is collected."""
        name = name_of(node)
        if name == "main" and isinstance(node.func, ast.Attribute) and name_of(node.func.value) == "pytest":
            return ast.copy_location(ast.Constant(0), node)
        self.generic_visit(node)
        if self._is_assertion(node, name):
            node.func = _wrapped(ASSERTING, node.func)
        elif name in EXITS and len(node.args) == 1 and not isinstance(node.args[0], ast.Constant | ast.Starred):
            node.args[0] = _wrapped(CHECKED, node.args[0])
        return node

    def _is_assertion(self, node: ast.Call, name: str) -> bool:
        if name in self._not_asserting or isinstance(node.func, ast.Call):
            return False
        return name.lower().startswith("assert") or (name in BLOCKS and len(node.args) > 1)


def _told(name: str, at: ast.AST) -> ast.Expr:
    """The statement `name()`, at the end of another one."""
    call = ast.Expr(ast.Call(ast.Name(name, ast.Load()), [], []))
    return ast.fix_missing_locations(ast.copy_location(call, at))


def _wrapped(name: str, value: ast.expr) -> ast.Call:
    """The expression `name(value)`."""
    call = ast.Call(ast.Name(name, ast.Load()), [value], [])
    return ast.fix_missing_locations(ast.copy_location(call, value))


def _is_false(node: ast.AST) -> bool:
    """Whether it is `assert False` or its like: a line that is not to be reached."""
    return isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and not node.test.value


def _catches_assertions(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(map(_catches_assertions, kind.elts))
    return kind is None or name_of(kind) in CATCHES_ASSERTIONS


def _only_reports(node: ast.stmt) -> bool:
    """Whether a statement of a handler does nothing with what has failed but tell of it."""
    if isinstance(node, ast.Pass | ast.Continue | ast.Break):
        return True
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    return isinstance(value, ast.Constant) or (
        isinstance(value, ast.Call) and name_of(value).lower().startswith(REPORTS)
    )
