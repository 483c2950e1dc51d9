"""The judges of one machine: threads, each with a sandbox of its own."""

import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, Self

from stages.common.records import Task
from stages.sandbox import Gate, Sandbox
from stages.verifiers.base import Verifier
from stages.verifiers.verdicts import Finding

JOIN_SECONDS = 0.1


class Executor(Protocol):
    """Whatever judges programs: this machine's threads, or a cluster. A context manager; its end ends what runs."""

    workers: int  # programs judged at once

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def submit(self, task: Task, code: str) -> "Future[Finding]":
        """The finding on `code` to come."""


@dataclass(frozen=True, slots=True)
class _Work:
    task: Task
    code: str
    future: Future


class Judges:
    """`workers` threads that judge. A sandbox starts with its first program."""

    def __init__(self, workers: int, verifiers: Mapping[str, Verifier]) -> None:
        self.workers = workers
        self._verifiers = verifiers
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        gate = Gate()
        self._sandboxes = [Sandbox(gate) for _ in range(workers)]
        self._threads = [threading.Thread(target=self._work, args=(s,), daemon=True) for s in self._sandboxes]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        while not self._queue.empty():  # what waits is not begun any more
            self._queue.get()
        for _ in self._threads:
            self._queue.put(None)
        for sandbox in self._sandboxes:
            sandbox.close()
        for thread, sandbox in zip(self._threads, self._sandboxes, strict=True):
            while thread.is_alive():
                thread.join(JOIN_SECONDS)
                sandbox.close()  # also what the thread was about to start when it was closed first

    def submit(self, task: Task, code: str) -> Future[Finding]:
        """The finding on `code` to come."""
        future: Future[Finding] = Future()
        self._queue.put(_Work(task, code, future))
        return future

    def _work(self, sandbox: Sandbox) -> None:
        while (work := self._queue.get()) is not None:
            try:
                finding = self._verifiers[work.task.verifier].verify(work.task, work.code, sandbox)
            except BaseException as error:  # raised again where the verdict is asked for
                work.future.set_exception(error)
            else:
                work.future.set_result(finding)
