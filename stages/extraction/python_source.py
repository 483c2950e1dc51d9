"""What a Python text is, by `ast`: whether it parses, what it binds at module level, whether it is a program."""

import ast
import builtins
import re
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property

LONGEST = 200_000  # characters that are parsed: a tree takes some 500 bytes for each
DEFINING_LINE = re.compile(r"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+(\w+)|^(\w+)[ \t]*[:=](?!=)", re.MULTILINE)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
KNOWN = frozenset(dir(builtins)) | {"__file__", "__name__", "__doc__", "__builtins__", "__annotations__"}
DATA = (ast.Constant, ast.JoinedStr, ast.List, ast.ListComp, ast.Set, ast.SetComp, ast.Dict, ast.DictComp)
EFFECTS = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)  # what a statement of values lacks
OUTPUT = frozenset(("print", "write", "writelines", "stdout", "system", "fdopen"))
INPUT = frozenset(("input", "raw_input", "stdin", "__stdin__", "fdopen", "open", "read"))
INPUT_AS_A_WHOLE = frozenset(("open", "read", "readlines"))


def parse(text: str) -> ast.Module | None:
    """The tree of a text; None where it is no Python, or too long or too deep to be looked at."""
    if len(text) > LONGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings: the program's own affair
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


class PythonSource:
    """A text that may be Python. `whole`: it parses."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tree = parse(text)
        self.whole = self._tree is not None

    @cached_property
    def is_empty(self) -> bool:
        """Whether it holds no statement: white space and comments alone."""
        return not self._tree.body if self._tree else not self.text.strip()

    @cached_property
    def bound(self) -> dict[str, ast.AST]:
        """The last statement that binds each name at module level."""
        return {name: node for node in _statements(self._tree) for name in _names(node)} if self._tree else {}

    def definition(self, path: tuple[str, ...]) -> ast.AST | None:
        """What defines `path`: a function, a class, an assignment; for `Class.method` the method, or a class that may
        inherit it. A call, a comment, and a method of the same name are none."""
        node = self.bound.get(path[0]) if path else None
        for name in path[1:]:
            if not isinstance(node, ast.ClassDef):
                return node
            inner = {found: child for child in _statements(node) for found in _names(child)}
            node = inner.get(name) or (node if node.bases else None)
        return node

    def defines(self, path: tuple[str, ...]) -> bool:
        """Whether it defines `path`; where it does not parse, whether a line of it seems to."""
        if self.whole:
            return self.definition(path) is not None
        return bool(path) and path[0] in _names_at_lines(self.text)

    def is_stub(self, path: tuple[str, ...]) -> bool:
        """Whether what defines `path` has no body of its own: a signature that is said again."""
        node = self.definition(path)
        return node is not None and is_stub(node)

    def has_body(self, path: tuple[str, ...]) -> bool:
        """Whether a function or class of its own, with a body, defines `path`."""
        return isinstance(self.definition(path), (*FUNCTIONS, ast.ClassDef)) and not self.is_stub(path)

    def is_borrowed(self, path: tuple[str, ...]) -> bool:
        """Whether it gets what `path` begins with from elsewhere, as usage does: by an import, a loop, or itself."""
        nodes = [node for node in _statements(self._tree) if path[0] in _names(node)] if self._tree and path else []
        return bool(nodes) and not any(_makes(node, path[0]) and not self._takes(node, path[0]) for node in nodes)

    def _takes(self, node: ast.stmt, name: str) -> bool:
        """Whether it takes an attribute, or an element, of that name out of what this text does not define."""
        seen: set[str] = set()
        value = _holder(getattr(node, "value", None), name)
        while value is not None:
            root = _root(value)
            made = self.bound.get(root)
            if root in seen or not isinstance(made, (ast.Assign, ast.AnnAssign)):
                return not isinstance(made, (*FUNCTIONS, ast.ClassDef))
            seen.add(root)
            value = made.value
        return False

    @cached_property
    def own_names(self) -> set[str]:
        """Names that it binds anywhere other than by an import."""
        nodes = list(ast.walk(self._tree)) if self._tree else []
        made = {node.name for node in nodes if isinstance(node, (*FUNCTIONS, ast.ClassDef))}
        return made | _stores(self._tree) | {node.arg for node in nodes if isinstance(node, ast.arg)}

    @cached_property
    def returns(self) -> bool:
        """Whether it returns or yields outside of a function, as a body without its margin does."""
        nodes = (inner for node in _statements(self._tree) for inner in (node, *_own_nodes(node))) if self._tree else ()
        return any(isinstance(node, (ast.Return, ast.Yield, ast.YieldFrom)) for node in nodes)

    @cached_property
    def called(self) -> frozenset[str]:
        """Words of all names and attributes."""
        return _words(self._tree)

    @cached_property
    def missing(self) -> frozenset[str]:
        """Names that it uses and never binds."""
        return _missing(self._tree) if self._tree else frozenset()

    @cached_property
    def runs(self) -> bool:
        """Whether something is called when it is run, and not only when it is imported by others."""
        return self._tree is not None and any(
            isinstance(inner, ast.Call)
            for node in _statements(self._tree)
            if not isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Import, ast.ImportFrom))
            for inner in _own_nodes(node)
        )

    @cached_property
    def is_program(self) -> bool:
        """Whether it is a program by itself: it runs something, knows all its names, and writes output."""
        return self.runs and not self.missing and bool(self.called & OUTPUT)

    @cached_property
    def only_reads(self) -> bool:
        """Whether it is the beginning of a program: it takes input and writes nothing."""
        return self.runs and not self.missing and bool(self.called & INPUT) and not self.called & OUTPUT

    @cached_property
    def reads(self) -> int:
        """How many times it mentions what takes input: a function, or a stream that is not replaced."""
        return sum(name in INPUT for name in _loads(self._tree))

    def begins(self, program: "PythonSource") -> bool:
        """Whether a program, which reads as well, may go on from where this stops: it takes nothing again."""
        reads_all = any(name in INPUT_AS_A_WHOLE for name in _loads(self._tree))
        return not program.reads or not (
            reads_all or program.reads > self.reads or _stores(self._tree) & _stores(program._tree)
        )

    @cached_property
    def is_something(self) -> bool:
        """Whether it does more than to state values: a word or a number by itself parses as well."""
        return self._tree is not None and any(not _is_value(node) for node in self._tree.body)

    def offset(self, node: ast.AST) -> int:
        """Where the statement begins in the text, with its decorators: the start of its line."""
        line = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        return self._starts[line - 1]

    @cached_property
    def _starts(self) -> list[int]:
        """Where each line begins, as `ast` counts lines."""
        return [0, *(found.end() for found in re.finditer(r"\r\n|\r|\n", self.text))]

    def future_end(self) -> int:
        """Behind the last `from __future__` import, which nothing may precede; 0 where there is none."""
        found = [n for n in self._tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
        starts = self._starts
        return starts[found[-1].end_lineno] if found and found[-1].end_lineno < len(starts) else 0

    @property
    def statements(self) -> list[ast.stmt]:
        """Its statements at module level."""
        return self._tree.body if self._tree else []

    @staticmethod
    def binds(statement: ast.stmt) -> set[str]:
        """The names that one statement binds, those that its inner statements bind as well."""
        return {name for node in _statements(ast.Module([statement], [])) for name in _names(node)}

    @staticmethod
    def uses(statement: ast.stmt) -> list[str]:
        """The names that one statement uses."""
        return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]

    def lines_of(self, statement: ast.stmt) -> str:
        """The lines of one statement, with its decorators."""
        end = self._starts[statement.end_lineno] if statement.end_lineno < len(self._starts) else len(self.text)
        text = self.text[self.offset(statement) : end]
        return text if text.endswith("\n") else f"{text}\n"

    def innermost(self, path: tuple[str, ...]) -> ast.AST | None:
        """What defines the first name of `path`; of a class that ends in a method or class, that one."""
        node = self.definition(path[:1])
        while isinstance(node, ast.ClassDef) and isinstance(node.body[-1], (*FUNCTIONS, ast.ClassDef)):
            node = node.body[-1]
        return node

    def ends(self, path: tuple[str, ...]) -> bool:
        """Whether the function that defines `path`, or the last method of its class, returns or raises in the end."""
        node = self.innermost(path)
        return isinstance(node, FUNCTIONS) and always_ends(node.body)

    def yields_nothing(self, path: tuple[str, ...]) -> bool:
        """Whether that function neither returns nor yields anywhere."""
        node = self.innermost(path)
        given = (ast.Return, ast.Yield, ast.YieldFrom)
        return isinstance(node, FUNCTIONS) and not any(isinstance(inner, given) for inner in ast.walk(node))

    def split_methods(self, name: str) -> tuple[str, str, str]:
        """(before, methods, behind): the functions that are meant for a class, as `name` is, and the lines around them.

        Functions with the same first parameter are methods, and such as have a decorator that says so.
        """
        own = self.definition((name,))
        me = _first_parameter(own)
        if own not in self.statements:
            return "", self.text, ""
        around, methods, at = [], [], 0
        for node in self.statements:
            if isinstance(node, FUNCTIONS) and (node is own or _is_method(node, me)):
                start, lines = self.offset(node), self.lines_of(node)
                around.append(self.text[at:start])
                methods.append(lines)
                at = start + len(lines)
        return around[0], "".join(methods), "".join([*around[1:], self.text[at:]])

    @property
    def last(self) -> ast.AST | None:
        """Its last statement at module level."""
        return self._tree.body[-1] if self._tree and self._tree.body else None


def _names_at_lines(text: str) -> set[str]:
    """Names that lines of a text seem to define."""
    return {found[1] or found[2] for found in DEFINING_LINE.finditer(text)}


def _statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """The statements of a module or class in order, those inside of `if`, `try`, loops and `with` as well."""
    stack = list(reversed(tree.body))
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            continue
        inner: list[ast.AST] = []
        for field in ("body", "handlers", "cases", "orelse", "finalbody"):
            for child in getattr(node, field, None) or ():
                inner += child.body if isinstance(child, (ast.ExceptHandler, ast.match_case)) else [child]
        stack += reversed(inner)


def _names(node: ast.AST) -> Iterable[str]:
    """The names that a statement itself binds."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return (node.name,)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.AnnAssign) and node.value is None:
        return ()
    targets = list(getattr(node, "targets", ())) if isinstance(node, ast.Assign) else []
    if isinstance(node, (ast.AnnAssign, ast.For, ast.AsyncFor)):
        targets = [node.target]
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        targets = [item.optional_vars for item in node.items if item.optional_vars]
    return _targets(targets)


def _targets(nodes: list[ast.AST]) -> list[str]:
    names, stack = [], list(nodes)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            names.append(node.id)
        elif isinstance(node, (ast.Tuple, ast.List)):
            stack += node.elts
        elif isinstance(node, ast.Starred):
            stack.append(node.value)
    return names


def _makes(node: ast.stmt, name: str) -> bool:
    """Whether a statement that binds a name defines it: no data, nothing imported, nor made of the name itself."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return isinstance(node, (*FUNCTIONS, ast.ClassDef))
    if isinstance(node.value, DATA):
        return False
    stack: list[ast.AST] = [node.value] if node.value else []
    while stack:
        inner = stack.pop()
        if isinstance(inner, ast.Name) and inner.id == name:
            return False
        if not isinstance(inner, ast.Lambda):  # which may call itself
            stack += ast.iter_child_nodes(inner)
    return True


def _holder(value: ast.AST | None, name: str) -> ast.AST | None:
    """What a value is taken from by `name`: `m` of `m.name`, `m["name"]` and `getattr(m, "name")`."""
    if isinstance(value, ast.Attribute):
        return value.value if value.attr == name else None
    if isinstance(value, ast.Subscript):
        return value.value if isinstance(value.slice, ast.Constant) and value.slice.value == name else None
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "getattr":
        held = len(value.args) > 1 and isinstance(value.args[1], ast.Constant) and value.args[1].value == name
        return value.args[0] if held else None
    return None


def _root(value: ast.AST) -> str | None:
    """The name that a chain of attributes, calls and elements begins with."""
    while isinstance(value, (ast.Attribute, ast.Call, ast.Subscript)):
        value = value.func if isinstance(value, ast.Call) else value.value
    return value.id if isinstance(value, ast.Name) else None


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement but for those of its inner statements: its tests, values and targets."""
    stack = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]
    while stack:
        found = stack.pop()
        yield found
        stack += [child for child in ast.iter_child_nodes(found) if not isinstance(child, ast.stmt)]


def is_stub(node: ast.AST | None) -> bool:
    """Whether a function, or all of a class, has no body of its own. A class without methods may inherit them."""
    if isinstance(node, ast.ClassDef):
        inherits = any(not (isinstance(base, ast.Name) and base.id == "object") for base in node.bases)
        if inherits and not any(isinstance(n, FUNCTIONS) for n in node.body):
            return False
        return all(is_stub(n) if isinstance(n, (*FUNCTIONS, ast.ClassDef)) else _is_idle(n) for n in node.body)
    return isinstance(node, FUNCTIONS) and all(_is_idle(n) for n in node.body)


def _is_idle(node: ast.AST) -> bool:
    """A docstring, `...`, `pass`, or `raise NotImplementedError`."""
    if isinstance(node, ast.Raise):
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return isinstance(error, ast.Name) and error.id == "NotImplementedError"
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _is_value(node: ast.stmt) -> bool:
    """Whether a statement only states a value, or a type without one: prose such as `Answer: 42` reads like it."""
    if isinstance(node, ast.AnnAssign):
        return node.value is None
    return isinstance(node, ast.Expr) and not any(isinstance(inner, EFFECTS) for inner in ast.walk(node.value))


def always_ends(body: list[ast.stmt]) -> bool:
    """Whether no statement behind `body` would run: every way through it returns or raises, or it never ends."""
    stack = [body]
    while stack:
        last = stack.pop()[-1]
        if isinstance(last, (ast.Return, ast.Raise)):
            continue
        if isinstance(last, ast.If) and last.orelse:
            stack += [last.body, last.orelse]
        elif isinstance(last, (ast.With, ast.AsyncWith)):
            stack.append(last.body)
        elif isinstance(last, (ast.Try, ast.TryStar)):
            stack += [last.orelse or last.body, *(handler.body for handler in last.handlers)]
        elif isinstance(last, ast.Match) and any(_catches_all(case) for case in last.cases):
            stack += [case.body for case in last.cases]
        elif not (isinstance(last, ast.While) and _never_ends(last)):
            return False
    return True


def _catches_all(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None


def _never_ends(loop: ast.While) -> bool:
    endless = isinstance(loop.test, ast.Constant) and bool(loop.test.value)
    return endless and not any(isinstance(node, ast.Break) for node in ast.walk(loop))


def does_more_behind(node: ast.AST, end: tuple[int, int]) -> bool:
    """Whether a statement in `node` that ends behind `end` (line, column in bytes) does more than to state values."""
    return any(
        isinstance(inner, ast.stmt)
        and not hasattr(inner, "body")
        and ends_at(inner) > end
        and not (_is_idle(inner) or _is_value(inner))
        for inner in ast.walk(node)
    )


def has_body_behind(node: ast.AST, end: tuple[int, int]) -> bool:
    """Whether a statement of a function's body ends behind `end` that may be all of it: `pass` and `...` are.

    Values that are stated, imports and inner definitions by themselves are no body.
    """
    beside = (*FUNCTIONS, ast.ClassDef, ast.Import, ast.ImportFrom)
    return any(
        ends_at(inner) > end and not isinstance(inner, beside) and (not _is_value(inner) or _is_ellipsis(inner))
        for inner in node.body
    )


def _is_ellipsis(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is Ellipsis


def ends_at(node: ast.stmt) -> tuple[int, int]:
    """Where a statement ends: line, column in bytes."""
    return node.end_lineno, node.end_col_offset


def _first_parameter(node: ast.AST) -> str | None:
    names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)] if isinstance(node, FUNCTIONS) else []
    return names[0] if names else None


def _is_method(node: ast.AST, me: str | None) -> bool:
    marks = {decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name)}
    return bool(marks & {"staticmethod", "classmethod", "property"}) or (me == "self" and _first_parameter(node) == me)


def _words(tree: ast.AST | None) -> frozenset[str]:
    nodes = [n for n in ast.walk(tree) if isinstance(n, (ast.Name, ast.Attribute))] if tree else []
    return frozenset(n.id if isinstance(n, ast.Name) else n.attr for n in nodes)


def _loads(tree: ast.AST | None) -> list[str]:
    """Words of the names and attributes whose values are used, and of what is imported from modules."""
    nodes = list(ast.walk(tree)) if tree else []
    found = [
        n.id if isinstance(n, ast.Name) else n.attr
        for n in nodes
        if isinstance(getattr(n, "ctx", None), ast.Load) and isinstance(n, (ast.Name, ast.Attribute))
    ]
    return found + [alias.name for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names if alias.asname]


def _stores(tree: ast.AST | None) -> set[str]:
    """All names that are assigned to, in functions as well."""
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} if tree else set()


def _missing(tree: ast.Module) -> frozenset[str]:
    used, bound = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update(_names(node))
            if any(alias.name == "*" for alias in node.names):
                return frozenset()
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            bound.add(node.name)
        elif isinstance(node, ast.MatchMapping):
            bound.add(node.rest)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            bound.update(node.names)
    return frozenset(used - bound - KNOWN)
