"""What a C, C++ or Rust text is, by tree-sitter's grammars: whether it parses, and which items it consists of."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from stages.extraction.tree_names import used_names

if TYPE_CHECKING:
    from tree_sitter import Language, Node

GRAMMARS = {"c": "tree_sitter_c", "cpp": "tree_sitter_cpp", "rust": "tree_sitter_rust"}
LONGEST = 100_000  # characters that are parsed: no judge takes longer programs
CHUNK = 1024  # bytes
# Some tokens have the lexer look at all that follows, once for each of them: what it may read in total is bounded.
READ_AGAIN, READ_AT_LEAST = 12, 50_000
BYTES_A_STEP, STEPS_AT_LEAST = 4, 5000  # of the parser, at most

CONTAINERS = {
    "preproc_if",
    "preproc_ifdef",
    "preproc_else",
    "preproc_elif",
    "linkage_specification",
    "declaration_list",
    "namespace_definition",
    "ERROR",
}
COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
CLOSING = " \t\r\n\f\v};"
OUTER_DOC = (b"///", b"/**")
NO_DOC = (b"////", b"/***", b"/**/")
RUST_HEAD = r"^(?:pub(?:\([^()\n]*\))?[ \t]+)?(?:(?:async|unsafe|const)[ \t]+)*fn[ \t]+NAME\b"
C_HEAD = (
    r"^(?!(?:return|else|if|while|for|switch|case|do|throw)\b)[A-Za-z_][\w \t:<>,*&]{0,200}?[ \t*&]NAME[ \t]*"
    r"\([^;{}]{0,500}\)[\s\w]{0,40}\{"
)
TEMPLATE = re.compile(r"<[^<>]{0,100}>::")
TYPES = {"struct_specifier", "class_specifier", "union_specifier", "enum_specifier"}
METHOD_LISTS = {"field_declaration_list", "declaration_list"}
RUST_METHODS = {"function_item", "function_signature_item"}
METHODS = RUST_METHODS | {"function_definition", "field_declaration"}
BODIES = {"compound_statement", "try_statement", "block"}
FUNCTIONS = {"function_definition", "function_item"}
CLOSURES = {"lambda_expression", "closure_expression"}
LITERALS = {"string_literal", "raw_string_literal", "concatenated_string", "number_literal", "char_literal", "comment"}
WITHOUT_EFFECT = {"preproc_include", "preproc_def", "preproc_function_def", "preproc_call"}
WITHOUT_EFFECT |= {"empty_statement", "attribute_item", "inner_attribute_item"}
CONDITIONS = {"preproc_if", "preproc_ifdef", "preproc_elif", "preproc_elifdef", "preproc_else"}
NESTED = {"use_declaration", "function_item", "struct_item", "function_definition"}  # a body needs more than these
RUST_ITEMS = {
    "function_item",
    "struct_item",
    "enum_item",
    "union_item",
    "trait_item",
    "type_item",
    "const_item",
    "static_item",
    "mod_item",
    "macro_definition",
    "extern_crate_declaration",
}

RUST_TYPES = {"struct_item", "enum_item", "union_item"}


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a file: its grammar's word for it, the names it defines, where it lies, in bytes.

    `declared` are names that it mentions as those of functions defined elsewhere, `members` names of methods in it,
    `promised` those of methods that a class declares and leaves to be defined elsewhere.
    """

    kind: str
    names: tuple[str, ...]
    start: int
    end: int
    declared: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    stub: bool = False
    promised: tuple[str, ...] = ()
    owner: str = ""  # the type that an `impl` is of


@dataclass(frozen=True, slots=True)
class Method:
    """A method in a class, an `impl` or a trait. `stub`: it has no body, or an empty one."""

    name: str
    start: int
    end: int
    stub: bool


class _Reader:
    """Hands the text to the parser in chunks, until it has been asked for too many."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = READ_AGAIN * len(data) + READ_AT_LEAST
        self._steps = len(data) // BYTES_A_STEP + STEPS_AT_LEAST
        self.spent = False

    def progress(self, *_: object) -> bool:
        """Whether the parser is to stop: it tells of its progress now and then. Ordinary code takes 0.02 steps a byte,
        text that is made to be read in many ways at once hundreds of times that."""
        self._steps -= 1
        self.spent |= self._steps < 0
        return self.spent

    def __call__(self, offset: int, _: object) -> bytes:
        chunk = self._data[offset : offset + CHUNK]
        self._left -= len(chunk)
        self.spent |= self._left < 0
        return b"" if self.spent else chunk


@cache
def _grammar(language: str) -> "Language":
    from tree_sitter import Language

    return Language(importlib.import_module(GRAMMARS[language]).language())


def parse(data: bytes, language: str) -> "Node | None":
    """The root of a text's tree; None where it is too long or takes too long."""
    from tree_sitter import Parser

    if len(data) > 4 * LONGEST or len(data.decode("utf-8", "surrogatepass")) > LONGEST:
        return None
    reader = _Reader(data)
    try:
        tree = Parser(_grammar(language)).parse(reader, progress_callback=reader.progress)
    except ValueError:  # it was stopped
        return None
    return None if reader.spent else tree.root_node


class TreeSource:
    """A text that may be C, C++ or Rust. `whole`: it parses without an error."""

    def __init__(self, text: str, language: str) -> None:
        self.text, self.language = text, language
        self.data = text.encode("utf-8", "surrogatepass")
        self._root = parse(self.data, language)
        self.whole = self._root is not None and not self._root.has_error

    @cached_property
    def is_empty(self) -> bool:
        """Whether it holds nothing but white space, comments, and brackets that close what is not open."""
        if self._root is None:
            return not self.text.strip()
        if all(node.type.endswith("comment") for node in self._root.children):
            return True
        return not COMMENT.sub("", self.text).strip(CLOSING)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Its items in order, those in namespaces and under `#if` behind the ones they lie in."""
        if self._root is None:
            return ()
        return tuple(_rust_items(self._root, self.data) if self.language == "rust" else _c_items(self._root, self.data))

    @cached_property
    def names(self) -> frozenset[str]:
        """All names that it defines."""
        return frozenset(name for item in self.items for name in item.names)

    def definition(self, path: tuple[str, ...]) -> Item | None:
        """The item that defines `path`. A call, a prototype, a comment, and a method of the same name are none."""
        found = [item for item in self.items if path and path[0] in item.names]
        if len(path) > 1:
            found = [item for item in found if path[-1] in item.members] or [
                item for item in self.items if "::".join(path) in item.names
            ]
        return next((item for item in reversed(found) if not item.stub), found[-1] if found else None)

    def defines(self, path: tuple[str, ...]) -> bool:
        """Whether it defines `path`; of a text with errors, or too long to be parsed, whether a line of it seems to."""
        if self.definition(path) is not None:
            return True
        return bool(path) and not self.whole and self._head(path[-1]).search(self.text[:LONGEST]) is not None

    def _head(self, name: str) -> re.Pattern:
        """The head of a function at the start of a line."""
        head = RUST_HEAD if self.language == "rust" else C_HEAD
        return re.compile(head.replace("NAME", re.escape(name)), re.MULTILINE)

    def is_stub(self, path: tuple[str, ...]) -> bool:
        """Whether what defines `path` has an empty body, or is a type whose methods are elsewhere."""
        found = self.definition(path)
        return found is not None and (found.stub or bool(self.lacking(found)))

    def lacking(self, item: Item) -> tuple[str, ...]:
        """The methods of a type, as `Type::method`, that it leaves to be defined and that are not defined here.

        A type of Rust without any `impl` lacks all, `Type::`.
        """
        if item.kind in RUST_TYPES:
            known = any(other.kind == "impl_item" and other.owner in item.names for other in self.items)
            return () if known or not item.names else (f"{item.names[0]}::",)
        promised = (f"{item.names[0]}::{name}" for name in item.promised if item.names)
        return tuple(name for name in promised if name not in self.names)

    @cached_property
    def used(self) -> frozenset[str]:
        """Names that it uses, but for local ones."""
        return used_names(self._root, self.data) if self._root else frozenset()

    @property
    def is_program(self) -> bool:
        """Whether it has a main."""
        return "main" in self.names

    @property
    def only_reads(self) -> bool:
        """A program has one main: nothing that lacks it runs."""
        return False

    @property
    def is_something(self) -> bool:
        """Whether it defines anything."""
        return bool(self.items)

    def methods(self, item: Item) -> list[Method]:
        """The methods that stand in a class or `impl`, in their order."""
        found, stack = [], [self._root] if self._root else []
        while stack:
            node = stack.pop()
            if node.type in METHOD_LISTS and item.start <= node.start_byte < item.end:
                found += (_method(child, self.data) for child in node.named_children if child.type in METHODS)
            elif node.start_byte < item.end and node.end_byte > item.start:
                stack += reversed(node.named_children)
        return [method for method in found if method]

    def grows_behind(self, at: int) -> bool:
        """Whether the function, or the class or `impl`, that byte `at` lies in has code of its own behind it.

        So it has where none begins before `at`: then all of the body stands behind.
        """
        body = self._body_at(at)
        return body is None or self._has_code(body, at)

    def is_in_function(self, at: int) -> bool:
        """Whether byte `at` lies in the body of a function."""
        body = self._body_at(at)
        return body is not None and body.type in BODIES

    def _body_at(self, at: int) -> "Node | None":
        """The innermost body of a function, or list of methods, that begins before `at` and ends behind it."""
        body, stack = None, [self._root] if self._root else []
        while stack:
            node = stack.pop()
            if node.start_byte < at < node.end_byte or node is self._root:
                of = node.parent.type if node.parent and node.type in BODIES else ""
                if node.type in METHOD_LISTS or of in FUNCTIONS or (of in CLOSURES and body is None):
                    body = node
                stack += node.named_children
        return body

    def _has_code(self, body: "Node", at: int) -> bool:
        stack = [body]
        while stack:
            node = stack.pop()
            if node.type.endswith("comment") or node.type in WITHOUT_EFFECT or node.end_byte <= at:
                continue
            inner = node.named_children
            if node.type == "expression_statement" and all(child.type in LITERALS for child in inner):
                continue  # `;`, or a value that is stated
            if node.type in CONDITIONS:
                skipped = [node.child_by_field_name(field) for field in ("condition", "name")]
                stack += [child for child in inner if child not in skipped]
                continue
            if node.start_byte >= at:
                if node.type not in NESTED or body.type in METHOD_LISTS:
                    return True
                continue
            stack += inner
        return False

    def without(self, items: "list[Item] | tuple[Item, ...]") -> str:
        """The text with these items blanked out, on the same lines."""
        data = bytearray(self.data)
        for item in items:
            part = data[item.start : item.end]
            data[item.start : item.end] = bytes(sign if sign in b"\r\n" else 32 for sign in part)
        return data.decode("utf-8", "surrogatepass")


def _text(node: "Node", data: bytes) -> str:
    """What stands in a node; the node's own way to it is slow where a text was handed over in chunks."""
    return data[node.start_byte : node.end_byte].decode("utf-8", "replace")


def _c_items(root: "Node", data: bytes) -> Iterator[Item]:
    stack = list(reversed(root.children))
    while stack:
        node = stack.pop()
        inner = node.named_children[-1] if node.type == "template_declaration" and node.named_children else node
        if node.is_named and node.type not in ("comment", "ERROR"):
            names, declared, members, promised = _c_names(inner, data)
            stub = inner.type == "function_definition" and _is_idle(inner.child_by_field_name("body"))
            end = stack[-1] if stack and stack[-1].type == ";" else node
            yield Item(inner.type, names, node.start_byte, end.end_byte, declared, members, stub, promised)
        if node.type in CONTAINERS:
            stack += reversed(node.children)


def _method(node: "Node", data: bytes) -> Method | None:
    body = node.child_by_field_name("body")
    if node.type in RUST_METHODS:
        name = node.child_by_field_name("name")
        stub = body is None or _is_rust_stub(body, data)
        return Method(_text(name, data), node.start_byte, node.end_byte, stub) if name else None
    name, is_function = _declared(node.child_by_field_name("declarator"), data)
    stub = _is_idle(body) if node.type == "function_definition" else True
    return Method(name, node.start_byte, node.end_byte, stub) if name and is_function else None


def _is_idle(body: "Node | None") -> bool:
    return body is not None and all(node.type == "comment" for node in body.named_children)


def _c_names(node: "Node", data: bytes) -> tuple[tuple[str, ...], ...]:
    """(defined, declared, members, promised) of one item."""
    defined, declared, members, promised = [], [], [], ()
    kind = node.type
    specifier = node if kind in TYPES else node.child_by_field_name("type")
    if specifier is not None and specifier.type in TYPES and (body := specifier.child_by_field_name("body")):
        if name := specifier.child_by_field_name("name"):
            defined.append(_text(name, data))
        members = [
            _declared(declarator, data)[0]
            for child in body.named_children
            if child.child_by_field_name("body") is not None
            for declarator in child.children_by_field_name("declarator")
        ]
        promised = tuple(_promised(body, data))
    if kind in ("preproc_def", "preproc_function_def", "alias_declaration", "concept_definition"):
        defined += [_text(name, data)] if (name := node.child_by_field_name("name")) else []
    for declarator in node.children_by_field_name("declarator"):
        name, is_function = _declared(declarator, data)
        has_body = any(child.type in BODIES for child in node.children)
        if name:
            is_prototype = is_function and not (kind == "function_definition" and has_body)
            (declared if is_prototype and declarator.type != "init_declarator" else defined).append(name)
    return tuple(TEMPLATE.sub("::", name) for name in defined), tuple(declared), tuple(members), promised


def _promised(body: "Node", data: bytes) -> Iterator[str]:
    """The methods that a class declares without a body, but for pure virtual ones."""
    for child in body.named_children:
        if child.type in ("field_declaration", "declaration") and child.child_by_field_name("default_value") is None:
            for declarator in child.children_by_field_name("declarator"):
                name, is_function = _declared(declarator, data)
                inner = declarator.child_by_field_name("declarator")
                if name and is_function and not (inner and inner.type == "parenthesized_declarator"):
                    yield name


def _declared(node: "Node | None", data: bytes) -> tuple[str, bool]:
    """The name that a declarator declares, and whether it is a function's."""
    is_function = pointer = False
    while node is not None:
        if node.type in (
            "identifier",
            "field_identifier",
            "type_identifier",
            "operator_name",
            "qualified_identifier",
            "destructor_name",
        ):
            return "".join(_text(node, data).split()), is_function
        if node.type == "function_declarator":
            is_function = not pointer
        pointer = node.type == "parenthesized_declarator"
        inner = node.child_by_field_name("declarator") or node.child_by_field_name("name")
        node = inner or next((n for n in node.named_children if n.type.endswith(("declarator", "identifier"))), None)
    return "", is_function


def _rust_items(root: "Node", data: bytes) -> Iterator[Item]:
    """An item begins at its attributes and documentation."""
    stack = list(reversed(root.children))
    start: int | None = None
    found, inner = [], {}
    while stack:
        node = stack.pop()
        if node.type == "ERROR":
            stack += reversed(node.children)
        elif node.type == "attribute_item" or _is_documentation(node, data):
            start = node.start_byte if start is None else start
        elif node.is_named and not node.type.endswith("comment"):
            if node.type == "mod_item":
                inner |= _modules(node, data)
            found.append((node, node.start_byte if start is None else start))
            start = None
    return (_rust_item(node, data, start, inner) for node, start in found)


def _is_documentation(node: "Node", data: bytes) -> bool:
    begin = data[node.start_byte : node.start_byte + 4] if node.type.endswith("comment") else b""
    return begin.startswith(OUTER_DOC) and not begin.startswith(NO_DOC)


def _modules(node: "Node", data: bytes) -> dict[str, tuple[str, ...]]:
    """The name of a module with a body, and the names of the items in it."""
    name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
    if not name or not body:
        return {}
    inner = (child.child_by_field_name("name") for child in body.named_children if child.type in RUST_ITEMS)
    return {_text(name, data): tuple(_text(child, data) for child in inner if child)}


def _rust_item(node: "Node", data: bytes, start: int, modules: dict[str, tuple[str, ...]]) -> Item:
    name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
    names = (_text(name, data),) if node.type in RUST_ITEMS and name else ()
    owner, members, stub = node.child_by_field_name("type"), (), False
    owner_name = ""
    if node.type == "impl_item" and body:
        found = (child.child_by_field_name("name") for child in body.named_children if child.type == "function_item")
        members = tuple(_text(name, data) for name in found if name)
        names = tuple(f"{_text(owner, data)}::{member}" for member in members) if owner else ()
        owner_name = _text(owner, data).partition("<")[0].strip() if owner else ""
    if node.type == "use_declaration":
        names = tuple(_used_from(node, data, modules))
    if node.type == "function_item":
        stub = body is not None and _is_rust_stub(body, data)
    return Item(node.type, names, start, node.end_byte, members=members, stub=stub, owner=owner_name)


def _used_from(node: "Node", data: bytes, modules: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """The names that a `use` defines by taking them out of a module of the same text."""
    for path, name in _imports(node, data):
        head, _, rest = path.removeprefix("self::").removeprefix("crate::").partition("::")
        if head in modules and rest:
            yield from modules[head] if name == path and rest == "*" else [name]


def _is_rust_stub(body: "Node", data: bytes) -> bool:
    inner = [node for node in body.named_children if not node.type.endswith("comment")]
    return not inner or (len(inner) == 1 and _text(inner[0], data).startswith(("todo!", "unimplemented!")))


def imports(text: str, item: Item) -> tuple[tuple[str, str], ...]:
    """(path, name) of each thing that one `use` of Rust brings in; a glob's name is its path."""
    data = text.encode("utf-8", "surrogatepass")[item.start : item.end]
    root = parse(data, "rust")
    nodes = (node for node in (root.children if root else ()) if node.type == "use_declaration")
    return tuple(found for node in nodes for found in _imports(node, data))


def _imports(node: "Node", data: bytes) -> list[tuple[str, str]]:
    found, stack = [], []
    if argument := node.child_by_field_name("argument"):
        stack.append(("", argument))
    while stack:
        prefix, node = stack.pop()
        if node.type == "scoped_use_list":
            path = node.child_by_field_name("path")
            prefix = f"{prefix}{_text(path, data)}::" if path else f"{prefix}::"
            node = node.child_by_field_name("list")
        if node.type == "use_list":
            stack += [(prefix, child) for child in reversed(node.named_children) if "comment" not in child.type]
        elif node.type == "use_as_clause":
            path, alias = (_text(node.child_by_field_name(field), data) for field in ("path", "alias"))
            found.append((f"{prefix}{path} as {alias}", alias))
        elif node.type == "self":
            path = prefix.removesuffix("::")
            found.append((path, path.rpartition("::")[2]))
        else:
            path = f"{prefix}{_text(node, data)}"
            found.append((path, path if path.endswith("*") else path.rpartition("::")[2]))
    return found
