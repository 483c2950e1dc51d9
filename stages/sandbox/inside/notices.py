"""Warnings and log records of the module under test, for tests that look at them.

They are collected where they arise and raised again where the tests run, with the filters, handlers and levels that
hold there. Nothing else of the module's crosses so: a category and a text, or a logger's name, a level and a text.

Runs inside the sandbox and imports the standard library alone.
"""

import builtins
import warnings
from typing import Any

LIMIT = 1000  # notices between two messages
TEXT_LENGTH = 2000


class Collected:
    """What arises in this process from now on."""

    def __init__(self) -> None:
        import logging  # here, so that the zygote stays small: each job is a copy of it

        self._held: list[list] = []
        warnings.simplefilter("always")
        warnings.showwarning = self._warned
        root = logging.getLogger()
        root.setLevel(1)
        handler = logging.Handler(level=1)
        handler.emit = self._logged  # type: ignore[method-assign]
        root.addHandler(handler)

    def _warned(self, message: Any, category: type, *_where: Any, **_more: Any) -> None:
        known = (base.__name__ for base in category.__mro__ if getattr(builtins, base.__name__, None) is base)
        self._hold(["warning", next(known, "Warning"), str(message)[:TEXT_LENGTH]])

    def _logged(self, record: Any) -> None:
        self._hold(["log", record.name, record.levelno, record.getMessage()[:TEXT_LENGTH]])

    def _hold(self, notice: list) -> None:
        if len(self._held) < LIMIT:
            self._held.append(notice)

    def taken(self) -> list:
        """Those since the last call."""
        held, self._held = self._held, []
        return held


def raise_again(notices: Any) -> None:
    """Warn and log as the other process has. Raises the warnings that are errors here."""
    import logging

    for kind, name, *rest in notices:
        if kind == "warning":
            category = getattr(builtins, name, None)
            if isinstance(category, type) and issubclass(category, Warning):
                warnings.warn(str(rest[0]), category, stacklevel=2)
        elif kind == "log" and type(rest[0]) is int:
            logging.getLogger(str(name)).log(rest[0], "%s", str(rest[1]))
