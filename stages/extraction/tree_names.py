"""The names that a tree of C, C++ or Rust uses and does not bind by itself."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

WORD = re.compile(rb"[^\W\d]\w*")
NAMES = {"identifier", "type_identifier", "namespace_identifier"}
SCOPED = {"qualified_identifier", "scoped_identifier", "scoped_type_identifier"}
WITH_ARGUMENTS = {"template_type", "template_function", "template_method", "generic_type", "generic_function"}
BINDING = {"structured_binding_declarator", "closure_parameters", "type_parameter_declaration", "type_parameters"}
PLAIN, QUALIFIED, BOUND = range(3)


def used_names(root: "Node", data: bytes) -> frozenset[str]:
    """Names that stand by themselves, or begin a path, and that are no variables or parameters declared there."""
    used, bound = set(), set()
    stack = [(root, PLAIN)]
    while stack:
        node, how = stack.pop()
        if node.type in NAMES and node.child_count == 0:
            if how != QUALIFIED:
                name = data[node.start_byte : node.end_byte].decode("utf-8", "replace")
                (bound if how == BOUND else used).add(name)
        elif node.type == "preproc_arg":
            used.update(word.decode("utf-8", "replace") for word in WORD.findall(data, node.start_byte, node.end_byte))
        else:
            special = _special(node, how)
            inherited = BOUND if how == BOUND and node.type not in SCOPED else PLAIN
            inherited = BOUND if node.type in BINDING else inherited
            stack += [(child, special.get(child.id, inherited)) for child in node.named_children]
    return frozenset(used - bound)


def _special(node: "Node", how: int) -> dict[int, int]:
    """How those children count that do not count as the node does."""
    kind = node.type
    if kind in SCOPED:
        scope = node.child_by_field_name("scope") or node.child_by_field_name("path")
        special = {scope.id: how if how == QUALIFIED else PLAIN} if scope else {}
        name = node.child_by_field_name("name")
        return special | ({name.id: QUALIFIED} if name and scope else {})
    if kind in WITH_ARGUMENTS:
        name = node.child_by_field_name("name") or node.child_by_field_name("type")
        return {name.id: how} if name else {}
    if pattern := node.child_by_field_name("pattern"):
        return {pattern.id: BOUND}
    if kind.endswith(("declaration", "declarator", "for_range_loop")):
        return {child.id: BOUND for child in node.children_by_field_name("declarator") if child.type in NAMES}
    return {}
