"""The tests' module as its own code and a collector see it, and the test functions in it.

Runs inside the sandbox, in the judge's process, and imports the standard library alone.
"""

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

TESTS_NAME, TEXT = "test_task", "tests.py"


class TestModule(types.ModuleType):
    """A module whose attributes are the names that the tests' code runs with."""

    def __init__(self, names: dict) -> None:
        super().__init__(TESTS_NAME)
        object.__setattr__(self, "_forge_names", names)

    @property
    def __dict__(self) -> dict:
        return self._forge_names

    def __getattr__(self, name: str) -> Any:
        try:
            return self._forge_names[name]
        except KeyError:
            raise AttributeError(f"module {TESTS_NAME!r} has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        """A name that is the solution's is set there, as in one script with it."""
        names = self._forge_names
        if dict.__contains__(names, name) or names.look_up(name)[0] == "missing":
            names[name] = value
        else:
            setattr(sys.modules["solution"], name, value)

    def __delattr__(self, name: str) -> None:
        if dict.__contains__(self._forge_names, name):
            del self._forge_names[name]
        else:
            delattr(sys.modules["solution"], name)

    def __dir__(self) -> list[str]:
        return [name for name in self._forge_names if not name.startswith("_forge")]


def enter_module(names: dict) -> None:
    """Let `sys.modules[__name__]` and `import __main__` find the tests."""
    sys.modules[TESTS_NAME] = sys.modules["__main__"] = TestModule(names)


def names_in(names: dict, told: dict) -> list[str]:
    """Names of functions and classes that the tests' text has made, by definitions or otherwise, in their order; those
    that it runs itself (`told["run"]`) are left out. `told["text"]`: those that it defines as such."""
    text, run = set(told["text"]), set(told["run"])
    return [name for name, value in names.items() if name not in run and (name in text or _is_of_text(value))]


def _is_of_text(value: Any) -> bool:
    """Stand-ins for what the solution has are none: their word would count, and asking takes time."""
    if type(value) is type:
        return value.__module__ == TESTS_NAME
    return type(value) is types.FunctionType and value.__code__.co_filename == TEXT


def functions(names: dict, told: dict) -> Iterator[tuple[str, Callable]]:
    """(name, function) of each test function, where nothing leans on pytest."""
    for name in names_in(names, told):
        value = names[name]
        if name.startswith("test") and type(value) is types.FunctionType:
            yield name, value


def what_it_lacks(function: Callable) -> str | None:
    """Why a test function cannot be run as it is, or None: pytest would not run it either."""
    import inspect  # here, so that the zygote stays small: each job is a copy of it

    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return "a coroutine, and nothing runs it"
    if inspect.isgeneratorfunction(function):
        return "it yields, and nothing runs it"
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            return f"fixture '{parameter.name}' not found"
    return None
