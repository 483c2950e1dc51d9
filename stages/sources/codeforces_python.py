"""Problems of Codeforces, solved in Python. See stages/sources/codeforces.py."""

from collections.abc import Iterator

from stages.settings.sources import CodeforcesSettings
from stages.sources import Row
from stages.sources.codeforces import Language, load

HOW = Language(
    config="solutions_py",
    language="python",
    verifier="pytest",
    ask="Solve this problem with a Python 3 program that reads standard input and writes standard output.",
)


def rows(settings: CodeforcesSettings, hub: str | None, seed: int) -> Iterator[Row]:
    """A row for each program."""
    return load("codeforces_python", HOW, settings, hub)
