"""The candidate's side of the conversation with its judge: does what it is asked, with the candidate's own objects.

What this side says is a claim and no more: the code under test shares this interpreter and can make it say anything.

Runs inside the sandbox and imports the standard library alone.
"""

import builtins
import contextlib
import copy
import importlib
import io
import os
import random
import socket
import sys
import types
from typing import Any

import describe
import files
import notices
import vocabulary
from peer import Peer
from remote import flat

OUTPUT_LIMIT = 1 << 20  # characters of output held between two messages


def run_coroutine(coroutine: Any) -> Any:
    """Run it to its end in a loop of its own, also where a loop is running that waits for it."""
    import asyncio

    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()
        asyncio._set_running_loop(outer)


def named(pairs: tuple) -> dict:
    """Keyword arguments from names and values by turns."""
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


class CandidatePeer(Peer):
    """Serves the names of `module`."""

    def __init__(self, connection: socket.socket, module: types.ModuleType) -> None:
        super().__init__(connection, 1)
        self._module = module
        self._own = os.getpid()
        self._told: dict[str, Any] = {}  # what names meant when the judge asked
        self._outputs: list[io.StringIO] = []
        self._folder: files.SharedFolder | None = None
        self._notices: notices.Collected | None = None

    def _send(self, kind: str, values: tuple) -> None:
        """Not from a copy that the code under test has made of itself: whose word counts would be a race."""
        if os.getpid() != self._own:
            os._exit(0)
        super()._send(kind, values)

    def serve_begin(self, wishes: tuple) -> bool:
        """First of all: what the tests will look at besides values."""
        if "output" in wishes:
            self._outputs = [io.StringIO(), io.StringIO()]
            sys.stdout, sys.stderr = self._outputs
        if "input" in wishes:
            builtins.input = lambda prompt="": self.request("input", str(prompt))
            sys.stdin = _Input(self)
        if "files" in wishes:
            self._folder = files.SharedFolder()
        if "notices" in wishes:
            self._notices = notices.Collected()
        for name in wishes:
            if "." in name:
                module, _, attribute = name.rpartition(".")
                setattr(importlib.import_module(module), attribute, self._of_the_tests(name))
        return True

    def _of_the_tests(self, name: str) -> Any:
        """What stands for a function of the library that the tests may have put another one in the place of."""

        module, _, attribute = name.rpartition(".")
        own = getattr(importlib.import_module(module), attribute)

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self.request("replaced", name):
                return own(*args, **kwargs)
            return self.request("library", name, args, flat(kwargs))

        return call

    def extras(self) -> Any:
        """What was printed, which files were written and which names came to mean something else since the last
        message."""
        names = self._module.__dict__
        rebound = [name for name, value in self._told.items() if names.get(name, self) is not value]
        for name in rebound:
            del self._told[name]
        if not self._outputs and self._folder is None and self._notices is None and not rebound:
            return None
        texts = []
        for output in self._outputs:
            texts.append(output.getvalue()[:OUTPUT_LIMIT].encode("utf-8", "replace").decode())
            output.seek(0)
            output.truncate()
        told = self._notices.taken() if self._notices else []
        return [texts, self._folder.changes() if self._folder else None, told, rebound]

    def take_extras(self, extras: Any) -> None:
        """Files that the tests have written, and their environment."""
        if not extras:
            return
        changes, environment = extras
        if self._folder:
            self._folder.apply(changes)
        if environment is not None:
            os.environ.clear()
            os.environ.update(environment)

    def name_of_function(self, value: Any) -> str | None:
        """Only what the judge may take by name."""
        return vocabulary.PURE_NAMES.get(id(value))

    def function_of_name(self, name: str) -> Any:
        """Any function of the standard library, here."""
        if name in vocabulary.PURE:
            return vocabulary.PURE[name]
        module = name.partition(":")[0]
        if module.split(".")[0] in sys.stdlib_module_names:
            importlib.import_module(module)
        return vocabulary.find_function(name)

    def serve_name(self, name: str) -> tuple:
        """(kind, value) of a global name: `value`, `module` with its name, or `missing`."""
        if name not in self._module.__dict__:
            return ("missing", None)
        value = self._told[name] = self._module.__dict__[name]
        return ("module", value.__name__) if isinstance(value, types.ModuleType) else ("value", value)

    def serve_names(self) -> tuple:
        """The names that `import *` gives."""
        names = self._module.__dict__
        public = names.get("__all__") or [name for name in names if not name.startswith("_")]
        return tuple(name for name in public if name in names)

    def serve_rename(self, name: str, value: Any) -> None:
        """Set a global name."""
        self._module.__dict__[name] = value

    def serve_unname(self, name: str) -> None:
        """Delete a global name."""
        delattr(self._module, name)

    def serve_call(self, target: Any, args: tuple, kwargs: tuple) -> Any:
        """Call a class or function."""
        return target(*args, **named(kwargs))

    def serve_method(self, target: Any, name: str, args: tuple, kwargs: tuple, home: type | None) -> Any:
        """Call a method: that of class `home`, if given, unless the instance has one of its own."""
        other = home not in type(target).__mro__  # none is given, or the object has changed its class since
        if other or (name in getattr(target, "__dict__", ()) and home is type(target)):
            return self.serve_call(getattr(target, name), args, kwargs)
        return self.serve_call(_bound(home, name, target), args, kwargs)  # the same depth of frames for all calls

    def serve_method_attribute(self, target: Any, name: str, attribute: str) -> Any:
        """An attribute of a method."""
        return getattr(getattr(target, name), attribute)

    def serve_special(self, target: Any, name: str, args: tuple, kwargs: tuple, home: type | None) -> Any:
        """Call a special method, as the language does: looked up in the class."""
        home = home if home in type(target).__mro__ else type(target)
        return _bound(home, name, target)(*args, **named(kwargs))

    def serve_get(self, target: Any, name: str) -> Any:
        """An attribute; a signature in parts."""
        if name == "__signature__" and callable(target):
            return describe.signature(target, defaults=True)
        return getattr(target, name)

    def serve_derive(self, name: str, bases: tuple, members: tuple) -> type:
        """A class that the tests derive from one of the module's; its functions stay with the tests."""
        made = {key: _member(kind, value) for key, kind, value in members}
        return types.new_class(name, bases, exec_body=lambda namespace: namespace.update(made))

    def serve_member(self, target: type, name: str) -> tuple:
        """(whether the class itself has that attribute, the attribute)."""
        return name in target.__dict__, target.__dict__.get(name)

    def serve_set(self, target: Any, name: str, value: Any) -> None:
        """Set an attribute."""
        setattr(target, name, value)

    def serve_delete(self, target: Any, name: str) -> None:
        """Delete an attribute."""
        delattr(target, name)

    def serve_dir(self, target: Any) -> tuple:
        """The names of its attributes."""
        return tuple(dir(target))

    def serve_item(self, target: Any, key: Any) -> Any:
        """`target[key]` of a class."""
        return target[key]

    def serve_length(self, target: Any) -> int:
        """`len(target)` of a class."""
        return len(target)

    def serve_members(self, target: Any) -> tuple:
        """The elements of a class, such as an enumeration's."""
        return tuple(target)

    def serve_copy(self, target: Any, deep: bool) -> Any:
        """A copy."""
        return copy.deepcopy(target) if deep else copy.copy(target)

    def serve_next(self, target: Any, count: int) -> tuple:
        """(values, exception or None): up to `count` values of an iterator."""
        values = []
        try:
            for _ in range(count):
                values.append(next(target))
        except BaseException as error:
            return tuple(values), error
        return tuple(values), None

    def serve_state(self, target: Any) -> tuple:
        """(name, value) of each attribute that the instance holds, whatever its class makes of them."""
        found = {}
        for base in reversed(type(target).__mro__):
            for name, member in base.__dict__.items():
                if type(member) is types.MemberDescriptorType and base is not type:
                    with contextlib.suppress(AttributeError):
                        found[name] = member.__get__(target)
                elif name == "__dict__" and type(member) is types.GetSetDescriptorType:
                    found.update(member.__get__(target))
        return tuple(sorted(found.items(), key=lambda pair: pair[0]))

    def serve_run(self, target: Any) -> Any:
        """Run a coroutine to its end."""
        return run_coroutine(target)

    def serve_step(self, target: Any, value: Any) -> Any:
        """The next value of an asynchronous generator."""
        return self.serve_run(target.asend(value))

    def serve_throw_later(self, target: Any, error: BaseException) -> Any:
        """Raise an error in an asynchronous generator; its next value."""
        return self.serve_run(target.athrow(error))

    def serve_close_later(self, target: Any) -> None:
        """End an asynchronous generator."""
        return self.serve_run(target.aclose())

    def serve_seed(self, args: tuple) -> None:
        """The tests have seeded `random`."""
        random.seed(*args)

    def serve_seed_numpy(self, args: tuple) -> None:
        """The tests have seeded `numpy.random`."""
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(*args)

    def serve_doctest(self) -> tuple:
        """(failed, attempted): the examples in the module's docstrings."""
        import doctest

        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            return tuple(doctest.testmod(self._module))

    def serve_wait(self) -> None:
        """Nothing: what threads of the module have changed meanwhile goes with the answer."""


def _bound(home: type, name: str, target: Any) -> Any:
    """Attribute `name` as class `home` has it, bound to `target`."""
    for base in home.__mro__:
        if name in base.__dict__:
            found = base.__dict__[name]
            return found.__get__(target, type(target)) if hasattr(found, "__get__") else found
    return getattr(target, name)


def _member(kind: str, value: Any) -> Any:
    """A member of a class that the tests have defined, of stand-ins for their functions."""
    if kind == "property":
        return property(*(each and _function(each) for each in value))
    if kind == "value":
        return value
    return {"function": lambda f: f, "static": staticmethod, "class": classmethod}[kind](_function(value))


def _function(call: Any) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    return function


class _Input:
    """Standard input that the tests have put in place of the real one."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def read(self, *size: int) -> str:
        """As a text file's."""
        return self._peer.request("stdin", "read", size)

    def readline(self, *size: int) -> str:
        """As a text file's."""
        return self._peer.request("stdin", "readline", size)

    def readlines(self) -> list[str]:
        """As a text file's."""
        return list(self)

    def __iter__(self) -> Any:
        return iter(self.readline, "")

    def fileno(self) -> int:
        """Its descriptor, where nothing is to be had."""
        return 0

    def isatty(self) -> bool:
        """Never."""
        return False
