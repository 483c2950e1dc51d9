"""Judging many samples at once: all cores busy, verdicts in the samples' order, memory flat.

`verify_samples` is what scripts call. It starts no untrusted code itself: every thread has a sandbox of its own.
"""

import hashlib
import os
import queue
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from stages.common.code import extract_code
from stages.common.errors import InputError, SandboxError
from stages.common.records import Sample, Task, Verdict
from stages.sandbox import Gate, Sandbox, probe
from stages.settings.verify import VerifySettings
from stages.verifiers import make
from stages.verifiers.base import Verifier
from stages.verifiers.verdicts import Finding

WINDOW_PER_WORKER = 32  # samples in flight
WINDOW_CHARACTERS = 32 << 20  # of code in flight, however few samples that is
REMEMBERED = 4096  # findings kept for identical code of the same task


def worker_count(settings: VerifySettings) -> int:
    """Judges at work at once."""
    return settings.workers or len(os.sched_getaffinity(0))


def make_verifiers(tasks: Mapping[str, Task], settings: VerifySettings) -> dict[str, Verifier]:
    """The verifiers that the tasks name, checked.

    InputError for an unknown verifier or a task that its verifier cannot judge; SandboxError for a missing tool.
    """
    verifiers: dict[str, Verifier] = {}
    for task in tasks.values():
        try:
            if task.verifier not in verifiers:
                verifiers[task.verifier] = make(task.verifier, settings)
            verifiers[task.verifier].check_task(task)
        except InputError as error:
            raise InputError(f"task '{task.task_id}': {error}") from None
    for name, verifier in verifiers.items():
        if trouble := verifier.check():
            raise SandboxError(f"verifier '{name}': {trouble}")
    return verifiers


def verify_samples(
    tasks: Mapping[str, Task],
    samples: Iterable[Sample],
    settings: VerifySettings,
    verifiers: Mapping[str, Verifier] | None = None,
) -> Iterator[Verdict]:
    """One verdict per sample, in order.

    Everything is checked before anything runs: raises SandboxError where there is no sandbox or no compiler and
    InputError for an unknown verifier; then InputError for a sample of an unknown task as it comes. Closing the
    iterator ends all that runs. `verifiers` are those of make_verifiers, where the caller has them already.
    """
    if verifiers is None:
        verifiers = make_verifiers(tasks, settings)
    if trouble := probe():
        raise SandboxError(trouble)
    return _stream(tasks, samples, settings, verifiers)


def _stream(
    tasks: Mapping[str, Task],
    samples: Iterable[Sample],
    settings: VerifySettings,
    verifiers: Mapping[str, Verifier],
) -> Iterator[Verdict]:
    workers = worker_count(settings)
    pending: deque[tuple[Sample, Future, int]] = deque()
    weight = 0
    with _Judges(workers, verifiers) as judges:

        def next_verdict() -> Verdict:
            nonlocal weight
            sample, future, size = pending.popleft()
            weight -= size
            finding = future.result()
            return _verdict(sample, finding)

        for sample in samples:
            task = tasks.get(sample.task_id)
            if task is None:
                raise InputError(f"sample {sample.sample} of task '{sample.task_id}': no such task")
            code = extract_code(sample.completion, task)
            pending.append((sample, judges.submit(task, code), len(code)))
            weight += len(code)
            while pending and (
                len(pending) > WINDOW_PER_WORKER * workers or weight > WINDOW_CHARACTERS or pending[0][1].done()
            ):
                yield next_verdict()
        while pending:
            yield next_verdict()


def _verdict(sample: Sample, found: Finding) -> Verdict:
    return Verdict(
        sample.task_id, sample.sample, found.reward, found.level, found.detail, found.tests_passed, found.tests_total
    )


@dataclass(frozen=True, slots=True)
class _Work:
    task: Task
    code: str
    future: Future


class _Judges:
    """Threads that judge; identical code of the same task is judged once."""

    def __init__(self, workers: int, verifiers: Mapping[str, Verifier]) -> None:
        self._verifiers = verifiers
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._known: OrderedDict[bytes, Future] = OrderedDict()
        gate = Gate()
        self._sandboxes = [Sandbox(gate) for _ in range(workers)]
        self._threads = [threading.Thread(target=self._work, args=(s,), daemon=True) for s in self._sandboxes]

    def __enter__(self) -> "_Judges":
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
            thread.join()
            sandbox.close()

    def submit(self, task: Task, code: str) -> Future:
        """The finding on `code` to come; the same one for what is known already."""
        key = hashlib.blake2b(f"{task.task_id}\0{code}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        future = self._known.get(key)
        if future is None:
            future = self._known[key] = Future()
            self._queue.put(_Work(task, code, future))
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return future

    def _work(self, sandbox: Sandbox) -> None:
        while (work := self._queue.get()) is not None:
            try:
                finding = self._verifiers[work.task.verifier].verify(work.task, work.code, sandbox)
            except BaseException as error:  # raised again where the verdict is asked for
                work.future.set_exception(error)
            else:
                work.future.set_result(finding)
