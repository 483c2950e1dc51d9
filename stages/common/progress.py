"""Progress of long work: a live bar in a terminal, a plain line now and then in a log. Both show rate and time left.

In a DVC project it is kept in a file as well while the work lasts, for `make watch`.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_STATES = 1.0
STATES = Path(".dvc/tmp/halo-forge")  # git ignores .dvc/tmp, and DVC does


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def process_field(process: Path, number: int) -> int | None:
    """A field behind the name, from 4 on, of a process's `stat` (proc_pid_stat(5)), by its folder in /proc; None where
    that does not tell."""
    try:
        return int(
            (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[number - 3]
        )
    except (OSError, ValueError, IndexError):
        return None


def start_ticks(process: Path) -> int | None:
    """When a process began, in clock ticks since the machine did. With the pid it names a process: another one may get
    its pid."""
    return process_field(process, 22)


class Progress:
    """Counts `total` items (None: unknown) of `unit` and writes to stderr; `done` items finished by an earlier run
    count as done, not towards the rate. `silent`: counts and writes nothing."""

    def __init__(self, label: str, total: int | None, unit: str, done: int = 0, silent: bool = False) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._before = done
        self._started = self._last_line = time.monotonic()
        self._note = ""
        self._silent = silent
        self._state: Path | None = None
        self._last_state = 0.0
        self._bar = self._live_bar() if sys.stderr.isatty() and not silent else None

    def _live_bar(self) -> RichProgress:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(self.unit + " {task.fields[note]}"),
            TimeRemainingColumn(),
        )
        bar = RichProgress(*columns, console=Console(stderr=True))
        self._task = bar.add_task(self.label, total=self.total, completed=self.done, note="")
        return bar

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        if not self._silent and STATES.parent.parent.is_dir():
            self._state = STATES / f"{os.getpid()}.json"
            self._keep()
            self._last_state = 0.0  # the first item is told at once
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._state:
            self._state.unlink(missing_ok=True)
        if self._bar:
            self._bar.stop()
        elif kind is None:
            self._line()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return max(time.monotonic() - self._started, 1e-9)

    def update(self, count: int = 1, note: str = "") -> None:
        """Count `count` more items as done; `note` is shown beside the rate."""
        self.done += count
        rate = (self.done - self._before) / self.seconds
        self._note = f"{rate:,.1f}/s {note}".rstrip()
        if self._state and time.monotonic() - self._last_state > SECONDS_BETWEEN_STATES:
            self._keep()
        if self._bar:
            self._bar.update(self._task, completed=self.done, note=self._note)
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._line()

    def _keep(self) -> None:
        """Write the state down. It is for onlookers: where it cannot be written, the work goes on."""
        self._last_state = time.monotonic()
        rate = (self.done - self._before) / self.seconds
        left = (self.total - self.done) / rate if self.total is not None and rate else None
        state = {"label": self.label, "unit": self.unit, "done": self.done, "total": self.total, "note": self._note}
        state |= {"spent": round(self.seconds, 1), "left": None if left is None else round(left, 1)}
        state["process_started"] = start_ticks(Path("/proc/self"))
        assert self._state
        part = self._state.with_suffix(".part")
        with contextlib.suppress(OSError):
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(state), encoding="utf-8")
            part.replace(self._state)

    def _line(self) -> None:
        if self._silent:
            return
        of = f"/{self.total:,}" if self.total is not None else ""
        rate = (self.done - self._before) / self.seconds
        left = f", {duration((self.total - self.done) / rate)} left" if self.total is not None and rate else ""
        spent = f", {duration(self.seconds)} spent"
        print(f"{self.label}: {self.done:,}{of} {self.unit}, {self._note}{spent}{left}", file=sys.stderr, flush=True)
