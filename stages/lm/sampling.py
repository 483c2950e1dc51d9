"""Sampling from a checkpoint that is loaded here."""

import gc
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from stages.common.files import value_hash
from stages.common.records import CONTEXT, Sample, Task
from stages.lm import load
from stages.lm.capacity import cache_bytes, fitting_batch, free_memory
from stages.lm.chat import end_ids, prompt_ids
from stages.lm.decoding import Decoder, Drawn
from stages.lm.generating import Drawing, generate
from stages.lm.rows import NAME, agrees
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings

STEPS_BETWEEN_LOOKS = 8  # on an accelerator, where each look at what has ended waits for it


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
        load.expect_vocabulary(self.model, self.tokenizer, self.checkpoint)
        # What a checkpoint's generation_config.json brings (top_k, a repetition penalty) would apply unseen.
        self.model.generation_config = GenerationConfig()
        self.vocabulary = self.model.get_input_embeddings().weight.shape[0]
        self.own_loop = agrees(self.model, self.vocabulary)
        if self.own_loop:
            self.model.set_attn_implementation(NAME)
        else:
            print(f"{self.checkpoint}: an architecture for which transformers' generate draws, not the loop of ours")
        self.free = free_memory(self.settings.workers)
        accelerator = self.model.device.type != "cpu"
        compiled = accelerator if self.settings.compile == "auto" else self.settings.compile == "always"
        s = self.settings
        how = (self.model, self.ends, s.temperature, s.top_p, s.max_new_tokens, s.batch)
        self.decoder = Decoder(*how, every=STEPS_BETWEEN_LOOKS if accelerator else 1, compiled=compiled)

    def unload(self) -> None:
        """Let go of model and decoder; nothing where they were not loaded."""
        for name in ("model", "decoder"):
            self.__dict__.pop(name, None)
        gc.collect()  # a compiled decoder refers to itself
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

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
        """`n` samples of each task, in the order of the tasks. A prompt that leaves no room in the model's context has
        empty ones, with the finish reason `context`."""
        seed = self.shard_seed(shard)
        encoded = [prompt_ids(self.tokenizer, t.prompt, t.language, self.prompts) for t in tasks]
        rooms = [self.room(len(ids)) for ids in encoded]
        fitting = [index for index, room in enumerate(rooms) if room > 0]
        prompts, left = [encoded[i] for i in fitting], [rooms[i] for i in fitting]
        answers = dict(zip(fitting, self._draw(prompts, left, seed) if prompts else [], strict=True))
        nothing = [Drawn([], None)] * self.settings.n
        return [
            self._record(task, number, drawn, seed, rooms[index])
            for index, task in enumerate(tasks)
            for number, drawn in enumerate(answers.get(index, nothing))
        ]

    def room(self, length: int) -> int:
        """Tokens that an answer may have behind a prompt of `length`."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        return self.settings.max_new_tokens if not positions else min(self.settings.max_new_tokens, positions - length)

    def _draw(self, prompts: list[list[int]], rooms: list[int], seed: int) -> list[list[Drawn]]:
        s = self.settings
        length = max(len(prompt) + room for prompt, room in zip(prompts, rooms, strict=True))
        batch = s.batch or fitting_batch(self.free, cache_bytes(self.model), length, self.vocabulary)
        if not self.own_loop:
            how = Drawing(s.n, s.temperature, s.top_p)
            return generate(self.model, self.tokenizer, self.ends, how, batch, prompts, rooms, seed)
        self.decoder.batch = batch
        return self.decoder.draw(prompts, s.n, rooms, seed)

    def _record(self, task: Task, number: int, drawn: Drawn, seed: int, room: int) -> Sample:
        ids = drawn.ids
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
            finish_reason="stop" if ended else "length" if room > 0 else CONTEXT,
            logprob=None if drawn.logprob is None else round(drawn.logprob, 4),
        )
