"""How far verifying is: a live bar in a terminal, else a plain line every ten seconds. On stderr."""

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

PLAIN_SECONDS = 10.0


def count_lines(path: Path) -> int | None:
    """Lines of a file; None where it cannot be read twice, as a pipe."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


class Progress:
    """Rate (programs per second), pass rate so far and time left, while the block lasts."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total = what, total
        self._began = self._said = time.monotonic()
        console = Console(stderr=True)
        self._bar = None
        if console.is_terminal:
            text = TextColumn("{task.fields[rate]:.0f}/s, pass rate {task.fields[passed]:.3f}")
            columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), text, TimeRemainingColumn())
            self._bar = Bar(*columns, console=console, transient=True)
            self._task = self._bar.add_task(what, total=total, rate=0.0, passed=0.0)

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, done: int, pass_rate: float) -> None:
        """`done` programs are judged, `pass_rate` of them passed."""
        now = time.monotonic()
        rate = done / max(now - self._began, 1e-9)
        if self._bar:
            self._bar.update(self._task, completed=done, rate=rate, passed=pass_rate)
        elif now - self._said >= PLAIN_SECONDS:
            self._said = now
            left = f", {(self._total - done) / rate:.0f} s left" if self._total else ""
            total = f"/{self._total}" if self._total else ""
            line = f"{self._what}: {done}{total}, {rate:.0f} programs/s, pass rate {pass_rate:.3f}{left}"
            print(line, file=sys.stderr, flush=True)
