"""From the text of a Python task's tests to the steps that run them: each test counts by itself.

Runs inside the sandbox, in a process that plans for one task after another and runs none of their code, and imports the
standard library alone.

The steps are the statements of the module, in order. A test is a statement that asserts something (python_assertions.py
says what that is), by itself or through functions of the text that it names; the same inside HumanEval's
`check(candidate)`, whether or not the text calls it; a `test_*` function; an item that pytest collects, where the text
needs pytest. The body of `if __name__ == "__main__":` is run where it asserts, as in a script; calls of
`unittest.main` and `pytest.main` are left out, since what they would run is collected.
"""

import ast
import base64
import contextlib
import marshal
import re
from collections.abc import Collection, Iterator

from python_assertions import (
    EXITS,
    MARKERS,
    Instrument,
    closure,
    is_runner,
    run_by_hand,
)
from python_nodes import here, name_of, references, walk
from python_script import BROKEN_SOURCE

SETUP, IMPORT, TEST, BIND, COLLECT, PRELUDE = "setup", "import", "test", "bind", "collect", "prelude"
PYTEST_NAMES = ("setup_", "teardown_", "pytest_")
CLASS = re.compile(r"^\s*class\s+(\w+)", re.MULTILINE)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
LABEL_LENGTH, DETAIL_LENGTH = 150, 400
# What tests may want to see of a module besides values, and the words in their text that say so.
WISHES = {
    "output": re.compile(r"\b(?:capsys|capfd|capsysbinary|redirect_stdout|redirect_stderr|stdout|stderr)\b"),
    "environment": re.compile(r"\b(?:environ|setenv|delenv|putenv)\b"),
    "input": re.compile(r"\b(?:input|stdin)\b"),
    "files": re.compile(r"\b(?:tmp_path|tmpdir|tmp_path_factory|tempfile|open|Path|pathlib|os\.path|shutil)\b"),
    "seed": re.compile(r"\brandom\.seed\b"),
    "notices": re.compile(r"\b(?:warnings|warns|recwarn|deprecated_call|logging|caplog|assert(?:No)?Logs|assertWarns)"),
    "doctest": re.compile(r"\bdoctest\b"),
    "sleep": re.compile(r"\bsleep\b"),
}


# Functions of the library that tests may put others in the place of, by their names.
REPLACED = (
    *("builtins.print", "builtins.open", "time.sleep", "time.time", "time.monotonic", "time.perf_counter"),
    *("random.random", "random.randint", "random.choice", "random.uniform", "random.shuffle", "random.sample"),
    *("os.getenv", "os.path.exists", "os.path.isfile", "os.listdir", "subprocess.run", "urllib.request.urlopen"),
)


def _wishes(text: str) -> list[str]:
    found = [name for name, words in WISHES.items() if words.search(text)]
    for name in REPLACED:
        module, _, attribute = name.rpartition(".")
        if attribute not in text:
            continue
        dotted = rf"""["'](?:solution\.)?{re.escape(name)}["']"""
        split = rf"""\(\s*(?:solution\.)?{re.escape(module)}\s*,\s*["']{attribute}["']"""
        if re.search(f"{dotted}|{split}", text):
            found.append(name)
    return found


def run(job: dict) -> dict:
    """Reports `plan`, that of the job's `tests`, `entry_point` and `prompt`, and `broken`; one of them is None."""
    try:
        return {"plan": plan(job["tests"], job["entry_point"], job["prompt"]), "broken": None}
    except BROKEN_SOURCE as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        said = f"{line}{type(error).__name__}: {getattr(error, 'msg', None) or error}"
        return {"plan": None, "broken": said[:DETAIL_LENGTH]}


def plan(text: str, entry_point: str | None, prompt: str = "") -> dict:
    """What the judge goes by, the same for all samples of a task.

    `steps`: marshalled list of (kind, label, marshalled code), in base64; the last one collects what is in functions.
    `total`: tests of kind TEST. `functions`: how many more there are in functions, as far as the text tells.
    `wishes`: of WISHES and REPLACED. `guarded`, `classes`: of the functions of these names. `bodies`: whether the text
    defines classes. `assertions`, `failures`: first and last line of each, and of each statement by which the text
    itself fails.

    Raises SyntaxError, ValueError, RecursionError or MemoryError for text that is no Python.
    """
    tree = ast.parse(text)
    nodes = walk(tree)
    made = _Steps(tree, nodes, entry_point)
    steps = [*_prelude(prompt, entry_point), *made.all()]
    return {
        "wishes": _wishes(text),
        "guarded": _guarded(nodes),
        "classes": _classes(nodes, prompt),
        "bodies": any(isinstance(node, ast.ClassDef) for node in nodes),
        "assertions": [[node.lineno, node.end_lineno] for node in nodes if isinstance(node, ast.Assert)],
        "failures": [[node.lineno, node.end_lineno] for node in nodes if _is_failure(node)],
        "steps": base64.b64encode(marshal.dumps(steps)).decode(),
        "total": sum(kind == TEST for kind, _, _ in steps),
        "functions": made.functions_to_run,
    }


def _is_failure(node: ast.AST) -> bool:
    return isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and name_of(node) in EXITS)


class _Steps:
    """The steps of a module. Labels are of its text as it stands, code of the instrumented one."""

    def __init__(self, tree: ast.Module, nodes: list[ast.AST], entry_point: str | None) -> None:
        self.tree, self.entry_point = tree, entry_point
        self.flags = _future_flags(tree)
        self.by_hand = run_by_hand(tree)
        self.needs_pytest, self.bound = needs_pytest(tree, self.by_hand), _bound_names(tree)
        self.functions_to_run = 0
        self.check = next((node for node in tree.body if _is_function(node, "check")), None)
        self.unrolled = self.check is not None and _can_unroll(self.check)
        self.parts: list[ast.stmt] = []  # of a check that is unrolled
        self.labels: dict[int, str] = {}
        self.code: dict[int, list[ast.stmt]] = {}
        instrument = Instrument(nodes, entry_point)
        for node in tree.body:
            self._prepare(node, instrument)
        functions = instrument.functions
        asserting = {name for name, nodes in functions.items() if any(map(_is_marked_anywhere, nodes))}
        self.asserting = closure(functions, asserting) & functions.keys()
        self.body = list(self._statements())
        self.functions = {node.name: node for node in self.body if isinstance(node, ast.FunctionDef)}
        self.steps: list[tuple[str, str, bytes]] = []

    def _prepare(self, node: ast.stmt, instrument: Instrument) -> None:
        """Note what a statement is called; then instrument it, in place, since copies of long tests take long."""
        self.labels[id(node)] = _label(node)
        unrolled = node is self.check and self.unrolled
        if not unrolled and not _is_main_guard(node):
            made = instrument.visit(node)
            self.code[id(node)] = made if isinstance(made, list) else [made]
            return
        parts = node.body
        for part in parts:
            self._prepare(part, instrument)
        if unrolled:
            self.parts = parts
            node.body = [made for part in parts for made in self.code[id(part)]]
        self.code[id(node)] = [node]

    def _statements(self) -> Iterator[ast.stmt]:
        """The module's statements, those behind its main guard among them."""
        for node in self.tree.body:
            behind = node.body if _is_main_guard(node) else [node]
            if behind == [node] or any(map(self._asserts, behind)):
                yield from (inner for inner in behind if not is_runner(inner))

    def all(self) -> list[tuple[str, str, bytes]]:
        """(kind, label, marshalled code) of each."""
        called = {name for node in self.body if (name := _call_name(node)) in self.functions}
        for node in self.body:
            if _call_name(node) == "check" and self.unrolled and len(node.value.args) == 1 and not node.value.keywords:
                self._add_check(node.value.args[0])
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self._add(IMPORT, node)
            else:
                self._add(TEST if self._asserts(node) else SETUP, node)
        named = any(references(node, ["check"]) for node in self.body)
        if self.check is not None and not named and self.entry_point and not any(map(self._asserts, self.body)):
            if self.unrolled:
                self._add_check(ast.parse(self.entry_point, mode="eval").body)
            else:
                self._add_call(TEST, f"check({self.entry_point})")
        # `text`: what the text defines; `run`: what it runs itself, of which nothing more is to be collected.
        run = sorted(self.by_hand | (set() if self.needs_pytest else called))
        self.functions_to_run = 0 if self.needs_pytest else sum(map(self._is_test, self.functions.keys() - set(run)))
        told = {"pytest": self.needs_pytest, "text": [name for name in self.bound if name not in run], "run": run}
        self.steps.append((COLLECT, "", marshal.dumps(told)))
        return self.steps

    @staticmethod
    def _is_test(name: str) -> bool:
        return name.startswith("test")

    def _asserts(self, node: ast.stmt) -> bool:
        """Whether running a statement of the text asserts something; what it only defines does not count."""
        if isinstance(node, DEFINITIONS) or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)):
            return False
        marked = any(map(_is_marked, reversed(self.code[id(node)])))  # the word on an assertion stands behind it
        return marked or references(node, self.asserting)

    def _add(self, kind: str, node: ast.stmt) -> None:
        self._add_code(kind, self.labels[id(node)], self.code[id(node)])

    def _add_call(self, kind: str, text: str, label: str = "") -> None:
        self._add_code(kind, label or text, ast.parse(text).body)

    def _add_code(self, kind: str, label: str, body: list[ast.stmt]) -> None:
        module = ast.Module(body=body, type_ignores=[])
        code = compile(module, "tests.py", "exec", flags=self.flags, dont_inherit=True)
        self.steps.append((kind, label, marshal.dumps(code)))

    def _add_check(self, argument: ast.expr) -> None:
        """`check(argument)` statement by statement, in names of its own."""
        target = ast.copy_location(ast.Name(self.check.args.args[0].arg, ast.Store()), argument)
        bind = ast.copy_location(ast.Assign([target], argument), argument)
        self._add_code(BIND, _label(argument), [ast.fix_missing_locations(bind)])
        for node in self.parts:
            self._add(TEST if self._asserts(node) else SETUP, node)


def _is_function(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == name


def _is_marked(node: ast.AST) -> bool:
    """Whether an instrumented statement tells of an assertion when it runs."""
    return any(isinstance(inner, ast.Name) and inner.id in MARKERS for inner in here(node))


def _is_marked_anywhere(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id in MARKERS for inner in walk(node))


def _is_main_guard(node: ast.stmt) -> bool:
    """Whether it is `if __name__ == "__main__":`."""
    test = node.test if isinstance(node, ast.If) else None
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = (test.left, test.comparators[0])
    values = [side.value for side in sides if isinstance(side, ast.Constant)]
    return values == ["__main__"] and any(name_of(side) == "__name__" for side in sides)


def _guarded(nodes: list[ast.AST]) -> list[list[int]]:
    """[first line, last line of an assertion, last line] of each assertion in a `with` block: an error in the block, at
    or before that line, that a context manager swallows takes the assertion with it. One that never holds, there to
    say that a line is not reached, does not count."""
    found = []
    for block in nodes:
        if isinstance(block, ast.With | ast.AsyncWith):
            for node in walk(block):
                if isinstance(node, ast.Assert) and not (isinstance(node.test, ast.Constant) and not node.test.value):
                    found.append([block.lineno, node.end_lineno, block.end_lineno])
    return found


def _classes(nodes: list[ast.AST], prompt: str) -> list[str]:
    """Names that the tests take for classes: by `isinstance`, an attribute, a base, or because the prompt has them. A
    name that is merely called may be a function's, and a class in its place is none that the tests know."""
    found = set(CLASS.findall(prompt))
    for node in nodes:
        if isinstance(node, ast.Attribute):
            places: list[ast.expr] = [node.value]
        elif isinstance(node, ast.ClassDef):
            places = node.bases
        elif _is_call_of(node, ("isinstance", "issubclass", "assertIsInstance", "assertNotIsInstance")):
            places = [part for argument in node.args[1:2] for part in walk(argument)]
        else:
            continue
        found.update(place.id for place in places if isinstance(place, ast.Name))
    return sorted(found)


def _is_call_of(node: ast.AST, names: tuple[str, ...]) -> bool:
    function = node.func if isinstance(node, ast.Call) else None
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    return name in names


def _prelude(prompt: str, entry_point: str | None) -> list[tuple[str, str, bytes]]:
    """Imports, constants and complete functions of a prompt that is code: tests that use them get the task's own, not
    what the solution has made of them. Classes are the solution's."""
    try:
        tree = ast.parse(prompt)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    flags, steps = _future_flags(tree), []
    for node in tree.body:
        function = isinstance(node, ast.FunctionDef) and node.name != entry_point and _is_complete(node)
        if function or isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign):
            with contextlib.suppress(*BROKEN_SOURCE):
                code = compile(ast.Module([node], []), "prompt.py", "exec", flags=flags, dont_inherit=True)
                steps.append((PRELUDE, "", marshal.dumps(code)))
    return steps


def _is_complete(function: ast.FunctionDef) -> bool:
    """Whether it has a body that does something."""
    return any(not isinstance(node, ast.Pass | ast.Expr) for node in function.body)


def needs_pytest(tree: ast.Module, by_hand: Collection[str] = ()) -> bool:
    """Whether the text leans on pytest (or unittest): imports, fixtures, classes, decorators, set-up hooks. Functions
    that it runs `by_hand` do not count."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if any(name.split(".")[0] in ("pytest", "unittest") for name in names):
                return True
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            return True
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith(PYTEST_NAMES):
                return True
            given = node.decorator_list or node.args.args or isinstance(node, ast.AsyncFunctionDef)
            if node.name.startswith("test") and given and node.name not in by_hand:
                return True
    return False


def _future_flags(tree: ast.Module) -> int:
    import __future__

    flags = 0
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for alias in node.names:  # one that is not there is a SyntaxError when the statement is compiled
                flags |= getattr(getattr(__future__, alias.name, None), "compiler_flag", 0)
    return flags


def _call_name(node: ast.stmt) -> str | None:
    call = node.value if isinstance(node, ast.Expr) else None
    return call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else None


def _can_unroll(check: ast.FunctionDef) -> bool:
    """Whether the body of `check(candidate)` means the same statement by statement."""
    if check.decorator_list or len(check.args.args) != 1 or check.args.vararg or check.args.kwonlyargs:
        return False
    bound = (ast.Return, ast.Yield, ast.YieldFrom, ast.Await, ast.Nonlocal, ast.Global)
    return not any(isinstance(node, bound) for node in walk(check))


def _bound_names(tree: ast.Module) -> list[str]:
    """Names of functions and classes that the text defines: pytest collects these, and none of the solution's."""
    return [node.name for node in tree.body if isinstance(node, DEFINITIONS)]


def _label(node: ast.AST) -> str:
    """The statement's source on one line, cut."""
    if isinstance(node, ast.FunctionDef):
        return node.name
    if isinstance(node, ast.Assert):
        node = ast.Assert(node.test, None)  # the message is not the test
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 3] + "..."
