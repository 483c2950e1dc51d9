"""Progress of long work: a live bar in a terminal, a plain line now and then in a log. Both show rate and time left."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 10.0


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """Counts `total` items (None: unknown) of `unit` and writes to stderr; `done` items finished by an earlier run
    count as done, not towards the rate. `silent`: counts and writes nothing."""

    def __init__(self, label: str, total: int | None, unit: str, done: int = 0, silent: bool = False) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._before = done
        self._started = self._last_line = time.monotonic()
        self._note = ""
        self._silent = silent
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
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
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
        if self._bar:
            self._bar.update(self._task, completed=self.done, note=self._note)
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._line()

    def _line(self) -> None:
        if self._silent:
            return
        of = f"/{self.total:,}" if self.total is not None else ""
        rate = (self.done - self._before) / self.seconds
        left = f", {_duration((self.total - self.done) / rate)} left" if self.total is not None and rate else ""
        spent = f", {_duration(self.seconds)} spent"
        print(f"{self.label}: {self.done:,}{of} {self.unit}, {self._note}{spent}{left}", file=sys.stderr, flush=True)
