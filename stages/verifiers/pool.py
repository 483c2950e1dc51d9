"""Judging many samples at once: all cores busy, verdicts in the samples' order, memory flat.

`verify_samples` is what scripts call. A program that was judged before, in this run or in an earlier one, is not
judged again. What judges is this machine (judges.py) or a cluster (cluster.py).
"""

import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any

from stages.common.errors import InputError, SandboxError
from stages.common.records import Sample, Task, Verdict
from stages.extraction.code import extract_code
from stages.sandbox import probe
from stages.settings.verify import VerifySettings
from stages.verifiers import make
from stages.verifiers.base import Verifier
from stages.verifiers.cache import VerdictCache
from stages.verifiers.judges import Executor, Judges
from stages.verifiers.keys import Keys
from stages.verifiers.verdicts import Finding

WINDOW_PER_WORKER = 32  # samples in flight
WINDOW_CHARACTERS = 32 << 20  # of code in flight, however few samples that is
REMEMBERED = 4096  # findings kept for identical code of the same task
FLUSH_SECONDS = 1.0  # how long a finding waits for the cache while none comes


@dataclass
class Work:
    """What a run had to do: samples by where their verdict came from, judges at once, the verifiers' fingerprints."""

    judged: int = 0
    cache_hits: int = 0
    repeated: int = 0  # same program as shortly before
    workers: int = 0
    fingerprints: dict[str, Any] = field(default_factory=dict)


def worker_count(settings: VerifySettings) -> int:
    """Judges at work at once on this machine."""
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


def make_judges(
    tasks: Mapping[str, Task], settings: VerifySettings, verifiers: Mapping[str, Verifier], keys: Keys
) -> Executor:
    """What judges, as `verify.executor` says; nothing is started yet. SandboxError where there is no sandbox."""
    if settings.executor == "ray":
        from stages.verifiers.cluster import ClusterJudges

        return ClusterJudges(tasks, settings, verifiers, keys)
    if trouble := probe():
        raise SandboxError(trouble)
    return Judges(worker_count(settings), verifiers)


def verify_samples(
    tasks: Mapping[str, Task],
    samples: Iterable[Sample],
    settings: VerifySettings,
    verifiers: Mapping[str, Verifier] | None = None,
    work: Work | None = None,
    extract: Callable[[str, Task], str] = extract_code,
) -> Iterator[Verdict]:
    """One verdict per sample, in order, on the program that `extract` finds in its completion.

    Everything is checked before anything runs: raises SandboxError where there is no sandbox or no compiler, also if
    the cache would know all verdicts, and InputError for an unknown verifier; then InputError for a sample of an
    unknown task as it comes. A cluster is asked for with the first program that has to be judged. Closing the
    iterator ends all that runs. `verifiers` are those of make_verifiers, where the caller has them already; `work` is
    filled in as the run goes on.
    """
    if verifiers is None:
        verifiers = make_verifiers(tasks, settings)
    keys = Keys(settings, verifiers)
    judges = make_judges(tasks, settings, verifiers, keys)
    work = work or Work()
    work.fingerprints = keys.fingerprints
    return _stream(tasks, samples, settings, judges, keys, work, extract)


def _stream(
    tasks: Mapping[str, Task],
    samples: Iterable[Sample],
    settings: VerifySettings,
    judges: Executor,
    keys: Keys,
    work: Work,
    extract: Callable[[str, Task], str],
) -> Iterator[Verdict]:
    pending: deque[tuple[Sample, Finding | Future[Finding], int]] = deque()
    weight = 0
    # The cache is closed first: what the end of the judges does to a running program is not its finding.
    with judges, VerdictCache(settings) as cache:
        findings = Findings(judges, keys, cache, work)
        for sample in samples:
            task = tasks.get(sample.task_id)
            if task is None:
                raise InputError(f"sample {sample.sample} of task '{sample.task_id}': no such task")
            code = extract(sample.completion, task)
            found = findings.of(task, code)
            if not pending and isinstance(found, Finding):
                yield verdict_of(sample, found)
                continue
            pending.append((sample, found, len(code)))
            weight += len(code)
            window = WINDOW_PER_WORKER * judges.workers
            while pending and (len(pending) > window or weight > WINDOW_CHARACTERS or _is_there(pending[0][1])):
                first, found, size = pending.popleft()
                weight -= size
                yield verdict_of(first, findings.wait(found))
        for sample, found, _ in pending:
            yield verdict_of(sample, findings.wait(found))
        work.workers = judges.workers


def _is_there(found: Finding | Future[Finding]) -> bool:
    return isinstance(found, Finding) or found.done()


def verdict_of(sample: Sample, found: Finding) -> Verdict:
    """The numbers are put into one type each, so that a verdict from the cache has the same bytes."""
    reward, passed, total = float(found.reward), int(found.tests_passed), int(found.tests_total)
    return Verdict(sample.task_id, sample.sample, reward, found.level, found.detail, passed, total)


class Findings:
    """The finding on each program: out of memory, from the cache, or to come from a judge. For one thread."""

    def __init__(self, judges: Executor, keys: Keys, cache: VerdictCache, work: Work) -> None:
        self._judges, self._keys, self._cache, self._work = judges, keys, cache, work
        self._known: OrderedDict[bytes, Finding | Future[Finding]] = OrderedDict()

    def of(self, task: Task, code: str) -> Finding | Future[Finding]:
        """The finding on `code`; identical code of the same task is judged once."""
        key = self._keys.of(task, code)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            self._work.repeated += 1
            return found
        lasting = self._keys.lasting(task)
        found = self._cache.get(key) if lasting else None
        if found is not None:
            self._work.cache_hits += 1
        else:
            self._work.judged += 1
            found = self._judges.submit(task, code)
            if lasting:
                found.add_done_callback(lambda future: self._keep(key, future))
        self._known[key] = found
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _keep(self, key: bytes, future: Future[Finding]) -> None:
        if future.exception() is None:
            self._cache.put(key, future.result())

    def wait(self, found: Finding | Future[Finding]) -> Finding:
        """The finding once it is there; in the meantime the cache gets what others have found."""
        if isinstance(found, Finding):
            return found
        while not found.done():
            wait((found,), timeout=FLUSH_SECONDS)
            self._cache.flush()
        self._cache.flush()
        return found.result()
