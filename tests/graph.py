"""Which modules of ours each stage of dvc.yaml uses, found by walking the imports.

python -m tests.graph --write    puts them into dvc.yaml's deps
"""

import argparse
import ast
import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from stages.common.yaml_files import round_trip
from stages.sources import SOURCES
from stages.verifiers import REGISTRY

ROOT = Path(__file__).parent.parent
# What judges uses nearly all of these, so that they stand as folders: by file they were half of dvc.lock, which DVC
# reads and writes anew after every stage. An edit to any of their files has all judged anew, as by the
# verdict cache's keys.
ROOMS = ("stages/sandbox", "stages/verifiers")


def file_of(module: str) -> Path | None:
    """The file of a module of ours, None for others' modules."""
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if module.partition(".")[0] == "stages" and candidate.is_file():
            return candidate
    return None


@cache
def imported(path: Path) -> frozenset[str]:
    """Names of our modules that a file imports, anywhere in it, with the packages that they lie in."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    packages = {".".join(name.split(".")[:length]) for name in names for length in range(1, name.count(".") + 2)}
    return frozenset(name for name in packages if file_of(name))


def closure(modules: set[str]) -> set[Path]:
    """The files of the modules and of all that they import; packages that hold a docstring only are left out."""
    found: set[Path] = set()
    waiting = [file_of(module) for module in modules]
    while waiting:
        path = waiting.pop()
        if path and path not in found:
            found.add(path)
            waiting += [file_of(module) for module in imported(path)]
    return {path for path in found if path.name != "__init__.py" or len(ast.parse(path.read_text()).body) > 1}


def lazy_modules(name: str, command: str) -> set[str]:
    """Modules that a script finds by name in a registry."""
    files = closure({name})
    lazy = set()
    if ROOT / "stages/verifiers/__init__.py" in files:
        lazy |= {path.partition(":")[0] for path in REGISTRY.values()}
    if ROOT / "stages/sources/__init__.py" in files and (source := re.search(r"--source (\w+)", command)):
        lazy.add(SOURCES[source[1]].module)
    return lazy


def module_deps(command: str) -> list[str]:
    """What of our code `python -m stages.X ...` depends on, relative to the root, sorted: modules, and whole rooms."""
    script = re.match(r"python -m (stages\.\w+)", command)
    assert script, f"not a stage script: {command}"
    files = closure({script[1]} | lazy_modules(script[1], command))
    names = {path.relative_to(ROOT).as_posix() for path in files}
    return sorted({next((room for room in ROOMS if name.startswith(f"{room}/")), name) for name in names})


def shared_modules(stage: dict[str, Any]) -> list[str]:
    """What every item of a stage depends on, sorted: in prepare, a source's own modules come by its item."""
    command = stage.get("do", stage)["cmd"]
    if "--source" not in command:
        return module_deps(command)
    used = set().union(*(module_deps(command.replace("${key}", source)) for source in SOURCES))
    own = tuple(path for item in stage["foreach"].values() for path in item.values())
    return sorted(dep for dep in used if not dep.startswith(own))


def is_module(dep: str) -> bool:
    """Whether a dep of dvc.yaml names code."""
    return dep.startswith("stages/")


def write() -> None:
    """Renew the modules among every stage's deps in dvc.yaml."""
    yaml = round_trip()
    path = ROOT / "dvc.yaml"
    document: Any = yaml.load(path.read_text(encoding="utf-8"))
    for stage in document["stages"].values():
        definition = stage.get("do", stage)
        own = [dep for dep in definition.get("deps", []) if not is_module(dep)]
        modules = shared_modules(stage)
        if "deps" not in definition:
            definition.insert(list(definition).index("cmd") + 1, "deps", [])
        definition["deps"] = own + modules
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    importlib.invalidate_caches()
    write()
