"""Stand-ins for what stays in the other process: objects, classes, functions, generators, coroutines.

A stand-in's class is made here after the description of the real one, with the special methods that it has; each of
them asks the other process. On the judge's side some are never asked: equality, hash and truth are the judge's own, and
arithmetic or order between a stand-in and one of the judge's values would let an object of the candidate's pass for a
number that it is not.

Runs inside the sandbox and imports the standard library alone.
"""

import collections.abc
import dataclasses
import types
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

ORDER = frozenset(("__lt__", "__le__", "__gt__", "__ge__"))
_BINARY = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow", "lshift", "rshift")
_BITWISE = ("and", "xor", "or")
ARITHMETIC = frozenset(f"__{side}{name}__" for side in ("", "r", "i") for name in (*_BINARY, *_BITWISE))
IDENTITY = frozenset(("__eq__", "__ne__", "__hash__", "__bool__"))
CONTAINS = "__contains__"
_UNARY = ("str", "repr", "format", "int", "float", "complex", "index", "neg", "pos", "abs", "invert", "round")
_UNARY += ("trunc", "floor", "ceil", "bytes", "fspath", "length_hint")
_PROTOCOLS = ("len", "iter", "next", "reversed", "getitem", "setitem", "delitem", "missing", "call")
_PROTOCOLS += ("enter", "exit", "aenter", "aexit", "aiter", "anext")
OTHERS = frozenset(f"__{name}__" for name in (*_UNARY, *_PROTOCOLS))
SPECIALS = OTHERS | ARITHMETIC | ORDER | IDENTITY | {CONTAINS}
EAGER_AFTER = 64  # values of an iterator asked for one by one before they are fetched in batches
BATCH_LIMIT = 1024
PARTY, NUMBER, AHEAD, COUNTED = "_forge_party", "_forge_number", "_forge_ahead", "_forge_counted"


class RemoteClass(type):
    """The class of stand-ins' classes: calls, attributes and attribute changes are the other process's business."""

    def __new__(cls, name: str, bases: tuple, namespace: dict, **options: Any) -> Any:
        """A class statement that derives from a stand-in's class: the other process makes the class."""
        party = next(base.__dict__[PARTY] for base in bases if PARTY in base.__dict__)
        cell = namespace.pop("__classcell__", None)
        made = party.derive(name, bases, namespace, options)
        if cell is not None:
            cell.cell_contents = made
        return made

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        party = cls.__dict__.get(PARTY)
        return type.__call__(cls, *args, **kwargs) if party is None else party.request("call", cls, args, flat(kwargs))

    def __getattr__(cls, name: str) -> Any:
        party = cls.__dict__.get(PARTY)
        if party is None or name in (PARTY, NUMBER):
            raise AttributeError(name)
        return party.get(cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        party = cls.__dict__.get(PARTY)
        if party is None or name.startswith("__"):
            type.__setattr__(cls, name, value)
            return
        originals = cls.__dict__["_forge_originals"]
        if isinstance(value, _MethodOf):  # a patch puts back what it has found
            RemoteClass.__delattr__(cls, name)
            return
        if name not in originals:
            originals[name] = party.request("member", cls, name)
        party.request("set", cls, name, value)

    def __delattr__(cls, name: str) -> None:
        """What was set is taken back: patches look for what was there in `__dict__`, and delete what was not."""
        party = cls.__dict__[PARTY]
        was_there, original = cls.__dict__["_forge_originals"].pop(name, (False, None))
        if was_there:
            party.request("set", cls, name, original)
        else:
            party.request("delete", cls, name)

    def __iter__(cls) -> Any:
        return iter(cls.__dict__[PARTY].request("members", cls))

    def __getitem__(cls, key: Any) -> Any:
        return cls.__dict__[PARTY].request("item", cls, key)

    def __len__(cls) -> int:
        return cls.__dict__[PARTY].request("length", cls)

    def __bool__(cls) -> bool:
        return True


class Handle:
    """A stand-in for one object."""

    def __getattr__(self, name: str) -> Any:
        mine = own(self)
        if PARTY not in mine:
            raise AttributeError(name)
        return mine[PARTY].get(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__") and name.endswith("__"):
            object.__setattr__(self, name, value)
        else:
            own(self)[PARTY].request("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        own(self)[PARTY].request("delete", self, name)

    def __eq__(self, other: object) -> Any:
        return own(self)[PARTY].equal(self, other)

    def __ne__(self, other: object) -> Any:
        return own(self)[PARTY].unequal(self, other, self.__eq__(other))

    def __hash__(self) -> int:
        return own(self)[PARTY].hashed(self)

    def __bool__(self) -> bool:
        return own(self)[PARTY].truth(self)

    def __copy__(self) -> Any:
        return own(self)[PARTY].request("copy", self, False)

    def __deepcopy__(self, _memo: dict) -> Any:
        return own(self)[PARTY].request("copy", self, True)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        raise TypeError("an object of another process cannot be pickled")

    def __dir__(self) -> list[str]:
        return own(self)[PARTY].request("dir", self)

    def __del__(self) -> None:
        mine = own(self)
        if COUNTED in mine:
            mine[PARTY].lost(mine[NUMBER])


own: Callable[[Any], dict] = Handle.__dict__["__dict__"].__get__  # what a stand-in holds here; `__dict__` asks there


def bind(handle: Any, party: Any, number: int) -> Any:
    """Make `handle` stand for object `number` of the other process."""
    mine = own(handle)
    mine[PARTY], mine[NUMBER] = party, number
    return handle


def number_of(value: Any) -> int | None:
    """The number that a stand-in, or a stand-in's class, has there; None for all other values."""
    kind = type(value)
    if kind is RemoteClass:
        return type.__getattribute__(value, "__dict__").get(NUMBER)
    if Handle in type.__getattribute__(kind, "__mro__"):
        return own(value).get(NUMBER)
    return value.__dict__.get(NUMBER) if isinstance(value, BaseException) else None


def flat(kwargs: dict) -> tuple:
    """Keyword arguments as one tuple of names and values by turns."""
    return tuple(part for pair in kwargs.items() for part in pair)


class Method:
    """A method of a stand-in, looked up (in class `home`, or where it is None as an attribute) and called at once."""

    def __init__(self, owner: Any, name: str, home: type | None) -> None:
        self.__self__, self.__name__, self._home = owner, name, home

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        party = own(self.__self__)[PARTY]
        return party.request("method", self.__self__, self.__name__, args, flat(kwargs), self._home)

    def __getattr__(self, name: str) -> Any:
        return own(self.__self__)[PARTY].request("method_attribute", self.__self__, self.__name__, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Method) and self.__self__ is other.__self__ and self.__name__ == other.__name__

    def __hash__(self) -> int:
        return hash((id(self.__self__), self.__name__))


class _MethodOf:
    """The descriptor of a method in the class of stand-ins; `plain` is what the builtin base has under that name."""

    def __init__(self, name: str, home: list, plain: Any) -> None:
        self._name, self._home, self._plain = name, home, plain

    def __get__(self, value: Any, owner: type) -> Any:
        kind = self._home[0]
        party = type.__getattribute__(owner, "__dict__").get(PARTY)
        if value is None:
            return party.request("get", owner, self._name)
        if self._plain is not None and not own(value)[PARTY].overrides(kind):
            return own(value)[PARTY].plain_method(value, self._name, kind, self._plain)
        return Method(value, self._name, kind)


def _forward(name: str, home: list) -> Any:
    def special(self: Any, *args: Any, **kwargs: Any) -> Any:
        return own(self)[PARTY].request("special", self, name, args, flat(kwargs), home[0])

    special.__name__ = name
    return special


def make_class(
    party: Any, number: int, name: str, bases: tuple[type, ...], about: dict, pose: type | None = None
) -> type:
    """The class of the stand-ins for instances of class `number`.

    `about`: `specials` (names), `methods` (names), `doc`, `fields` (of a dataclass). `pose`: the class that the
    instances say they have.
    """
    plain = next((base for base in bases if not isinstance(base, RemoteClass)), None)
    if plain is None:
        plain = next((base.__dict__["_forge_plain"] for base in bases if base.__dict__.get("_forge_plain")), None)
    home: list = [None]  # becomes the class itself
    namespace: dict[str, Any] = {PARTY: party, NUMBER: number, "_forge_plain": plain, "__doc__": about["doc"]}
    namespace["_forge_originals"] = {}
    namespace["_forge_equality"] = "__eq__" in about["specials"]
    namespace["_forge_hash"] = "__hash__" in about["specials"]
    namespace["_forge_truth"] = "__bool__" in about["specials"]
    namespace["_forge_inequality"] = "__ne__" in about["specials"]
    for special in about["specials"]:
        if special in SPECIALS and special not in IDENTITY:
            instead = getattr(plain, special, None) if plain else None
            namespace[special] = party.guard(special, _forward(special, home), instead, plain)
    if "__next__" in namespace and "__iter__" in namespace and plain is None:
        namespace["__next__"] = advance
        namespace["__iter__"] = _self if party.asks_identity else _forward("__iter__", home)
    if party.asks_identity:
        namespace.update({s: _forward(s, home) for s in IDENTITY & set(about["specials"])})
    namespace["__dict__"] = property(lambda self: own(self)[PARTY].request("get", self, "__dict__"))
    if pose is not None:
        namespace["__class__"] = property(lambda _self: pose)
        namespace["__doc__"] = property(lambda self: own(self)[PARTY].request("get", self, "__doc__"))
        namespace["__get__"] = _bind_function if pose is types.FunctionType else None
        if namespace["__get__"] is None:
            del namespace["__get__"]
    namespace.update({m: _MethodOf(m, home, getattr(plain, m, None) if plain else None) for m in about["methods"]})
    if plain is not None:
        own_identity = () if party.asks_identity else IDENTITY & set(about["specials"])
        _give_identity(namespace, plain, {s: _forward(s, home) for s in own_identity}, party)
    if not any(issubclass(base, Handle) for base in bases):
        bases = (*bases, Handle)
    if about["fields"]:
        namespace["__dataclass_fields__"] = _fields(about["fields"])
    namespace.setdefault("__hash__", Handle.__hash__)
    namespace["__module__"] = "solution" if pose is None else pose.__module__
    namespace["__qualname__"] = name
    home[0] = type.__new__(RemoteClass, name, bases, namespace)
    if pose is not None:
        made, home[0] = home[0], None
        return made
    return home[0]


def _give_identity(namespace: dict, plain: type, forwards: dict[str, Callable], party: Any) -> None:
    """Equality, hash and truth are those of the content; `forwards` ask the other side for the class's own."""
    namespace.update({s: getattr(plain, s) for s in IDENTITY if hasattr(plain, s) and s not in namespace})
    if "__bool__" not in namespace:
        namespace["__bool__"] = _has_content if hasattr(plain, "__len__") else _yes
    if not issubclass(plain, BaseException):
        for special, forward in forwards.items():
            namespace[special] = party.guard_identity(special, forward, namespace[special])


def has_special(kind: type, name: str) -> bool:
    """Whether instances of a stand-in's class have a special method."""
    return any(name in type.__getattribute__(base, "__dict__") for base in type.__getattribute__(kind, "__mro__"))


def _fields(told: list) -> dict[str, dataclasses.Field]:
    """What functions of dataclasses look for in a class."""
    found = {}
    for name, init in told:
        field = dataclasses.field(init=init is True)
        field.name, field._field_type = str(name), dataclasses._FIELD
        found[str(name)] = field
    return found


def _bind_function(self: Any, value: Any, _owner: Any = None) -> Any:
    return self if value is None else types.MethodType(self, value)


def _yes(_self: Any) -> bool:
    return True


def _has_content(self: Any) -> bool:
    kind = type(self)
    return len(self) != 0 if own(self)[PARTY].overrides(kind) else kind._forge_plain.__len__(self) != 0


def _self(self: Any) -> Any:
    return self


def advance(handle: Any) -> Any:
    """The next value of an iterator of the other process."""
    mine = own(handle)
    ahead = mine.get(AHEAD)
    if ahead is None:
        ahead = mine[AHEAD] = Ahead(eager=False)
    return ahead.next(mine[PARTY], handle)


class Ahead:
    """Values of an iterator that were fetched before they were asked for, once many had been asked for in a row. Not
    `eager`: never, as where an iterator may be begun again, or be told something between two values."""

    def __init__(self, eager: bool = True) -> None:
        self._eager = eager
        self._values: deque = deque()
        self._error: BaseException | None = None
        self._count, self._stamp, self._batch = 0, -1, 1

    def next(self, party: Any, target: Any) -> Any:
        """One value. StopIteration at the end, and whatever the iterator raises."""
        if not self._values and self._error is None:
            self._fetch(party, target)
        if self._values:
            return self._values.popleft()
        error, self._error = self._error, None
        raise error or StopIteration()

    def _fetch(self, party: Any, target: Any) -> None:
        self._count = self._count + 1 if self._stamp == party.requests else 0
        eager = self._count >= EAGER_AFTER and party.fetches_ahead and self._eager
        self._batch = min(2 * self._batch, BATCH_LIMIT) if eager else 1
        values, error = party.request("next", target, self._batch)
        self._stamp = party.requests
        self._values.extend(values)
        self._error = error if isinstance(error, BaseException) else None


class Reference(Handle):
    """What a generator or coroutine of this process holds of the one in the other."""


def generator(party: Any, reference: Reference) -> Generator:
    """A real generator of this process that drives one of the other."""
    ahead = Ahead()
    try:
        value = ahead.next(party, reference)
        while True:
            try:
                given = yield value
            except GeneratorExit:
                party.close(reference)
                raise
            except BaseException as error:
                value = party.request("method", reference, "throw", (error,), (), None)
            else:
                if given is None:
                    value = ahead.next(party, reference)
                else:
                    value = party.request("method", reference, "send", (given,), (), None)
    except StopIteration as end:
        return end.value


class RemoteCoroutine(collections.abc.Coroutine):
    """A coroutine of the other process; the first step here runs all of it there."""

    def __init__(self, party: Any, reference: Reference) -> None:
        self.party, self.reference = party, reference

    def send(self, _value: Any) -> Any:
        """Run it; StopIteration carries its result."""
        raise StopIteration(self.party.request("run", self.reference))

    def throw(self, *error: Any) -> Any:
        """Raise the error here: there, nothing has begun."""
        raise error[0]

    def close(self) -> None:
        """Nothing to do."""

    def __await__(self) -> Generator:
        return self.party.request("run", self.reference)
        yield


class RemoteAsyncGenerator(collections.abc.AsyncGenerator):
    """An asynchronous generator of the other process; each step runs to its end there."""

    def __init__(self, party: Any, reference: Reference) -> None:
        self.party, self.reference = party, reference

    async def asend(self, value: Any) -> Any:
        """The next value."""
        return self.party.request("step", self.reference, value)

    async def athrow(self, *error: Any) -> Any:
        """Raise an error there; the next value."""
        return self.party.request("throw_later", self.reference, _raised(*error))

    async def aclose(self) -> None:
        """End it there."""
        self.party.request("close_later", self.reference)


def _raised(kind: Any, value: Any = None, _trace: Any = None) -> BaseException:
    """The exception that arguments of `athrow` stand for."""
    if isinstance(kind, BaseException):
        return kind
    return value if isinstance(value, BaseException) else kind() if value is None else kind(value)
