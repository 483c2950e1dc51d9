"""Problems of Codeforces, solved in C++. See stages/sources/codeforces.py."""

from collections.abc import Iterator

from stages.settings.sources import CodeforcesSettings
from stages.sources import Row
from stages.sources.codeforces import Language, load

HOW = Language(
    config="solutions",
    language="cpp",
    verifier="gcc",
    ask="Solve this problem with a C++17 program that reads standard input and writes standard output.",
)


def rows(settings: CodeforcesSettings, hub: str | None, seed: int) -> Iterator[Row]:
    """A row for each program."""
    return load("codeforces_cpp", HOW, settings, hub)
