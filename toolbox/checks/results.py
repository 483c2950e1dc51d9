"""What a check says."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

GIB = 1024**3

Status = Literal["pass", "warning", "fail", "skipped"]


@dataclass(frozen=True)
class Result:
    """One check's verdict. `item` is its number in docs/HARDWARE_NOTES.md, `found` what was seen (of a skipped one:
    why), `expected` what should have been, `remedy` how to mend it, `figures` what was measured (units in their
    names)."""

    item: int
    name: str
    status: Status
    found: str
    expected: str = ""
    remedy: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """As it is printed."""
        bad = self.status in ("fail", "warning")
        expected = f"; expected {self.expected}" if self.expected and bad else ""
        remedy = f"  ->  {self.remedy}" if self.remedy else ""
        return f"{self.status:8} {self.item:2} {self.name:22} {self.found}{expected}{remedy}"


@dataclass(frozen=True)
class Isolated:
    """A check that could hang or crash its process: `function` is MODULE:NAME, called with whether all is asked for;
    `seconds` is the longest that it may take."""

    item: int
    name: str
    function: str
    seconds: float


def cause(error: BaseException | str) -> str:
    """The first line of an error, short enough for a row."""
    lines = str(error).strip().splitlines()
    named = f"{type(error).__name__}: " if isinstance(error, BaseException) else ""
    return (named + (lines[0] if lines else "no message"))[:200]


def text(path: Path) -> str | None:
    """A file of the kernel's; None where it is not there, or closed to this user."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def number(path: Path) -> int | None:
    """The whole number in a file of the kernel's; None where there is none."""
    found = text(path)
    return int(found) if found and found.lstrip("-").isdigit() else None


def gib(count: float) -> str:
    """Bytes, for people."""
    return f"{count / GIB:.1f} GiB"


def is_root() -> bool:
    """Whether this user may do all."""
    return os.geteuid() == 0
