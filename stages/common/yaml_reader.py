"""The one reader of YAML files, as DVC reads them (1.2) and stricter: every fault is one line that says where.

Refused: a key that comes twice in a map, an alias inside of what it stands for, and aliases that unfold into more than
a hundred thousand values (the "billion laughs").
"""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

from stages.common.errors import InputError

# libyaml's parser, where PyYAML was built with it, takes an eighth of the time; what is composed of its events is ours.
_READERS = (yaml.cyaml.CParser,) if yaml.__with_libyaml__ else (Reader,)
_PARTS = (Composer, *_READERS, *(() if yaml.__with_libyaml__ else (Scanner, Parser)), SafeConstructor, Resolver)
WIDEST = 1 << 63
MOST_VALUES = 100_000  # of a part of a document that has aliases, once they are unfolded


class _RefusedError(yaml.MarkedYAMLError):
    """YAML that PyYAML would take."""


class _Strict:
    """What is refused beside what the loader refuses: a mixin before a loader that composes in Python."""

    def __init__(self) -> None:
        self._open: set[str] = set()  # anchors of what is being read
        self._sizes: dict[int, int] = {}  # values that a node unfolds into, by the node's id
        self._aliased: set[int] = set()  # nodes with an alias somewhere in them

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node of the document."""
        event = self.peek_event()  # type: ignore[attr-defined]
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if anchor in self._open:
                raise _fault(f"alias *{anchor} inside of what it stands for", event.start_mark)
            node = super().compose_node(parent, index)  # type: ignore[misc]
            self._aliased.add(id(node))
            return node
        if anchor is not None:
            self._open.add(anchor)
        node = super().compose_node(parent, index)  # type: ignore[misc]
        self._open.discard(anchor)
        if isinstance(node, yaml.CollectionNode):
            self._weigh(node)
        return node

    def _weigh(self, node: Any) -> None:
        pairs = isinstance(node, yaml.MappingNode)
        parts = [part for pair in node.value for part in pair] if pairs else node.value
        size = 1 + sum(self._sizes.get(id(part), 1) for part in parts)
        self._sizes[id(node)] = size
        if any(id(part) in self._aliased for part in parts):
            self._aliased.add(id(node))
            if size > MOST_VALUES:
                raise _fault(f"aliases unfold into more than {MOST_VALUES:,} values", node.start_mark)
        if pairs:
            self._expect_unique(node)

    def _expect_unique(self, node: Any) -> None:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                merge = key.tag == "tag:yaml.org,2002:merge"
                name = key.value if merge else self.construct_object(key)  # type: ignore[attr-defined]
                if (type(name), name) in seen:
                    raise _fault(f"key '{key.value[:60]}' comes twice in one map", key.start_mark)
                seen.add((type(name), name))

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """The value of a node; an integer has 64 bits."""
        kind = node.tag.rpartition(":")[2]
        try:
            value = super().construct_object(node, deep)  # type: ignore[misc]
        except (ValueError, KeyError, AttributeError):  # PyYAML lets those of its conversions through
            raise _fault(f"found {node.value[:60]!r}, expected one of YAML's {kind}", node.start_mark) from None
        if isinstance(value, int) and not -WIDEST <= value < WIDEST:
            raise _fault(f"found {node.value[:60]}, expected an integer of 64 bits", node.start_mark)
        return value


class _Loader(_Strict, *_PARTS):  # type: ignore[misc]
    """The reader of settings, by the rules of YAML 1.2, as DVC reads them. By PyYAML's own (1.1), `5e-4` is a string,
    `yes` is true, `010` is 8 and `1:00` is 60."""

    yaml_implicit_resolvers: ClassVar[dict] = {
        first: [(tag, rule) for tag, rule in rules if tag.rpartition(":")[2] not in ("bool", "int", "float")]
        for first, rules in Resolver.yaml_implicit_resolvers.items()
    }

    def construct_yaml_int(self, node: Any) -> int:
        """An integer: decimal also with zeros in front, or behind 0x, 0o or 0b."""
        text = node.value.replace("_", "").lower()
        digits = text.lstrip("+-")
        base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2], 10)
        return int(text, base)

    def __init__(self, stream: str) -> None:
        for part in _PARTS:
            part.__init__(self, stream) if part in _READERS else part.__init__(self)
        _Strict.__init__(self)


_NUMBER_FIRST = list("-+0123456789")
for _kind, _rule, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)", _NUMBER_FIRST),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9_]+(?:[eE][-+]?[0-9]+)?"
        r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
        [*_NUMBER_FIRST, "."],
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_rule})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _fault(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return _RefusedError(problem=problem, problem_mark=mark)


def read_yaml(path: Path | str) -> Any:
    """Decode a YAML file; InputError with the line for a missing or malformed one."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: expected a YAML file, found a directory") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None
    return decode_yaml(text, str(path))


def decode_yaml(text: str, where: str) -> Any:
    """Decode a YAML text; `where` (the file) opens the message of the InputError that a fault raises."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = text.count("\n", 0, error.position) if isinstance(error, yaml.reader.ReaderError) else mark and mark.line
        line = "" if at is None else f":{at + 1}"
        told = " ".join(str(getattr(error, "problem", None) or error).partition(' in "<unicode')[0].split())
        kind = "" if isinstance(error, _RefusedError) else "not YAML: "
        raise InputError(f"{where}{line}: {kind}{told}") from None
    except RecursionError:
        raise InputError(f"{where}: YAML nested too deeply") from None
