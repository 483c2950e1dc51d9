"""Many at once, or one alone."""

import contextlib
import threading
from collections.abc import Iterator


class Gate:
    """Lets through any number of `shared` users, or a single `alone` one; who waits to be alone goes first."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._inside = 0
        self._waiting = 0
        self._locked = False

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Run beside others."""
        with self._change:
            self._change.wait_for(lambda: not self._locked and not self._waiting)
            self._inside += 1
        try:
            yield
        finally:
            with self._change:
                self._inside -= 1
                self._change.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Run while nobody else does."""
        with self._change:
            self._waiting += 1
            try:
                self._change.wait_for(lambda: not self._locked and not self._inside)
            finally:
                self._waiting -= 1
            self._locked = True
        try:
            yield
        finally:
            with self._change:
                self._locked = False
                self._change.notify_all()
