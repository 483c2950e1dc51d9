"""Values as JSON: what crosses between a judge and a candidate's process, each distrusting the other.

A value is an item: a JSON scalar stands for itself, `[n]` for node n of the message's table. Nodes are lists, flat, so
that neither depth nor cycles matter to the parser; an immutable one names only nodes before it. Exact builtin values
are copied; everything else stays where it is, and a handle crosses. Nothing that arrives is evaluated or imported.

| node                         | value                                                                        |
|------------------------------|------------------------------------------------------------------------------|
| [t, items], [f, items]       | tuple, frozenset                                                             |
| [TAG, number, items, class, extra] | a mutable container of mirrors.TAGS; `class` null, or of a subclass    |
| [a, number, items, null, extra] | a shared array: arrays.contents; `extra`: arrays.describe                  |
| [v, array, kind, shape, strides, first, writeable] | a view of a shared array                                |
| [m, number]                  | a container that both sides have                                             |
| [i, hex], [y, base64]        | a large int, bytes                                                           |
| [c, name, items]             | a value made by a constructor of CONSTRUCTED                                 |
| [k, name, item]              | a view of a dict                                                             |
| [n, kind, shape, base64, scalar, writeable] | an array that is not shared, or a scalar of NumPy              |
| [T, name], [F, name]         | a type, a function by name                                                   |
| [X, name]                    | an exception of the standard library by name                                 |
| [K, number, ...], [K, number] | a class of the sender, described the first time                             |
| [h, number, class, base]     | an object of the sender; `base` is its builtin content, or null              |
| [e, number, class, items, text, cause, held] | an exception of the sender; `held`: its attributes           |
| [r, number]                  | an object of the receiver                                                    |

Runs inside the sandbox and imports the standard library alone.
"""

import base64
import collections
from collections.abc import Callable
from typing import Any

import arrays
import mirrors
from line import ProtocolError
from vocabulary import CONSTRUCTED, CONSTRUCTOR_OF, TYPE_NAMES, TYPES, VIEWS, exception_name, find_exception

DEPTH_LIMIT = 400  # of immutable values, whose hash is computed by recursion in C
ATOMS = frozenset({int, float, str, bool, type(None)})
INT_BITS = 4096  # a longer int crosses in hexadecimal digits, which cost less
DICT_VIEWS = {"keys": dict.keys, "values": dict.values, "items": dict.items}
NOT_ATOMS = frozenset({list, dict})  # as json.loads gives them


def all_atoms(values: list) -> bool:
    """Whether each value stands for itself in JSON."""
    kinds = set(map(type, values))
    if not kinds <= ATOMS:
        return False
    if int not in kinds:
        return True
    if len(kinds) == 1:
        return max(values).bit_length() <= INT_BITS and min(values).bit_length() <= INT_BITS
    return all(type(value) is not int or value.bit_length() <= INT_BITS for value in values)


def _behind(view: Any, name: str) -> dict:
    """A dict that has such a view, and holds no more than that shows."""
    if name == "values":
        return dict(enumerate(view))
    return dict.fromkeys(view) if name == "keys" else dict(view)


class Packer:
    """Items and nodes of one message. `party` says what crosses as what: see peer.Peer."""

    def __init__(self, party: Any) -> None:
        self.party = party
        self.nodes: list = []
        self._memo: dict[int, int] = {}
        self._kept: list = []  # an id means something only while its object lives
        self._shared: list[int] = []
        self._described: list[type] = []

    def item(self, value: Any) -> Any:
        """The item of a value that is an atom or has been packed; None inside a list stands for neither."""
        if type(value) in ATOMS and not (type(value) is int and value.bit_length() > INT_BITS):
            return value
        number = self._memo.get(id(value))
        return MISSING if number is None else [number]

    def node(self, value: Any, *node: Any) -> list[int]:
        """Add a finished node for `value`."""
        self.nodes.append(list(node))
        self._remember(value, len(self.nodes) - 1)
        return [len(self.nodes) - 1]

    def describe(self, kind: type) -> None:
        """Note that the message describes a class for the first time."""
        self._described.append(kind)

    def undo(self) -> None:
        """The message is not sent: what it would have told is not known there."""
        self.party.mirrors.forget(self._shared)
        for kind in self._described:
            self.party.unexport(kind)

    def forget(self) -> None:
        """Let go of the values that were packed."""
        self._memo.clear()
        self._kept.clear()

    def _remember(self, value: Any, number: int) -> None:
        self._memo[id(value)] = number
        self._kept.append(value)

    def pack(self, root: Any) -> Any:
        """The item of `root`; its nodes, and those of all that it holds, go to `nodes`."""
        stack: list[tuple] = [(root,)]
        while stack:
            task = stack.pop()
            if len(task) > 1:
                self._finish(*task)
            elif self.item(task[0]) is MISSING:
                self._begin(task[0], stack)
        return self.item(root)

    def _begin(self, value: Any, stack: list[tuple]) -> None:
        kind = type(value)
        base = mirrors.base_of(kind)
        if self.party.is_own_back(value):
            self.node(value, "r", self.party.number_of(value))
        elif base is not None or arrays.is_shared(value):
            self._begin_container(value, kind, base, stack)
        elif kind in (tuple, frozenset):
            self._expand(value, list(value), ("t" if kind is tuple else "f",), None, stack)
        elif kind is bytes:
            self.node(value, "y", base64.b64encode(value).decode())
        elif kind is int:
            self.node(value, "i", hex(value))
        elif kind in CONSTRUCTOR_OF:
            name = CONSTRUCTOR_OF[kind]
            self._expand(value, list(CONSTRUCTED[name][1](value)), ("c", name), None, stack)
        elif kind in VIEWS:
            self._expand(value, [_behind(value, VIEWS[kind])], ("k", VIEWS[kind]), None, stack)
        elif (owner := arrays.owner(value)) is not None:
            self.node(value, "v", self.pack(owner), *arrays.view_parts(value, owner))
        elif arrays.is_array(value):
            self.node(value, "n", *arrays.to_parts(value))
        elif isinstance(value, type) and value in TYPE_NAMES:
            self.node(value, "T", TYPE_NAMES[value])
        elif name := self.party.name_of_function(value):
            self.node(value, "F", name)
        else:
            self.party.pack_object(self, value)

    def _begin_container(self, value: Any, kind: type, base: type | None, stack: list[tuple]) -> None:
        number = self.party.mirrors.number(value)
        if number is not None:
            self.node(value, "m", number)
            return
        of = None if base is None or kind is base else self.class_item(kind)
        extra = None if base else self.pack(arrays.describe(value))
        if base is collections.deque:
            extra = value.maxlen
        elif base is collections.defaultdict:
            extra = self.pack(value.default_factory)
        number = self.party.mirrors.share(value, pinned=of is not None)
        self._shared.append(number)
        head = (mirrors.TAGS[base] if base else mirrors.ARRAY, number)
        self.nodes.append(None)
        self._remember(value, len(self.nodes) - 1)
        self._expand(value, mirrors.contents(value, base), head, len(self.nodes) - 1, stack, (of, extra))

    def _expand(
        self, value: Any, children: list, head: tuple, at: int | None, stack: list[tuple], tail: tuple = ()
    ) -> None:
        task = (value, children, head, at, tail)
        if all_atoms(children):
            self._finish(*task)
            return
        stack.append(task)
        stack.extend((child,) for child in reversed(children) if self.item(child) is MISSING)

    def _finish(self, value: Any, children: list, head: tuple, at: int | None, tail: tuple) -> None:
        items = children if all_atoms(children) else [self.item(child) for child in children]
        node = [*head, items, *tail]
        if at is not None:
            self.nodes[at] = node
        elif self.item(value) is MISSING:
            self.nodes.append(node)
            self._remember(value, len(self.nodes) - 1)

    def class_item(self, kind: type) -> list[int]:
        """The item of a class of the sender, or of one that has a name."""
        found = self.item(kind)
        if found is not MISSING:
            return found
        if self.party.is_own_back(kind):
            return self.node(kind, "r", self.party.number_of(kind))
        if kind in TYPE_NAMES:
            return self.node(kind, "T", TYPE_NAMES[kind])
        if issubclass(kind, BaseException) and (name := exception_name(kind)):
            return self.node(kind, "X", name)
        return self.party.pack_class(self, kind)


MISSING = object()


class Unpacker:
    """Values of one message, made from its nodes. ProtocolError for anything that is not as it should be."""

    def __init__(self, party: Any, nodes: list) -> None:
        self.party = party
        self.values: list = []
        self._depths: list[int] = []
        fills = []
        try:
            for node in nodes:
                tag = node[0]
                if tag in mirrors.BASE_OF or tag == mirrors.ARRAY:
                    fills.append(node)
                    value, depth = self._shell(node), 0
                elif tag in ("t", "f"):
                    value, depth = self._immutable(tag, node[1])
                else:
                    value, depth = self._single(tag, node), 0
                self.values.append(value)
                self._depths.append(depth)
            for node in fills:
                mirror = party.mirrors.table[node[1]]
                mirror.replace(self.items(node[2]))
        except ProtocolError:
            raise
        except MemoryError:
            raise
        except Exception as error:
            raise ProtocolError(f"{type(error).__name__}: {error}"[:200]) from None

    def value(self, item: Any) -> Any:
        """What an item stands for."""
        if type(item) is not list:
            if type(item) is dict:
                raise ProtocolError("no item")
            return item
        if len(item) != 1 or type(item[0]) is not int or not 0 <= item[0] < len(self.values):
            raise ProtocolError("no such node")
        return self.values[item[0]]

    def items(self, items: list) -> list:
        """What a list of items stands for."""
        if type(items) is not list:
            raise ProtocolError("no items")
        if NOT_ATOMS.isdisjoint(map(type, items)):
            return items
        return [self.value(item) for item in items]

    def _shell(self, node: list) -> Any:
        tag, number, _, of, extra = node
        base = mirrors.BASE_OF.get(tag)
        if base is None:
            value = arrays.empty(*self.value(extra))
        elif of is not None:
            kind = self.value(of)
            if not (isinstance(kind, type) and issubclass(kind, base)):
                raise ProtocolError("no class of that kind")
            value = base.__new__(kind)
        elif base is collections.deque:
            value = collections.deque(maxlen=extra)
        else:
            value = base()
        if base is collections.defaultdict:
            value.default_factory = self.value(extra)
        self.party.mirrors.adopt(_natural(number), value, pinned=False)
        if of is not None:
            self.party.bind_container(value)
        return value

    def _immutable(self, tag: str, items: list) -> tuple[Any, int]:
        values = self.items(items)
        depth = 0
        if values is not items:
            depth = 1 + max((self._depths[item[0]] for item in items if type(item) is list), default=0)
            if depth > DEPTH_LIMIT:
                raise ProtocolError("a value nested too deeply")
        return (tuple(values) if tag == "t" else frozenset(values)), depth

    def _single(self, tag: str, node: list) -> Any:
        make = SINGLE.get(tag)
        return make(self, node) if make else self.party.unpack_object(self, tag, node)


def _found(value: Any) -> Any:
    if value is None:
        raise ProtocolError("no such name")
    return value


# By tag: what is made of a node that holds nothing but itself, or a few items.
SINGLE: dict[str, Callable[[Unpacker, list], Any]] = {
    "i": lambda _, node: int(node[1], 16),
    "y": lambda _, node: base64.b64decode(node[1]),
    "m": lambda message, node: message.party.mirrors.table[node[1]].object,
    "c": lambda message, node: CONSTRUCTED[node[1]][2](*message.items(node[2])),
    "k": lambda message, node: DICT_VIEWS[node[1]](message.items(node[2])[0]),
    "T": lambda _, node: TYPES[node[1]],
    "X": lambda _, node: _found(find_exception(node[1])),
    "n": lambda _, node: arrays.from_parts(*node[1:]),
    "v": lambda message, node: arrays.view(message.value(node[1]), *node[2:]),
}


def _natural(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ProtocolError("no number")
    return number
