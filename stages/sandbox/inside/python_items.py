"""Tests that lean on pytest: collected from the names that the tests' text defines, run by pytest itself.

Runs inside the sandbox, in the runner of python_judge.py.
"""

import contextlib
import inspect
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from _pytest.fixtures import FixtureLookupError
from python_collect import TESTS_NAME, TestModule
from python_judge import collectors, is_lacking, is_theirs

FOLDER = Path("/tmp/tests")
ARGUMENTS = ["-c", os.devnull, "--rootdir", str(FOLDER), "--noconftest", "--capture=sys", "-q"]
# What tells nothing here: caches, reports, and the full garbage collections of the last two.
UNUSED = ("cacheprovider", "doctest", "faulthandler", "junitxml", "pastebin", "threadexception", "unraisableexception")
ARGUMENTS += [part for name in UNUSED for part in ("-p", f"no:{name}")]
NO_REASON = ("error", "failed")


class _Given(pytest.Module):
    """A test module that has been run already."""

    given: types.ModuleType

    def _getobj(self) -> types.ModuleType:
        return self.given


class _Tests(TestModule):
    """The tests' module with the names in its `__dict__`, where pytest looks for them."""

    def __init__(self, names: dict) -> None:
        super().__init__(names)
        self.__dict__.update(names)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value
        super().__setattr__(name, value)


class _Collect:
    """The plugin: gives pytest the module, keeps to the wanted names, passes results on."""

    def __init__(self, wanted: list[str], module: types.ModuleType, results: Any) -> None:
        self.wanted, self.module, self.results = wanted, module, results
        self.trouble: dict[str, tuple[str, str]] = {}

    def pytest_pycollect_makemodule(self, module_path: Path, parent: Any) -> _Given:
        """The given module in place of the file's."""
        given = _Given.from_parent(parent, path=module_path)
        given.given = self.module
        return given

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(self, collector: Any, name: str) -> list | None:
        """Nothing (an empty list) for names of the module that the tests' text does not define."""
        return [] if isinstance(collector, pytest.Module) and name not in self.wanted else None

    def pytest_collection_finish(self, session: Any) -> None:
        """Tell how many tests there are before the first one runs."""
        self.results.say(items=len(session.items))

    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        """Keep the exception of a test's first failing phase for its message; comes after the phase's report."""
        error = call.excinfo.value
        kind = self.results.kind_of(error)
        first = (str(error).splitlines() or [""])[0]
        if isinstance(node, pytest.Collector) or is_lacking(error) or _is_broken(node, error):
            if is_theirs(error):
                self.results.trouble(kind, node.name, f"{type(error).__name__}: {first}")
            else:
                self.results.say(missing=f"{node.name}: {_reason(error) or first}")
        if self.trouble.get(node.nodeid, NO_REASON) == NO_REASON:
            self.trouble[node.nodeid] = (kind, f"{type(error).__name__}: {first}".rstrip(": "))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """One result per test, after its last phase."""
        kind, message = self.trouble.get(nodeid, ("pass", ""))
        self.results.add(kind, nodeid.split("::", 1)[-1], message)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test that was skipped, or failed as it was expected to, has not been passed: who skips it may be the
        solution."""
        if report.outcome != "passed":
            self.trouble.setdefault(report.nodeid, ("error", report.outcome))


def _is_broken(node: Any, error: BaseException) -> bool:
    """Whether a test could be run with no solution at all: it wants a fixture, or a plugin, that is not here."""
    if isinstance(error, FixtureLookupError):
        return True
    function = getattr(node, "obj", None)
    later = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    return later and type(error).__name__ == "Failed" and "not natively supported" in str(error)


def _reason(error: BaseException) -> str:
    return f"fixture '{error.argname}' not found" if isinstance(error, FixtureLookupError) else ""


def run_items(wanted: list[str], names: dict, results: Any) -> None:
    """Collect and run `wanted` of the module namespace `names`; `results` takes the count and one result per test."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / "test_task.py"
    file.touch()
    module = sys.modules[TESTS_NAME] = _Tests(names)
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
        pytest.main([*ARGUMENTS, str(file)], plugins=[_Collect(wanted, module, results)])


def warm() -> None:
    """Run a session over nothing much, so that what pytest loads and prepares late is there before the first job."""

    class Unheard:
        """Takes results and forgets them."""

        def say(self, **_: object) -> None:
            """Nothing."""

        def add(self, *_: object) -> None:
            """Nothing."""

        def kind_of(self, *_: object) -> str:
            """No matter."""
            return "error"

    names: dict = {}
    exec("import pytest\n@pytest.mark.parametrize('x', [1])\ndef test_x(x, tmp_path): assert x == 1\n", names)
    run_items(["test_x"], names, Unheard())
    collectors.append(run_items)
