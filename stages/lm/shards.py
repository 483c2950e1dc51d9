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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from ctypes import CDLL
from pathlib import Path
from typing import Any

import torch

from stages.common import records
from stages.common.files import replacing
from stages.common.progress import Progress
from stages.common.records import Task
from stages.lm import devices
from stages.lm.sampling import Sampler

PR_SET_PDEATHSIG = 1  # prctl(2)


def sample_to_file(sampler: Sampler, tasks: Sequence[Task], out: Path) -> dict[str, Any]:
    """Draw `n` samples of every task into the JSON Lines file `out`, in the order of the tasks.

    Whole shards are kept in `OUT.partial/` until the end. Returns what varies from run to run: seconds, tokens per
    second (of shards drawn in this run), processes. Raises InputError for a broken checkpoint or too long a prompt.
    """
    partial = out.with_name(out.name + ".partial")
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
    timing = _draw(sampler, shards, missing, folder, f"sample {out.stem}") if missing else {}
    with replacing(out) as file:
        for number in range(len(shards)):
            with _shard_file(folder, number).open(encoding="utf-8") as shard:
                shutil.copyfileobj(shard, file)
    shutil.rmtree(partial)
    return timing


def _shard_file(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05}.jsonl"


def _draw(
    sampler: Sampler, shards: list[Sequence[Task]], missing: list[int], folder: Path, label: str
) -> dict[str, Any]:
    workers = 1
    if devices.device().type == "cpu":
        workers = min(sampler.settings.workers or len(os.sched_getaffinity(0)), len(missing))
        devices.use_threads(1)
    sampler.load()
    done = sum(len(tasks) for number, tasks in enumerate(shards) if number not in set(missing))
    tokens = 0
    started = time.monotonic()
    with Progress(label, sum(map(len, shards)), "tasks", done) as progress:
        for number, count in _run_shards(sampler, shards, missing, folder, workers):
            tokens += count
            progress.update(len(shards[number]), f"{tokens / progress.seconds:,.0f} tokens/s")
    seconds = time.monotonic() - started
    return {
        "sample_seconds": round(seconds, 3),
        "sampled_tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "samples_per_second": round(sum(len(shards[n]) for n in missing) * sampler.settings.n / seconds, 2),
        "processes": workers,
    }


_worker_state: tuple[Sampler, list[Sequence[Task]], Path] | None = None


def _run_shards(
    sampler: Sampler, shards: list[Sequence[Task]], missing: list[int], folder: Path, workers: int
) -> Iterator[tuple[int, int]]:
    """Yield (shard, its tokens) as shards are finished."""
    global _worker_state  # noqa: PLW0603 - forked workers inherit the loaded model through it, unpickled
    _worker_state = (sampler, shards, folder)
    if workers == 1:
        yield from map(_work, missing)
        return
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=fork, initializer=_start_worker, initargs=(os.getpid(),)) as pool:
        futures = [pool.submit(_work, number) for number in missing]
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
    sampler, shards, folder = _worker_state
    samples = sampler.sample_shard(shards[number], number)
    records.write(_shard_file(folder, number), samples)
    return number, sum(sample.tokens or 0 for sample in samples)
