"""From the text of a Python task's tests to the steps that run them: each test counts by itself.

Runs inside the sandbox, in a process that plans for one task after another and runs none of their code, and imports the
standard library alone.
A test is: a statement at module level that asserts (`assert`, or a block with one, or `with raises(...)`); the same
inside HumanEval's `check(candidate)`, whether or not the text calls it; a call at module level of a function of the
text that asserts; a `test_*` function; an item that pytest collects, where the text needs pytest.
"""

import ast
import base64
import contextlib
import marshal
import re

from python_script import BROKEN_SOURCE

SETUP, IMPORT, TEST, FUNCTION, BIND, PYTEST, PRELUDE = (
    "setup",
    "import",
    "test",
    "function",
    "bind",
    "pytest",
    "prelude",
)
PYTEST_NAMES = ("setup_", "teardown_", "pytest_")
CLASS = re.compile(r"^\s*class\s+(\w+)", re.MULTILINE)
LABEL_LENGTH, DETAIL_LENGTH = 150, 400
# What tests may want to see of a module besides values, and the words in their text that say so.
WISHES = {
    "output": re.compile(r"\b(?:capsys|capfd|capsysbinary|redirect_stdout|redirect_stderr|stdout|stderr)\b"),
    "environment": re.compile(r"\b(?:environ|setenv|delenv|putenv)\b"),
    "input": re.compile(r"\b(?:input|stdin)\b"),
    "files": re.compile(r"\b(?:tmp_path|tmpdir|tmp_path_factory|tempfile|open|Path|pathlib|os\.path|shutil)\b"),
    "seed": re.compile(r"\brandom\.seed\b"),
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
    """`steps`: marshalled list of (kind, label, marshalled code), in base64; `total`: tests of kind TEST and FUNCTION;
    `pytest`: whether pytest collects more; `wishes`: of WISHES and REPLACED; `guarded`, `classes`: of the functions;
    `bodies`: whether the text defines classes;
    `assertions`: first and last line of each. The same for all samples of a task.

    Raises SyntaxError, ValueError, RecursionError or MemoryError for text that is no Python.
    """
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    steps = [*_prelude(prompt, entry_point), *_steps(tree, entry_point)]
    return {
        "wishes": _wishes(text),
        "guarded": _guarded(nodes),
        "classes": _classes(nodes, prompt),
        "bodies": any(isinstance(node, ast.ClassDef) for node in nodes),
        "assertions": [[node.lineno, node.end_lineno] for node in nodes if isinstance(node, ast.Assert)],
        "steps": base64.b64encode(marshal.dumps(steps)).decode(),
        "total": sum(kind in (TEST, FUNCTION) for kind, _, _ in steps),
        "pytest": any(kind == PYTEST for kind, _, _ in steps),
    }


def _steps(tree: ast.Module, entry_point: str | None) -> list[tuple[str, str, bytes]]:
    flags = _future_flags(tree)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    called = _called(tree, functions)
    steps = []

    def add(kind: str, node: ast.stmt, label: str = "") -> None:
        module = ast.Module(body=[node], type_ignores=[])
        code = compile(module, "tests.py", "exec", flags=flags, dont_inherit=True)
        steps.append((kind, label or _label(node), marshal.dumps(code)))

    def add_check(argument: ast.expr) -> None:
        """`check(argument)` statement by statement, in names of its own."""
        check = functions["check"]
        target = ast.copy_location(ast.Name(check.args.args[0].arg, ast.Store()), argument)
        add(BIND, ast.copy_location(ast.Assign([target], argument), argument), _label(argument))
        for node in check.body:
            add(TEST if _asserts(node) else SETUP, node)

    unrolled = _can_unroll(functions.get("check"))
    for node in tree.body:
        name = _call_name(node)
        if name == "check" and unrolled and len(node.value.args) == 1 and not node.value.keywords:
            add_check(node.value.args[0])
        elif isinstance(node, ast.Import | ast.ImportFrom):
            add(IMPORT, node)
        else:
            add(TEST if _asserts(node) or name in called else SETUP, node)
    if "check" in functions and "check" not in called and entry_point and not _top_level_tests(tree):
        if unrolled:
            add_check(ast.parse(entry_point, mode="eval").body)
        else:
            add(TEST, ast.parse(f"check({entry_point})").body[0])
    if needs_pytest(tree):
        steps.append((PYTEST, "", marshal.dumps(_bound_names(tree))))
    else:
        for name, node in functions.items():
            if name.startswith("test") and name not in called:
                add(FUNCTION, ast.parse(f"{name}()").body[0], _label(node))
    return steps


def _guarded(nodes: list[ast.AST]) -> list[list[int]]:
    """[first line, last line of an assertion, last line] of each assertion in a `with` block: an error in the block, at
    or before that line, that a context manager swallows takes the assertion with it. One that never holds, there to
    say that a line is not reached, does not count."""
    found = []
    for block in nodes:
        if isinstance(block, ast.With | ast.AsyncWith):
            for node in ast.walk(block):
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
            places = [part for argument in node.args[1:2] for part in ast.walk(argument)]
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


def needs_pytest(tree: ast.Module) -> bool:
    """Whether the text leans on pytest (or unittest): imports, fixtures, classes, decorators, set-up hooks."""
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
            if node.name.startswith("test") and given:
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


def _called(tree: ast.Module, functions: dict) -> set[str]:
    """Functions of the text that assert, by themselves or through others, and that it calls at module level."""
    calls = {name for node in tree.body if (name := _call_name(node)) in functions}
    asserting = {name for name in calls if _has_assert(functions[name])}
    if asserting == calls:
        return calls
    asserting |= {name for name in functions.keys() - calls if _has_assert(functions[name])}
    uses = {name: {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} for name, node in functions.items()}
    while more := {name for name in functions if uses[name] & asserting} - asserting:
        asserting |= more
    return calls & asserting


def _call_name(node: ast.stmt) -> str | None:
    call = node.value if isinstance(node, ast.Expr) else None
    return call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else None


def _top_level_tests(tree: ast.Module) -> bool:
    return any(_asserts(node) for node in tree.body)


def _has_assert(node: ast.AST) -> bool:
    return any(_is_assertion(inner) for inner in ast.walk(node))


def _is_assertion(node: ast.AST) -> bool:
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        return any(ast.unparse(call.func).endswith("raises") for call in calls)
    return isinstance(node, ast.Assert)


def _asserts(node: ast.AST) -> bool:
    """Whether running the statement asserts something; what it only defines does not count."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return False
    return _is_assertion(node) or any(_asserts(child) for child in ast.iter_child_nodes(node))


def _can_unroll(check: ast.FunctionDef | None) -> bool:
    """Whether the body of `check(candidate)` means the same statement by statement."""
    if check is None or check.decorator_list or len(check.args.args) != 1 or check.args.vararg or check.args.kwonlyargs:
        return False
    bound = (ast.Return, ast.Yield, ast.YieldFrom, ast.Await, ast.Nonlocal, ast.Global)
    nodes = list(ast.walk(check))
    return any(map(_is_assertion, nodes)) and not any(isinstance(node, bound) for node in nodes)


def _bound_names(tree: ast.Module) -> list[str]:
    """Names of functions and classes that the text defines: pytest collects these, and none of the solution's."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, definitions)]


def _label(node: ast.AST) -> str:
    """The statement's source on one line, cut."""
    if isinstance(node, ast.FunctionDef):
        return node.name
    if isinstance(node, ast.Assert):
        node = ast.Assert(node.test, None)  # the message is not the test
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 3] + "..."
