"""Whether an environment still has the packages that it was made with; one line for what differs, and exit code 1.

python toolbox/image/assert_packages.py --constraints /opt/halo-forge/constraints.txt --torch 2.12.0+rocm7.14.0
python toolbox/image/assert_packages.py --pyproject pyproject.toml --extra dev

Every install of an image's build ends with it, since a torch that pip has replaced still imports, and fails only on the
GPU. It runs before the project is there, so it imports nothing of it.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path


def installed(name: str) -> str | None:
    """The version of a package in this environment, None where it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def unlike_constraints(path: Path) -> Iterator[str]:
    """A line for each pin of a constraints file that is not what is installed."""
    pins = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    pins = [pin for pin in pins if pin]
    if not any(pin.startswith("torch==") for pin in pins):
        yield f"{path}: no pin of torch; expected torch==VERSION"
    for pin in pins:
        name, equals, version = pin.partition("==")
        if not equals:
            yield f"{path}: found '{pin}', expected NAME==VERSION"
        elif installed(name) != version:
            yield f"{name}: found {installed(name) or 'none'}, expected {version} ({path})"


def unlike_torch(version: str) -> Iterator[str]:
    """A line where the torch that Python imports is another one, or another kind, than its version says."""
    import torch

    kind = version.partition("+")[2]
    if torch.__version__ != version:
        yield f"torch: found {torch.__version__} at {torch.__file__}, expected {version}"
    elif not Path(torch.__file__).is_relative_to(sys.prefix):
        yield f"torch: found at {torch.__file__}, expected below {sys.prefix}; set PYTHONNOUSERSITE=1"
    elif kind.startswith("rocm") and torch.version.hip is None:
        yield f"torch: found {version} built for {torch.version.cuda or 'the CPU'}, expected a build for ROCm"


def unmet(path: Path, extras: list[str], without: list[str]) -> Iterator[str]:
    """A line for each requirement of a pyproject.toml, and of its extras, that this environment does not meet."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield "packaging: found none, expected it with the project's packages"
        return
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    for requirement in map(Requirement, wanted):
        if requirement.name in without or (requirement.marker and not requirement.marker.evaluate()):
            continue
        version = installed(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name}: found {version or 'none'}, expected {requirement} ({path})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--constraints", type=Path, metavar="FILE", help="every NAME==VERSION in it must be installed")
    parser.add_argument("--torch", metavar="VERSION", help="what torch.__version__ must say")
    parser.add_argument("--pyproject", type=Path, metavar="FILE", help="its dependencies must be met")
    parser.add_argument("--extra", action="append", default=[], help="and those of this extra")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="but not this one")
    args = parser.parse_args()
    wrong: list[str] = []
    if args.constraints:
        wrong += unlike_constraints(args.constraints)
    if args.torch:
        wrong += unlike_torch(args.torch)
    if args.pyproject:
        wrong += unmet(args.pyproject, args.extra, args.without)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        sys.exit(f"error: {wrong[0]}{more}")


if __name__ == "__main__":
    main()
