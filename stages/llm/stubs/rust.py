"""Functions of Rust with the bodies of stubs."""

import re

import tree_sitter_rust
from tree_sitter import Node

from stages.llm.stubs.bodies import Function, outermost, parsed, words

RAISES = "{ unimplemented!() }"
WHOLE = re.compile(r"[iu](?:8|16|32|64|128|size)")
NUMBERS = re.compile(rf"{WHOLE.pattern}|f(?:32|64)")
# Types that are Default whatever they hold, and those that are where what they hold is.
EMPTY = {
    "String",
    "Vec",
    "VecDeque",
    "HashMap",
    "HashSet",
    "BTreeMap",
    "BTreeSet",
    "BinaryHeap",
    "LinkedList",
    "Duration",
    "PathBuf",
}
HOLDING = {"Box", "Rc", "Arc", "Cell", "RefCell", "Mutex", "RwLock"}
DEFAULT = "Default::default()"
DEEPEST = 8  # types within types that are looked at
DERIVED = re.compile(  # bounded, or a hostile text would take the square of its length
    r"#\[derive\([^)\]]{0,300}\bDefault\b[^)\]]{0,300}\)\]\s*(?:#\[[^\]]{0,300}\]\s*){0,4}(?:pub(?:\([^)]{0,60}\))?\s+)?\w+\s+(\w+)"
)
WRITTEN = re.compile(r"\bDefault\s+for\s+(\w+)")


def rust_functions(text: bytes, language: str, tests: str = "") -> list[Function]:
    """The functions and methods, but for main and constructors."""
    root = parsed(text, tree_sitter_rust.language())
    if root is None:
        return []
    source = text.decode("utf-8", "replace")
    known = {*DERIVED.findall(source), *WRITTEN.findall(source)}
    return [found for node in outermost(root, "function_item") if (found := _function(node, known))]


def _function(node: Node, known: set[str]) -> Function | None:
    body, name = node.child_by_field_name("body"), words(node.child_by_field_name("name"))
    kind, listed = node.child_by_field_name("return_type"), node.child_by_field_name("parameters")
    parameters = listed.named_children if listed else []
    own = any(parameter.type == "self_parameter" for parameter in parameters)
    if body is None or name == "main" or (not own and _constructs(node, kind)):
        return None
    bodies = _bodies(kind, parameters, known)
    guess = "impl " in words(kind)  # what is returned has to be of some type
    return Function(name, body.start_byte, body.end_byte, bodies, guess)


def _constructs(node: Node, kind: Node | None) -> bool:
    """Whether an associated function makes a value of its own type, also one in Option or Result."""
    around = node.parent.parent if node.parent else None
    if around is None or around.type != "impl_item" or kind is None:
        return False
    of = words(around.child_by_field_name("type")).partition("<")[0]
    return bool(re.search(rf"\b(?:Self|{re.escape(of)})\b(?!::)", words(kind)))


def _bodies(kind: Node | None, parameters: list[Node], known: set[str]) -> dict[str, str]:
    if kind is None or kind.type == "unit_type":
        return {**dict.fromkeys(("default", "one", "argument"), "{ }"), "raises": RAISES, "awaited": RAISES}
    told = words(kind)
    value = _default(kind, known, DEEPEST)
    default = RAISES if value is None else f"{{ {value} }}"
    return {
        "default": default,
        "one": f"{{ {one} }}" if (one := _one(kind, known)) else default,
        "argument": f"{{ {given} }}" if (given := _argument(told, parameters)) else default,
        "raises": RAISES,
        "awaited": f"{{ Err({_error(kind, known)}) }}" if re.match(r"(?:\w+::)*Result\b", told) else RAISES,
    }


def _error(kind: Node, known: set[str]) -> str:
    """An expression for an error of a Result; one that cannot be made so does not compile."""
    arguments = kind.child_by_field_name("type_arguments")
    of = arguments.named_children[1:2] if arguments else []
    return (of and _default(of[0], known, DEEPEST)) or DEFAULT


def _default(kind: Node, known: set[str], depth: int) -> str | None:
    """An expression for a type's default value; None where it may have none."""
    told = words(kind)
    if kind.type == "primitive_type":
        return {"bool": "false", "char": r"'\0'", "f32": "0.0", "f64": "0.0"}.get(told, "0")
    if kind.type == "unit_type":
        return "()"
    if kind.type == "reference_type":
        return DEFAULT if re.match(r"&\s*(?:'\w+\s+)?(?:str\b|\[)", told) else None
    if kind.type == "tuple_type":
        parts = [_default(part, known, depth - 1) for part in kind.named_children] if depth else [None]
        return f"({', '.join(part or '' for part in parts)},)" if all(parts) else None
    return _default_of(re.split(r"[<\s]", told, maxsplit=1)[0].rpartition("::")[2], kind, known, depth)


def _default_of(name: str, kind: Node, known: set[str], depth: int) -> str | None:
    """As `_default`, of a type that has a name."""
    arguments = kind.child_by_field_name("type_arguments")
    inner = arguments.named_children if arguments and depth else []
    if name == "Option" or name in EMPTY or name in known:
        return "None" if name == "Option" else DEFAULT
    value = _default(inner[0], known, depth - 1) if inner and (name == "Result" or name in HOLDING) else None
    return value and (f"Ok({value})" if name == "Result" else DEFAULT)


def _one(kind: Node, known: set[str]) -> str | None:
    told = words(kind)
    if told.startswith("Option<"):
        arguments = kind.child_by_field_name("type_arguments")
        value = _default(arguments.named_children[0], known, DEEPEST) if arguments else None
        return value and f"Some({value})"
    return {"bool": "true", "f32": "1.0", "f64": "1.0"}.get(told, "1" if WHOLE.fullmatch(told) else None)


def _argument(told: str, parameters: list[Node]) -> str | None:
    for parameter in parameters:
        name, kind = parameter.child_by_field_name("pattern"), words(parameter.child_by_field_name("type"))
        if name is None or name.type != "identifier":
            continue
        if kind == told:
            return words(name)
        if NUMBERS.fullmatch(kind) and NUMBERS.fullmatch(told):
            return f"{words(name)} as {told}"
        if kind in (
            f"&{told}",
            "&str" if told == "String" else "",
            "&[" + told[4:-1] + "]" if told[:4] == "Vec<" else "",
        ):
            return f"{words(name)}.{'clone' if kind == f'&{told}' else 'to_owned'}()"
    return None
