"""Sampling in deterministic shards with transformers' `generate`.

A shard is a run of tasks with a seed of its own, (seed, stream, shard number), written whole and renamed. So the text
does not depend on how many processes work, nor on whether a run was interrupted: a killed run goes on from the last
whole shard and ends byte-identical to an unbroken one. On the CPU, shards are spread over processes of one thread
each (faster than threads within one small model); on an accelerator one process works.
"""

import hashlib
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from ctypes import CDLL
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from stages.common import records
from stages.common.errors import InputError
from stages.common.files import replacing, value_hash
from stages.common.progress import Progress
from stages.common.records import Sample, Task
from stages.lm import load
from stages.lm.chat import end_ids, prompt_ids
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings

PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass
class Sampler:
    """All that a shard's text depends on, beside its tasks."""

    checkpoint: Path
    settings: SampleSettings
    prompts: PromptSettings
    compute: ComputeSettings
    seed: int
    stream: str  # names an independent sequence of seeds: `cycle-2`, `benchmark`
    cycle: str | None = None

    def load(self) -> None:
        """Load tokenizer and model."""
        self.tokenizer: PreTrainedTokenizerBase = load.load_tokenizer(self.checkpoint)
        self.ends = end_ids(self.tokenizer)
        self.model = load.load_model(self.checkpoint, self.compute)
        # What a checkpoint's generation_config.json brings (top_k, a repetition penalty) would apply unseen.
        self.model.generation_config = GenerationConfig()

    def shard_seed(self, shard: int) -> int:
        """63 bits of SHA-256 over (seed, stream, shard)."""
        digest = hashlib.sha256(f"{self.seed}/{self.stream}/{shard}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def fingerprint(self, tasks: Sequence[Task]) -> str:
        """Digest of every input of the samples; shards of another fingerprint are never reused."""
        tasks_digest = value_hash([[t.task_id, t.language, t.prompt] for t in tasks])
        settings = self.settings.model_dump(exclude={"workers"})  # the one that does not change the text
        origin = load.origin(self.checkpoint, self.compute)
        return value_hash([origin, tasks_digest, settings, self.prompts.system, self.seed, self.stream])

    def sample_shard(self, tasks: Sequence[Task], shard: int) -> list[Sample]:
        """`n` samples of each task, in the order of the tasks."""
        seed = self.shard_seed(shard)
        torch.manual_seed(seed)
        encoded = [prompt_ids(self.tokenizer, t.prompt, t.language, self.prompts) for t in tasks]
        for task, ids in zip(tasks, encoded, strict=True):
            self._expect_room(task, len(ids))
        # Prompts of like length share a batch, so that little is padded.
        order = sorted(range(len(tasks)), key=lambda i: len(encoded[i]))
        at_a_time = max(1, self.settings.batch // self.settings.n)
        drawn: dict[int, list[list[int]]] = {}
        for start in range(0, len(order), at_a_time):
            chosen = order[start : start + at_a_time]
            for index, answers in zip(chosen, self._generate([encoded[i] for i in chosen]), strict=True):
                drawn[index] = answers
        return [
            self._record(task, number, ids, seed)
            for index, task in enumerate(tasks)
            for number, ids in enumerate(drawn[index])
        ]

    def _expect_room(self, task: Task, length: int) -> None:
        positions = getattr(self.model.config, "max_position_embeddings", None)
        if positions and length + self.settings.max_new_tokens > positions:
            raise InputError(
                f"task {task.task_id}: its prompt of {length} tokens and sample.max_new_tokens of "
                f"{self.settings.max_new_tokens} exceed the model's context of {positions} tokens"
            )

    def _generate(self, prompts: list[list[int]]) -> Iterator[list[list[int]]]:
        """Token ids of `n` answers for each prompt, cut behind the first token that ends one."""
        s, tokenizer = self.settings, self.tokenizer
        width = max(map(len, prompts))
        pads = [width - len(ids) for ids in prompts]
        device = self.model.device
        ids = torch.tensor([[tokenizer.pad_token_id] * pad + p for pad, p in zip(pads, prompts, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * len(p) for pad, p in zip(pads, prompts, strict=True)])
        how = {"do_sample": True, "temperature": s.temperature, "top_p": s.top_p, "top_k": 0}
        if s.temperature == 0:
            how = {"do_sample": False}
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=s.max_new_tokens,
                num_return_sequences=s.n if s.temperature else 1,
                eos_token_id=self.ends,
                pad_token_id=tokenizer.pad_token_id,
                **how,
            )
        answers = [self._cut(row) for row in out[:, width:].tolist()]
        if not s.temperature:  # greedy answers are all the same
            answers = [answer for answer in answers for _ in range(s.n)]
        for start in range(0, len(answers), s.n):
            yield answers[start : start + s.n]

    def _cut(self, row: list[int]) -> list[int]:
        length = next((number for number, token in enumerate(row, 1) if token in self.ends), len(row))
        return row[:length]

    def _record(self, task: Task, number: int, ids: list[int], seed: int) -> Sample:
        ended = bool(ids) and ids[-1] in self.ends
        return Sample(
            task_id=task.task_id,
            sample=number,
            completion=self.tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True),
            checkpoint=self.checkpoint.name,
            cycle=self.cycle,
            seed=seed,
            temperature=self.settings.temperature,
            tokens=len(ids),
            finish_reason="stop" if ended else "length",
        )


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
    if load.device().type == "cpu":
        workers = min(sampler.settings.workers or len(os.sched_getaffinity(0)), len(missing))
        load.use_threads(1)
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
