"""Sampling into a file, in deterministic shards.

A shard is a run of tasks with a seed of its own, (seed, stream, shard number), written whole and renamed. So the text
does not depend on how many processes work, nor on whether a run was interrupted: a killed run goes on from the last
whole shard and ends byte-identical to an unbroken one. On the CPU, shards are spread over processes of one thread
each (faster than threads within one small model); on an accelerator one process works.
"""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from ctypes import CDLL
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from stages.common import records
from stages.common.files import replacing
from stages.common.outputs import partial_of
from stages.common.progress import Progress
from stages.common.records import CONTEXT, Sample, Task
from stages.lm import devices
from stages.settings.sampling import SampleSettings

PR_SET_PDEATHSIG = 1  # prctl(2)
MERGED = "merged"  # in a folder of shards, beside them


class Drawer(Protocol):
    """Whatever draws samples: the embedded sampler, or the one that asks servers."""

    settings: SampleSettings

    def fingerprint(self, tasks: Sequence[Task]) -> str:
        """Digest of every input of the samples; shards of another fingerprint are never reused."""

    def unload(self) -> None:
        """Let go of what `load` brought, if it did: another sampler's model comes next."""


class ShardSampler(Drawer, Protocol):
    """Draws a whole shard in this process."""

    def load(self) -> None:
        """What is shared by all shards, before processes are forked."""

    def sample_shard(self, tasks: Sequence[Task], shard: int) -> list[Sample]:
        """`n` samples of each task, in the order of the tasks."""


@dataclass(frozen=True, slots=True)
class Work:
    """The shards of a run and where they go."""

    shards: list[Sequence[Task]]
    missing: list[int]  # numbers of the shards that are not there yet
    folder: Path

    def write(self, number: int, samples: list[Sample]) -> tuple[int, int]:
        """Write a shard, whole or not at all; (number, its tokens)."""
        records.write(_shard_file(self.folder, number), samples)
        return number, sum(sample.tokens or 0 for sample in samples)


# Makes what is needed to draw, and gives (figures for the timing, (shard, its tokens) as shards are finished).
Drawing = AbstractContextManager[tuple[dict[str, Any], Iterator[tuple[int, int]]]]
Spread = Callable[[Any, Work], Drawing]
Spreading = Callable[[], AbstractContextManager[Spread]]  # what several runs share lasts as long as it


@contextmanager
def over_processes() -> Iterator[Spread]:
    """Shards over processes of one thread each on the CPU, one process on an accelerator."""
    yield _in_processes


@contextmanager
def _in_processes(sampler: ShardSampler, work: Work) -> Iterator[tuple[dict[str, Any], Iterator[tuple[int, int]]]]:
    workers = 1
    if devices.device().type == "cpu":
        workers = min(sampler.settings.workers or len(os.sched_getaffinity(0)), len(work.missing))
        devices.use_threads(1)
    sampler.load()
    yield {"processes": workers}, _run_shards(sampler, work, workers)


def sample_to_file(
    sampler: Drawer, tasks: Sequence[Task], out: Path, spreading: Spreading = over_processes
) -> dict[str, Any]:
    """As `sample_to_files`, of one file."""
    return sample_to_files([(sampler, out)], tasks, spreading)[0]


def sample_to_files(
    runs: Sequence[tuple[Drawer, Path]], tasks: Sequence[Task], spreading: Spreading = over_processes
) -> list[dict[str, Any]]:
    """For each (sampler, file) draw `n` samples of every task into that JSON Lines file, in the order of the tasks.

    Whole shards are kept in `FILE.partial/` until every file is there, since DVC removes what a stage had written when
    it starts the stage again. Returns for each what varies from run to run: seconds, tokens per second (of shards drawn
    in this run), processes or servers; and how many tasks' prompts the model's context does not hold. Raises InputError
    for a broken checkpoint.
    """
    with spreading() as spread:
        drawn = [_to_shards(sampler, tasks, out, spread) for sampler, out in runs]
    timings = [
        {**timing, "tasks_beyond_the_context": _join(shards, out)}
        for (shards, timing), (_, out) in zip(drawn, runs, strict=True)
    ]
    for _, out in runs:
        shutil.rmtree(_partial(out))
    return timings


def _partial(out: Path) -> Path:
    return partial_of(out)


def _to_shards(sampler: Drawer, tasks: Sequence[Task], out: Path, spread: Spread) -> tuple[list[Path], dict[str, Any]]:
    """Draw what is missing; (the shards' files in order, timing)."""
    partial = _partial(out)
    folder = partial / sampler.fingerprint(tasks)
    for stale in partial.glob("*"):
        if stale != folder and stale.is_dir():
            shutil.rmtree(stale)
    folder.mkdir(parents=True, exist_ok=True)
    size = sampler.settings.shard
    shards = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    missing = [number for number in range(len(shards)) if not _shard_file(folder, number).exists()]
    if len(missing) < len(shards):
        print(f"{out}: {len(shards) - len(missing)} of {len(shards)} shards are there, going on", flush=True)
    work = Work(shards, missing, folder)
    if not missing:  # the whole model that a killed run made of an adapter for its servers
        shutil.rmtree(folder / MERGED, ignore_errors=True)
    timing = _draw(sampler, work, spread, f"sample {out.stem}") if missing else {}
    sampler.unload()
    return [_shard_file(folder, number) for number in range(len(shards))], timing


def _join(shards: Sequence[Path], out: Path) -> int:
    """Write the shards as one file; the number of tasks whose prompts are too long, which is told."""
    too_long = set()
    with replacing(out) as file:
        for path in shards:
            with path.open(encoding="utf-8") as shard:
                shutil.copyfileobj(shard, file)
            found = records.read(Sample, path, unique=False)
            too_long |= {sample.task_id for sample in found if sample.finish_reason == CONTEXT}
    if too_long:
        print(
            f"{out}: the prompts of {len(too_long)} tasks do not fit into the model's context: no answers", flush=True
        )
    return len(too_long)


def _shard_file(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05}.jsonl"


def _draw(sampler: Drawer, work: Work, spread: Spread, label: str) -> dict[str, Any]:
    shards = work.shards
    done = sum(map(len, shards)) - sum(len(shards[number]) for number in work.missing)
    tokens = 0
    with spread(sampler, work) as (who, finished):
        started = time.monotonic()
        with Progress(label, sum(map(len, shards)), "tasks", done) as progress:
            for number, count in finished:
                tokens += count
                progress.update(len(shards[number]), f"{tokens / progress.seconds:,.0f} tokens/s")
        seconds = time.monotonic() - started
    return {
        "sample_seconds": round(seconds, 3),
        "sampled_tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "samples_per_second": round(sum(len(shards[n]) for n in work.missing) * sampler.settings.n / seconds, 2),
        **who,
    }


_worker_state: tuple[ShardSampler, Work] | None = None


def _run_shards(sampler: ShardSampler, work: Work, workers: int) -> Iterator[tuple[int, int]]:
    """Yield (shard, its tokens) as shards are finished."""
    global _worker_state  # noqa: PLW0603 - forked workers inherit the loaded model through it, unpickled
    _worker_state = (sampler, work)
    if workers == 1:
        yield from map(_work, work.missing)
        return
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=fork, initializer=_start_worker, initargs=(os.getpid(),)) as pool:
        futures = [pool.submit(_work, number) for number in work.missing]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker(parent: int) -> None:
    """Die with the parent, however it dies; leave Ctrl-C to it."""
    CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)


def _work(number: int) -> tuple[int, int]:
    assert _worker_state is not None
    sampler, work = _worker_state
    return work.write(number, sampler.sample_shard(work.shards[number], number))
