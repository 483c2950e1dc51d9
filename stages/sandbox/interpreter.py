"""Where the interpreter lies inside a sandbox: under a name of its own, as the real one may lie in a home folder."""

import functools
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field

PREFIX_AT = "/forge/python"
LIBRARY_AT = "/forge/library"
MOVED = f"import sys, ctypes, hashlib, json, socket; sys.exit(sys.prefix != {PREFIX_AT!r})"
TRIAL_SECONDS = 60


@dataclass(frozen=True)
class Interpreter:
    """`path` inside; `binds`: pairs of a path outside and one inside; `environment`: variables that it needs."""

    path: str
    binds: tuple[tuple[str, str], ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def arguments(self) -> Iterable[str]:
        """The binds, as bubblewrap takes them."""
        for outside, inside in self.binds:
            yield from ("--ro-bind", outside, inside)


@functools.cache
def find(bwrap: str, system: tuple[str, ...]) -> Interpreter:
    """The interpreter behind this process, a virtual environment's link followed; `system`: the binds of /usr.

    One that does not run under another name keeps its own: an interpreter need not be movable.
    """
    real = os.path.realpath(sys.executable)
    prefixes = sorted({os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)})
    library, folder = (sysconfig.get_config_var(name) for name in ("INSTSONAME", "LIBDIR"))
    shared = os.path.join(folder, library) if sysconfig.get_config_var("Py_ENABLE_SHARED") else ""
    if len(prefixes) == 1 and real.startswith(prefixes[0] + "/") and not _is_system(prefixes[0]):
        moved = _moved(real, prefixes[0], shared)
        if _runs(bwrap, system, moved):
            return moved
    seen = {*prefixes, os.path.dirname(shared)} - {""}
    return Interpreter(real, tuple((path, path) for path in sorted(seen) if not _is_system(path)))


def _is_system(path: str) -> bool:
    return f"{path}/".startswith("/usr/")


def _moved(real: str, prefix: str, shared: str) -> Interpreter:
    """Its shared library, which it looks for in the old place, goes to a folder that holds nothing else."""
    binds, environment = ((prefix, PREFIX_AT),), {}
    if shared and not _is_system(shared):
        binds += ((shared, f"{LIBRARY_AT}/{os.path.basename(shared)}"),)
        environment = {"LD_LIBRARY_PATH": LIBRARY_AT}
    return Interpreter(PREFIX_AT + real.removeprefix(prefix), binds, environment)


def _runs(bwrap: str, system: tuple[str, ...], python: Interpreter) -> bool:
    given = [bwrap, "--unshare-all", *system, *python.arguments()]
    for name, value in python.environment.items():
        given += ["--setenv", name, value]
    try:
        done = subprocess.run(
            [*given, python.path, "-S", "-s", "-B", "-c", MOVED],
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=TRIAL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
