"""Stand-ins for what stays in the other process: objects, classes, functions, generators, coroutines.

A stand-in's class is made here after the description of the real one, with the special methods that it has; each of
them asks the other process. On the judge's side some are never asked: equality, hash and truth are the judge's own, and
arithmetic or order between a stand-in and one of the judge's values would let an object of the candidate's pass for a
number that it is not.

Runs inside the sandbox and imports the standard library alone.
"""

import collections.abc
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

    def __new__(cls, name: str, *_: Any, **__: Any) -> "RemoteClass":
        raise TypeError(f"class {name} cannot derive from a class of another process")

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
        else:
            party.request("set", cls, name, value)

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
        return True if self is other else own(self)[PARTY].equal(self, other)

    def __ne__(self, other: object) -> Any:
        found = self == other
        return found if found is NotImplemented else not found

    def __hash__(self) -> int:
        return hash((NUMBER, own(self)[NUMBER]))

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
    return None


def flat(kwargs: dict) -> tuple:
    """Keyword arguments as one tuple of names and values by turns."""
    return tuple(part for pair in kwargs.items() for part in pair)


class Method:
    """A method of a stand-in, looked up and called in one message."""

    def __init__(self, owner: Any, name: str) -> None:
        self.__self__, self.__name__ = owner, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return own(self.__self__)[PARTY].request("method", self.__self__, self.__name__, args, flat(kwargs))

    def __getattr__(self, name: str) -> Any:
        return own(self.__self__)[PARTY].request("method_attribute", self.__self__, self.__name__, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Method) and self.__self__ is other.__self__ and self.__name__ == other.__name__

    def __hash__(self) -> int:
        return hash((id(self.__self__), self.__name__))


def _forward(name: str) -> Any:
    def special(self: Any, *args: Any, **kwargs: Any) -> Any:
        return own(self)[PARTY].request("special", self, name, args, flat(kwargs))

    special.__name__ = name
    return special


def make_class(
    party: Any, number: int, name: str, bases: tuple[type, ...], about: dict, pose: type | None = None
) -> type:
    """The class of the stand-ins for instances of class `number`.

    `about`: `specials` (names), `methods` (names). `pose`: the class that the instances say they have.
    """
    plain = next((base for base in bases if base.__module__ != __name__ and not isinstance(base, RemoteClass)), None)
    namespace: dict[str, Any] = {PARTY: party, NUMBER: number, "_forge_methods": frozenset(about["methods"])}
    namespace["_forge_equality"] = "__eq__" in about["specials"]
    for special in about["specials"]:
        if special in SPECIALS and special not in IDENTITY:
            namespace[special] = party.guard(
                special, _forward(special), getattr(plain, special, None) if plain else None
            )
    if "__next__" in namespace and "__iter__" in namespace and plain is None:
        namespace["__next__"] = advance
        namespace["__iter__"] = _self
    namespace["__dict__"] = property(lambda self: own(self)[PARTY].request("get", self, "__dict__"))
    if pose is not None:
        namespace["__class__"] = property(lambda _self: pose)
    if party.asks_identity:
        namespace.update({s: _forward(s) for s in IDENTITY & set(about["specials"])})
    if plain is not None:  # its own methods come first, but those that the class has in their place
        bases = (*bases, Handle) if not any(issubclass(base, Handle) for base in bases) else bases
        namespace.update({s: getattr(plain, s) for s in IDENTITY if hasattr(plain, s) and s not in namespace})
        namespace.update({m: _method(m) for m in about["methods"]})
    elif not any(issubclass(base, Handle) for base in bases):
        bases = (*bases, Handle)
    namespace.setdefault("__hash__", Handle.__hash__)
    namespace["__module__"] = "solution" if pose is None else pose.__module__
    namespace["__qualname__"] = name
    return type.__new__(RemoteClass, name, bases, namespace)


def _self(self: Any) -> Any:
    return self


def _method(name: str) -> Any:
    return property(lambda self: Method(self, name) if PARTY in own(self) else getattr(super(type(self), self), name))


def advance(handle: Any) -> Any:
    """The next value of an iterator of the other process."""
    mine = own(handle)
    ahead = mine.get(AHEAD)
    if ahead is None:
        ahead = mine[AHEAD] = _Ahead()
    return ahead.next(mine[PARTY], handle)


class _Ahead:
    """Values of an iterator that were fetched before they were asked for, once many had been asked for in a row."""

    def __init__(self) -> None:
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
        eager = self._count >= EAGER_AFTER and party.fetches_ahead
        self._batch = min(2 * self._batch, BATCH_LIMIT) if eager else 1
        values, error = party.request("next", target, self._batch)
        self._stamp = party.requests
        self._values.extend(values)
        self._error = error if isinstance(error, BaseException) else None


class Reference(Handle):
    """What a generator or coroutine of this process holds of the one in the other."""


def generator(party: Any, reference: Reference) -> Generator:
    """A real generator of this process that drives one of the other."""
    ahead = _Ahead()
    mine = own(reference)
    try:
        value = ahead.next(party, reference)
        while True:
            try:
                given = yield value
            except GeneratorExit:
                party.close(mine[NUMBER])
                raise
            except BaseException as error:
                value = party.request("method", reference, "throw", (error,), ())
            else:
                if given is None:
                    value = ahead.next(party, reference)
                else:
                    value = party.request("method", reference, "send", (given,), ())
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
        """Raise the error here."""
        raise error[0]

    async def aclose(self) -> None:
        """Nothing to do."""
