"""Sampling with transformers' `generate`."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from stages.common.errors import InputError
from stages.common.files import value_hash
from stages.common.records import Sample, Task
from stages.lm import load
from stages.lm.chat import end_ids, prompt_ids
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings


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
        settings = self.settings.model_dump(exclude={"workers", "backend", "servers"})  # the others change the text
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
