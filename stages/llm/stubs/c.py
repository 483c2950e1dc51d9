"""Functions of C and C++ with the bodies of stubs."""

import re

import tree_sitter_c
import tree_sitter_cpp
from tree_sitter import Node

from stages.llm.stubs.bodies import Function, outermost, parsed, words

ARITHMETIC = re.compile(
    r"(?:(?:unsigned|signed|long|short|int|char|float|double|bool|_Bool|ssize_t"
    r"|(?:std::)?(?:u?int(?:_fast|_least)?(?:8|16|32|64)|u?intptr|u?intmax|size|ptrdiff|char(?:8|16|32))_t)\s*)+"
)
LONGEST_NAME = 60  # of an arithmetic type
RAISES = "{ __builtin_abort(); }"
CAUGHT = re.compile(r"\bcatch\s*\(\s*(?:const\s+)?(\.\.\.|[\w:]+)")
NAMES = ("identifier", "field_identifier", "operator_name", "template_function")
DEEPEST = 8  # declarators within declarators, and scopes around a method, that are looked at
CLASSES = ("class_specifier", "struct_specifier")


def c_functions(text: bytes, language: str, tests: str = "") -> list[Function]:
    """The functions and methods, but for main, constructors and destructors. `tests` tell what they catch."""
    root = parsed(text, tree_sitter_cpp.language() if language == "cpp" else tree_sitter_c.language())
    nodes = outermost(root, "function_definition") if root else ()
    built = _with_constructors(root) if root and language == "cpp" else set()
    functions = [found for node in nodes if (found := _function(node, language, built))]
    caught = CAUGHT.search(tests) if language == "cpp" else None
    for function in functions if caught else ():
        function.bodies["awaited"] = f"{{ throw {_thrown(caught[1])}; }}"
    return functions


def _thrown(kind: str) -> str:
    """An exception that a handler of that kind catches; one that cannot be made so does not compile."""
    if kind == "...":
        return "0"
    return f"{kind}()" if kind in ("std::exception", "exception", "int") else f'{kind}("")'


def _with_constructors(root: Node) -> set[str]:
    """Names of the classes that may have no default value: those with a constructor of their own."""
    found = set()
    for kind in CLASSES:
        for node in outermost(root, kind):
            name = words(node.child_by_field_name("name"))
            if name and re.search(rf"(?<![\w~.>]){re.escape(name)}\s*\(", words(node)):
                found.add(name)
    return found


def _function(node: Node, language: str, built: set[str]) -> Function | None:
    body, declarator = node.child_by_field_name("body"), node.child_by_field_name("declarator")
    declarator, marks = _unmarked(declarator)
    if body is None or body.type != "compound_statement" or declarator is None:
        return None
    if declarator.type != "function_declarator":  # a conversion operator, a pointer to a function
        return None
    name = declarator.child_by_field_name("declarator")
    for _ in range(DEEPEST):
        if name and name.type in ("qualified_identifier", "template_function"):
            name = name.child_by_field_name("name")
    kind = node.child_by_field_name("type")
    if name is None or kind is None or words(name) == "main" or name.type not in NAMES:
        return None
    trailing = next((child for child in declarator.children if child.type == "trailing_return_type"), None)
    told = words(trailing).removeprefix("->").strip() if trailing else words(kind)
    const = any(words(child) == "const" for child in node.children if child.type == "type_qualifier")
    bodies = _bodies(told, marks, const, kind, declarator, language, built)
    guess = told.startswith(("auto", "decltype"))
    return Function(words(name), body.start_byte, body.end_byte, bodies, guess)


def _unmarked(declarator: Node | None) -> tuple[Node | None, str]:
    """What lies in the * and & of a declarator, and these."""
    marks = ""
    for _ in range(DEEPEST):
        if declarator is None or declarator.type not in ("pointer_declarator", "reference_declarator"):
            return declarator, marks
        marks += declarator.children[0].type
        inner = [c for c in declarator.named_children if c.type.endswith(("declarator", "identifier"))]
        declarator = inner[-1] if inner else None
    return None, marks


def _bodies(
    kind: str, marks: str, const: bool, node: Node, declarator: Node, language: str, built: set[str]
) -> dict[str, str]:
    if kind == "void" and not marks:
        return {**dict.fromkeys(("default", "one", "argument"), "{ }"), "raises": RAISES}
    arithmetic = not marks and _is_arithmetic(kind)
    default = "{ return 0; }" if arithmetic or "*" in marks else _default(kind, marks, const, node, language)
    if not marks and kind.partition("<")[0] in built:
        default = RAISES
    own = ("const " if const and marks else "") + kind + marks
    argument = next((name for name, of in _parameters(declarator) if _fits(of, own, arithmetic)), None)
    found = {"default": default, "one": "{ return 1; }" if arithmetic else default, "raises": RAISES}
    return {**found, "argument": f"{{ return {argument}; }}" if argument else default}


def _default(kind: str, marks: str, const: bool, node: Node, language: str) -> str:
    if kind.startswith(("auto", "decltype")) or node.type == "enum_specifier":
        return "{ return 0; }"
    if "&" in marks or kind.endswith("&"):
        if _inside(node, kind):
            return "{ return *this; }"
        return f"{{ static {'const ' if const else ''}{kind.rstrip('& ')} value{{}}; return value; }}"
    return "{ return {}; }" if language == "cpp" else f"{{ return ({kind}){{0}}; }}"


def _is_arithmetic(kind: str) -> bool:
    return len(kind) <= LONGEST_NAME and ARITHMETIC.fullmatch(kind) is not None


def _inside(node: Node | None, kind: str) -> bool:
    """Whether a member of the class `kind` returns a reference to it."""
    for _ in range(DEEPEST):
        if node is not None and node.type in CLASSES:
            return words(node.child_by_field_name("name")) == kind.partition("<")[0].rstrip("& ")
        node = node.parent if node else None
    return False


def _parameters(declarator: Node) -> list[tuple[str, str]]:
    """(name, type with its * and &) of the parameters that have a name."""
    found = []
    listed = declarator.child_by_field_name("parameters")
    for parameter in listed.named_children if listed else ():
        name, marks = _unmarked(parameter.child_by_field_name("declarator"))
        if name is None or name.type != "identifier":
            continue
        const = any(words(child) == "const" for child in parameter.children if child.type == "type_qualifier")
        kind = words(parameter.child_by_field_name("type"))
        found.append((words(name), ("const " if const else "") + kind + marks))
    return found


def _fits(parameter: str, wanted: str, arithmetic: bool) -> bool:
    """Whether a parameter can be returned. A copy may be made of what is constant or a reference."""
    if parameter == wanted:
        return True
    value = parameter.rstrip("&").removeprefix("const ") if "*" not in parameter else parameter
    return value == wanted or (arithmetic and _is_arithmetic(value))
