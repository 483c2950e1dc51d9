"""One side of a conversation: asks the other process and serves what it asks, one at a time.

`Peer` is what both sides share. A request goes out and until its reply comes requests of the other side are served, so
that callbacks work to any depth. With each message go the changes of shared containers (mirrors.py), what is no longer
needed, and what was printed.

Runs inside the sandbox and imports the standard library alone.
"""

import contextlib
import socket
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import describe
import line
import mirrors
import remote
import vocabulary
from line import ProtocolError
from remote import Handle, Reference, RemoteClass
from wire import Packer, Unpacker

ANSWERS = ("=", "!")
# Looked for by type: what derives from an abstract base class is slow to ask whether something is an instance of it.
DISGUISES = frozenset((types.GeneratorType, remote.RemoteCoroutine, remote.RemoteAsyncGenerator))


class Peer:
    """One side. `first` is 0 for one side and 1 for the other: who makes which numbers of shared containers."""

    asks_identity = True  # whether equality, hash and truth of the other side's objects are asked there
    fetches_ahead = False

    def __init__(self, connection: socket.socket, first: int) -> None:
        self.line = line.Line(connection)
        self.mirrors = mirrors.Mirrors(first)
        self.requests = 0  # sent so far
        self.unanswered = 0
        self._lock = threading.RLock()
        self._exports: dict[int, Any] = {}
        self._export_numbers: dict[int, int] = {}
        self._next_export = 0
        self._known: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._lasting: dict[int, Any] = {}
        self._classes: dict[int, type] = {}
        self._disguised: weakref.WeakKeyDictionary[Any, Reference] = weakref.WeakKeyDictionary()
        self._lost: set[int] = set()
        self._closed: set[int] = set()

    # Conversation

    def request(self, operation: str, *values: Any) -> Any:
        """What the other side answers; raises what it raises. EOFError and ProtocolError end the conversation."""
        with self._lock:
            self.requests += 1
            self._send(operation, values)
            self.unanswered += 1
            del values
            while True:
                kind, answer = self._receive()
                if kind in ANSWERS:
                    self.unanswered -= 1
                if kind == "=":
                    return answer[0]
                if kind == "!":
                    raise self.to_raise(answer[0])
                self._serve(kind, answer)
                del answer

    def serve_forever(self) -> None:
        """Serve until the other side has gone (EOFError)."""
        while True:
            kind, values = self._receive()
            self._serve(kind, values)
            del values

    def _serve(self, operation: str, values: list) -> None:
        kind, answer = "=", None
        try:
            serve = getattr(self, f"serve_{operation}", None)
            if serve is None or operation == "forever":
                raise ProtocolError("no such operation")
            answer = serve(*values)
        except (EOFError, ProtocolError):
            raise
        except BaseException as error:
            kind, answer = "!", self.to_tell(error)
        values.clear()
        try:
            self._send(kind, (answer,))
        except (EOFError, ProtocolError):
            raise
        except Exception as error:
            self._send("!", (TypeError(f"a value cannot cross: {error}"[: describe.NAME_LENGTH]),))

    def _send(self, kind: str, values: tuple) -> None:
        changes = self.mirrors.changes() if self.mirrors.table else []
        packer = Packer(self)
        try:
            self.line.send(self._to_json(kind, values, changes, packer))
        except EOFError:
            raise
        except BaseException:
            packer.undo()
            self.mirrors.doubt(number for number, _ in changes)
            raise

    def _to_json(self, kind: str, values: tuple, changes: list, packer: Packer) -> bytes:
        items = [packer.pack(value) for value in values]
        updates = [[number, [packer.pack(value) for value in now]] for number, now in changes]
        packer.forget()
        gone = self.mirrors.release() if self.mirrors.table else []
        lost, self._lost = self._lost, set()
        closed, self._closed = self._closed, set()
        over = [*lost, *([number] for number in closed)]
        return line.to_json([kind, items, packer.nodes, updates, gone, over, self.extras()])

    def _receive(self) -> tuple[str, list]:
        kind, items, nodes, updates, gone, lost, extras = self.line.receive()
        if type(kind) is not str or any(type(part) is not list for part in (items, nodes, updates, gone, lost)):
            raise ProtocolError("no message")
        if kind in ANSWERS and len(items) != 1:
            raise ProtocolError("no answer")
        try:
            unpacker = Unpacker(self, nodes)
            for number, now in updates:
                self.mirrors.table[number].replace(unpacker.items(now))
            self.mirrors.forget(gone)
            for number in lost:
                self._drop(number)
            self.take_extras(extras)
            return kind, [unpacker.value(item) for item in items]
        except (ProtocolError, MemoryError):
            raise
        except Exception as error:
            raise ProtocolError(f"{type(error).__name__}: {error}"[: describe.NAME_LENGTH]) from None

    def _drop(self, number: Any) -> None:
        close = type(number) is list
        value = self._exports.get(number[0] if close else number)
        if close and value is not None:
            with contextlib.suppress(Exception):
                value.close()
        elif value is not None and not isinstance(value, type):
            del self._exports[number], self._export_numbers[id(value)]

    # What one side adds to its messages

    def extras(self) -> Any:
        """Goes with each message."""

    def take_extras(self, extras: Any) -> None:
        """What came with a message."""

    # Stand-ins here for the other side's objects

    def get(self, target: Any, name: str) -> Any:
        """An attribute of a stand-in. What inspect.signature asks for is made here of the parameters' names."""
        if name.startswith("_forge"):
            raise AttributeError(name)
        found = self.request("get", target, name)
        return describe.to_signature(found) if name == "__signature__" else found

    def equal(self, handle: Handle, other: object) -> Any:
        """Whether a stand-in whose class has no equality of its own equals another object."""
        return True if handle is other else NotImplemented

    def unequal(self, handle: Handle, other: object, equal: Any) -> Any:
        """Whether such a stand-in is not equal to another object; `equal` is what `equal` has said."""
        return equal if equal is NotImplemented else not equal

    def hashed(self, handle: Handle) -> int:
        """The hash of a stand-in whose class has none of its own."""
        return hash((remote.NUMBER, remote.number_of(handle)))

    def truth(self, handle: Handle) -> bool:
        """Whether a stand-in whose class says nothing of it is true."""
        return len(handle) != 0 if remote.has_special(type(handle), "__len__") else True

    def overrides(self, kind: type) -> bool:
        """Whether a class of the other side may do otherwise than the builtin class that it derives from."""
        return True

    def plain_method(self, value: Any, name: str, home: type, plain: Any) -> Callable:
        """The bound method of a stand-in where its class may not do otherwise than its builtin base, which has `plain`
        under that name."""
        return plain.__get__(value, type(value))

    def guard(self, special: str, forward: Callable, instead: Callable | None, plain: type | None) -> Callable:
        """The method that a stand-in's class gets for one of its special methods; `instead` is that of its builtin base
        `plain`."""
        return forward

    def derive(self, name: str, bases: tuple, namespace: dict, options: dict) -> type:
        """The class that a class statement makes of stand-ins' classes."""
        raise TypeError(f"class {name} cannot derive from a class of another process")

    def lost(self, number: int) -> None:
        """A stand-in has ended. May be called at any moment, by the garbage collector."""
        self._lost.add(number)

    def close(self, reference: Reference) -> None:
        """A generator that was driven from here is closed: at once, or with the next message where it is being
        collected as garbage, which may happen at any moment."""
        number = remote.number_of(reference)
        if self._known.get(number) is None:
            self._closed.add(number)
        else:
            self.request("method", reference, "close", (), (), None)

    def bind_container(self, value: Any) -> None:
        """Make a container of a stand-in's class find its other side; it crosses by its mirror's number."""
        remote.own(value)[remote.PARTY] = self

    def is_own_back(self, value: Any) -> bool:
        """Whether the value stands for an object of the other side, and is not shared by its contents."""
        if type(value) in DISGUISES:
            return value in self._disguised
        return remote.number_of(value) is not None

    def number_of(self, value: Any) -> int:
        """The number of such a value."""
        if type(value) in DISGUISES:
            value = self._disguised[value]
        return remote.number_of(value)

    def to_raise(self, value: Any) -> BaseException:
        """The exception that a reply carries."""
        if not isinstance(value, BaseException):
            raise ProtocolError("no exception")
        return value

    def to_tell(self, error: BaseException) -> BaseException:
        """What is told of an exception that serving has raised."""
        return error

    # Objects of this side

    def export(self, value: Any) -> int:
        """The number by which the other side knows an object."""
        number = self._export_numbers.get(id(value))
        if number is None:
            number = self._export_numbers[id(value)] = self._next_export
            self._next_export += 1
            self._exports[number] = value
        return number

    def unexport(self, value: Any) -> None:
        """Take a number back that has not been told."""
        self._exports.pop(self._export_numbers.pop(id(value), None), None)

    def name_of_function(self, value: Any) -> str | None:
        """The name by which the other side finds the same function in its own library."""
        if id(value) in vocabulary.PURE_NAMES:
            return vocabulary.PURE_NAMES[id(value)]
        return None

    def pack_object(self, packer: Packer, value: Any) -> None:
        """Add the node of an object that stays here."""
        if isinstance(value, type):
            packer.class_item(value)
        elif isinstance(value, BaseException):
            self._pack_exception(packer, value)
        else:
            kind = type(value)
            base = next((base for base in vocabulary.VALUES if issubclass(kind, base)), None)
            of = packer.class_item(kind) if not self._flavour(value) else self._flavour(value)
            content = None if base is None else packer.pack(vocabulary.plain_value(value, base))
            packer.node(value, "h", self.export(value), of, content)

    @staticmethod
    def _flavour(value: Any) -> str | None:
        if isinstance(value, types.GeneratorType):
            return "generator"
        if isinstance(value, types.CoroutineType):
            return "coroutine"
        return "async_generator" if isinstance(value, types.AsyncGeneratorType) else None

    def _pack_exception(self, packer: Packer, error: BaseException) -> None:
        error.__traceback__ = None
        of = packer.class_item(type(error))
        number = self.export(error)
        try:
            # What an exception is made of is needed when it is made, so the list in a group crosses as a tuple.
            given = tuple(tuple(arg) if type(arg) is list else arg for arg in error.args)
            args = [packer.pack(arg) for arg in given]
        except Exception:
            args = []
        cause = error.__cause__ if isinstance(error.__cause__, BaseException) else None
        cause_item = packer.pack(cause) if cause is not None and cause is not error else None
        held = tuple(part for pair in error.__dict__.items() if pair[0] != remote.NUMBER for part in pair)
        packer.node(error, "e", number, of, args, describe.exception_text(error), cause_item, packer.pack(held))

    def pack_class(self, packer: Packer, kind: type) -> list[int]:
        """Add the node of a class; the first time with its description."""
        number = self._export_numbers.get(id(kind))
        if number is not None:
            return packer.node(kind, "K", number)
        number = self.export(kind)
        packer.describe(kind)
        bases = [packer.class_item(base) for base in describe.bases(kind)]
        return packer.node(kind, "K", number, describe.class_name(kind), bases, describe.description(kind))

    # Nodes of the other side

    def unpack_object(self, unpacker: Unpacker, tag: str, node: list) -> Any:
        """The value of a node that is no builtin value."""
        if tag == "r":
            return self._exports[node[1]]
        if tag == "F":
            return self.function_of_name(node[1])
        if tag == "K":
            return self._class(unpacker, *node[1:])
        if tag == "h":
            return self._handle(unpacker, *node[1:])
        if tag == "e":
            return self._exception(unpacker, *node[1:])
        raise ProtocolError("no such tag")

    def function_of_name(self, name: str) -> Any:
        """The function that the other side names."""
        return vocabulary.PURE[name]

    def _class(self, unpacker: Unpacker, number: int, name: Any = None, bases: Any = (), about: Any = None) -> type:
        known = self._classes.get(number)
        if known is None:
            if type(name) is not str or type(about) is not dict or type(number) is not int:
                raise ProtocolError("no description")
            about = describe.checked(about)
            values = tuple(base for base in map(unpacker.value, bases) if isinstance(base, type) and base is not object)
            known = self._make_class(number, name[: describe.NAME_LENGTH], values, about)
            self._classes[number] = known
        return known

    def _make_class(self, number: int, name: str, bases: tuple[type, ...], about: dict) -> type:
        bases = tuple(base for base in bases if isinstance(base, RemoteClass) or describe.can_be_base(base))
        try:
            return remote.make_class(self, number, name, bases, about)
        except TypeError:  # bases that do not go together here
            builtin = tuple(base for base in bases if not isinstance(base, RemoteClass))[:1]
            return remote.make_class(self, number, name, builtin, about)

    def _handle(self, unpacker: Unpacker, number: int, of: Any, content: Any) -> Any:
        known = self._known.get(number, self._lasting.get(number))
        if known is not None:
            return known
        if type(number) is not int:
            raise ProtocolError("no number")
        self._lost.discard(number)
        if type(of) is str:
            return self._disguise(number, of)
        kind = unpacker.value(of)
        if not isinstance(kind, type):
            raise ProtocolError("no class")
        if content is not None:
            plain = unpacker.value(content)
            if not isinstance(kind, RemoteClass) or not issubclass(kind, type(plain)) or type(plain) is bool:
                return plain
            value = remote.bind(type(plain).__new__(kind, plain), self, number)
        else:
            if not isinstance(kind, RemoteClass):
                kind = self._class_of_builtin(kind)
            value = remote.bind(object.__new__(kind), self, number)
        try:
            self._known[number] = value
            remote.own(value)[remote.COUNTED] = True
        except TypeError:  # no weak references to numbers, texts and tuples
            self._lasting[number] = value
        return value

    def _class_of_builtin(self, kind: type) -> type:
        """For objects of a library's class that both sides know: a class that poses as it."""
        if kind not in vocabulary.TYPE_NAMES or describe.can_be_base(kind):
            raise ProtocolError("no class for an object")
        key = -1 - id(kind)
        if key not in self._classes:
            about = describe.description_of_builtin(kind)
            self._classes[key] = remote.make_class(self, key, kind.__name__, (), about, pose=kind)
        return self._classes[key]

    def _disguise(self, number: int, flavour: str) -> Any:
        reference = remote.bind(Reference(), self, number)
        make = {
            "generator": remote.generator,
            "coroutine": remote.RemoteCoroutine,
            "async_generator": remote.RemoteAsyncGenerator,
        }[flavour]
        value = make(self, reference)
        remote.own(reference)[remote.COUNTED] = True
        self._disguised[value] = reference
        self._known[number] = value
        return value

    def _exception(
        self, unpacker: Unpacker, number: int, of: Any, args: list, text: Any, cause: Any, held: Any
    ) -> BaseException:
        kind = unpacker.value(of)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)) or type(text) is not str:
            raise ProtocolError("no exception")
        values = tuple(unpacker.items(args))
        try:
            error = kind.__new__(kind, *values) if isinstance(kind, RemoteClass) else kind(*values)
        except Exception:
            error = kind.__new__(kind)
        if isinstance(kind, RemoteClass):
            remote.bind(error, self, number)
        elif type(number) is int:
            error.__dict__[remote.NUMBER] = number
        attributes = unpacker.value(held)
        for name, value in zip(attributes[::2], attributes[1::2], strict=True):
            if type(name) is str and not name.startswith("_forge"):
                BaseException.__setattr__(error, name, value)
        BaseException.args.__set__(error, values or ((text[: describe.TEXT_LENGTH],) if text else ()))
        cause = unpacker.value(cause)
        if isinstance(cause, BaseException) and cause is not error:
            BaseException.__cause__.__set__(error, cause)
        return error
