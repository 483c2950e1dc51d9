"""Precompiled headers: what a C++ program includes at its very beginning is parsed once, not with every program.

A program's meaning stays the same: of the precompiled sets the largest is taken that holds nothing but headers that
the program itself begins with, before anything else that says something. A set is made when it is met for the second
time in a process, and kept with the toolchain's other files.
"""

import re
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from stages.verifiers.toolchain import Workshop

HEADERS = frozenset(
    re.findall(
        r"\S+",
        """bits/stdc++.h algorithm array bitset chrono cmath complex deque fstream functional iomanip iostream iterator
        limits list map math.h memory numeric optional queue random regex set sstream stack stdexcept string string_view
        thread tuple unordered_map unordered_set utility vector""",
    )
)
# These take so little time that they are no reason for a set of their own.
LIGHT = frozenset(
    re.findall(
        r"\S+",
        """assert.h cassert cctype cerrno cfloat climits cstdarg cstddef cstdint cstdio cstdlib cstring ctime ctype.h
        errno.h float.h inttypes.h limits.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h time.h cinttypes
        initializer_list""",
    )
)
LEADING = re.compile(
    r"(?:\s+|//[^\n]*(?:\n|\Z)|/\*.*?\*/|\#[ \t]*pragma[ \t]+once\b[^\n]*|\#[ \t]*include[ \t]*<(?P<header>[\w./+]+)>)",
    re.DOTALL,
)
MOST = 24  # sets kept
BUILD_AT = 4  # times that a set was met: making one takes as long as it saves on ten programs, but it stays


def leading_headers(text: str) -> frozenset[str]:
    """Standard headers that C++ text includes before all else; up to the first that is none."""
    found, at = set(), 0
    text = text.lstrip("\ufeff")
    while piece := LEADING.match(text, at):
        header = piece["header"]
        if header:
            if header not in HEADERS | LIGHT:
                break
            found.add(header)
        if "\\\n" in piece[0] or "??/" in piece[0]:
            break
        at = piece.end()
    return frozenset(found & HEADERS)


class Precompiled:
    """The sets in `workshop`, made by `compile(source, target)`: the command for one, with paths inside a sandbox.

    `extension` is that of what the compiler makes; `use(path)` gives the arguments that make it read a set, by the path
    of the header that has been compiled, less its extension. `test(arguments)` is a command that fails where they do
    not fit: a set that cannot be used must not be offered.
    """

    def __init__(
        self,
        workshop: Workshop,
        extension: str,
        compile_header: Callable[[str, str], list[str]],
        use: Callable[[str], list[str]],
        test: Callable[[list[str]], list[str]],
    ) -> None:
        self.workshop, self.extension = workshop, extension
        self.compile_header, self.use, self.test = compile_header, use, test
        self._lock = threading.Lock()
        self._met: dict[frozenset[str], int] = {}
        self._made = {self._of(path) for path in workshop.path.glob(f"*{extension}")}

    def _of(self, path: Path) -> frozenset[str]:
        return frozenset(path.name.removesuffix(self.extension).replace(",", "/").split("&"))

    def arguments(self, text: str) -> list[str]:
        """What to add to the command that compiles a program which begins with `text`."""
        wanted = leading_headers(text)
        if not wanted:
            return []
        if "bits/stdc++.h" in wanted:
            wanted = frozenset(("bits/stdc++.h",))
        if wanted not in self._made:
            self._meet(wanted)
        fitting = [made for made in list(self._made) if made <= wanted]
        if not fitting:
            return []
        best = max(fitting, key=lambda made: (len(made), sorted(made)))
        return self.use(f"{self.workshop.at}/{self._name(best)}")

    def _name(self, wanted: frozenset[str]) -> str:
        return "&".join(sorted(wanted)).replace("/", ",")

    def _meet(self, wanted: frozenset[str]) -> None:
        with self._lock:
            self._met[wanted] = self._met.get(wanted, 0) + 1
            if self._met[wanted] == BUILD_AT and wanted not in self._made and len(self._made) < MOST:
                self.make(wanted)

    def make(self, wanted: frozenset[str]) -> None:
        """Compile a set. A compiler that cannot leaves all as it was: programs compile without, if more slowly."""
        name, folder = self._name(wanted), self.workshop.path
        (folder / f"{name}.h").write_text("".join(f"#include <{header}>\n" for header in sorted(wanted)))
        part = f"{name}.{secrets.token_hex(4)}"
        at = self.workshop.at
        done = self.workshop.run(self.compile_header(f"{at}/{name}.h", f"{at}/{part}"))
        if done.returncode:
            (folder / part).unlink(missing_ok=True)
            return
        (folder / part).rename(folder / f"{name}{self.extension}")
        if self.workshop.run(self.test(self.use(f"{at}/{name}"))).returncode:
            (folder / f"{name}{self.extension}").unlink()
            return
        self._made.add(wanted)
