"""Which verdicts are the same: a digest over everything that decides one.

Two samples with the same key earn the same finding: the code is the same, and so are the parts of the task that a
verifier goes by, the verifier with its tools and flags, the limits, and our own code. What a verifier from outside
this package consists of is found by following its imports, so that an edit to it, or to a module that it uses, makes
its old verdicts unknown.
"""

import ast
import hashlib
import importlib.util
import json
import platform
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.common.errors import InputError
from stages.common.files import content_hash, value_hash
from stages.common.records import Task
from stages.settings.verify import VerifySettings
from stages.verifiers.base import Verifier, code_version

HERE = Path(__file__).resolve().parent
INSTALLED = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
NO_MATTER = {"workers", "cache", "cache_mb", "executor", "ray_address"}  # settings that change no verdict


class Keys:
    """Keys of the samples of one run. `fingerprints` are the verifiers' own, by name; `versions` digests of all that
    a verifier brings to a verdict, by name."""

    def __init__(self, settings: VerifySettings, verifiers: Mapping[str, Verifier]) -> None:
        self.fingerprints = {name: verifier.fingerprint() for name, verifier in sorted(verifiers.items())}
        self._foreign = {name for name, verifier in verifiers.items() if not _is_ours(type(verifier))}
        self._fleeting: set[str] = set()
        self._tasks: dict[str, Any] = {}
        code = code_version()
        self.versions = {name: self._version(name, verifiers[name], settings, code) for name in self.fingerprints}

    def _version(self, name: str, verifier: Verifier, settings: VerifySettings, code: str) -> str:
        parts = {
            "code": code,
            "machine": platform.machine(),
            "limits": settings.limits.model_dump(),
            "fingerprint": self.fingerprints[name],
        }
        if name in self._foreign:
            modules = source_modules(type(verifier))
            if not modules:
                self._fleeting.add(name)
            parts["source"] = content_hash(*(modules[module] for module in sorted(modules)))
            parts["settings"] = settings.model_dump(mode="json", exclude=NO_MATTER)
        try:
            return value_hash(parts)
        except TypeError as error:
            raise InputError(f"verifier '{name}': its fingerprint is no JSON value: {error}") from None

    def lasting(self, task: Task) -> bool:
        """Whether the key means the same in another run: not so where the verifier's source cannot be found."""
        return task.verifier not in self._fleeting

    def of(self, task: Task, code: str) -> bytes:
        """The key of one program as a solution of `task`."""
        digest = self._tasks.get(task.task_id)
        if digest is None:
            digest = self._tasks[task.task_id] = self._begin(task)
        digest = digest.copy()
        digest.update(code.encode("utf-8", "surrogatepass"))
        return digest.digest()

    def _begin(self, task: Task) -> Any:
        """The digest of a task, to be continued with the code."""
        parts = [self.versions[task.verifier], task.verifier, task.language, task.prompt, task.entry_point]
        parts += [task.tests, task.cases, task.compare]
        if task.verifier in self._foreign:  # ours look at nothing else
            parts += [task.task_id, task.reference, task.source, task.meta]
        return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=20)


def _is_ours(kind: type) -> bool:
    """Whether code_version() covers the class."""
    path = _file(kind.__module__)
    return path is not None and path.parent == HERE


def source_modules(kind: type) -> dict[str, Path]:
    """The modules that a verifier from outside consists of, by name: its own, those of its base classes, and what they
    import, but for this project's, the standard library's and installed ones. Empty where a class has no file.
    """
    roots = {base.__module__ for base in kind.__mro__ if _counts(base.__module__, {base.__module__})}
    if any(_file(name) is None for name in roots):
        return {}
    own = {name.partition(".")[0] for name in roots}
    found: dict[str, Path] = {}
    waiting, seen = list(roots), set(roots)
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path is None:
            continue
        found[name] = path
        new = {other for other in _imports(path, name) if other not in seen and _counts(other, own)}
        seen |= new
        waiting += new
    return found


def top_level(kind: type) -> list[Path]:
    """The folders and files of the top-level packages and modules that `source_modules` lie in."""
    tops = set()
    for name, path in source_modules(kind).items():
        ups = name.count(".") + (path.name == "__init__.py")
        tops.add(path.parents[ups - 1] if ups else path)
    return sorted(tops)


def _counts(module: str, own: set[str]) -> bool:
    """Whether a module is neither this project's nor the standard library's nor, unless `own`, installed."""
    top = module.partition(".")[0]
    if top == "stages" or top in sys.stdlib_module_names:
        return False
    path = _file(top)
    return top in own or path is None or not any(path.is_relative_to(folder) for folder in INSTALLED)


def _file(module: str) -> Path | None:
    """The file of a module; None for one that has none."""
    loaded = sys.modules.get(module)
    try:
        spec = None if loaded else importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    path = getattr(loaded, "__file__", None) if loaded else spec and spec.has_location and spec.origin
    return Path(path).resolve() if path and Path(path).is_file() else None


def _imports(path: Path, module: str) -> Iterator[str]:
    """Names of the modules that a Python file imports, anywhere in it; also of what may be one."""
    if path.suffix != ".py":
        return
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            start = ".".join([*parts, *([node.module] if node.module else [])])
            names = [start, *(f"{start}.{alias.name}" for alias in node.names)]
        for name in filter(None, names):
            yield from (".".join(name.split(".")[:length]) for length in range(1, name.count(".") + 2))
