"""What GRPO draws and what it is paid: completions of a generation, verified while the next ones are drawn, on file.

A generation has a seed of its own, (seed, run, number), and two files, samples and verdicts, written whole. So a run
that was killed goes on from a checkpoint, draws what came after it again, and ends with the same records.
"""

import hashlib
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from stages.common import records
from stages.common.errors import InputError
from stages.common.records import Sample, Task, Verdict
from stages.lm.chat import end_ids, prompt_ids
from stages.lm.decoding import Decoder
from stages.lm.generating import Drawing
from stages.lm.generating import generate as library_generate
from stages.lm.rows import NAME, agrees
from stages.settings.grpo import GrpoSettings
from stages.settings.prompts import PromptSettings


class Judge(Protocol):
    """Whoever verifies samples: takes some, goes on working, is asked for the verdicts later."""

    def submit(self, samples: Sequence[Sample]) -> Any:
        """Begin to verify; returns at once."""

    def verdicts(self, submitted: Any) -> list[Verdict]:
        """The verdicts in the samples' order, once they are there. Raises where the machine is at fault."""

    def reward(self, verdict: Verdict) -> float | None:
        """What a verdict pays, 0..1; None where it says nothing about the sample."""


@dataclass(frozen=True)
class Prompt:
    """A task with its prompt's token ids, by the chat template."""

    task: Task
    ids: list[int]


def fitting(
    tasks: Sequence[Task],
    tokenizer: PreTrainedTokenizerBase,
    model: Any,
    settings: GrpoSettings,
    prompts: PromptSettings,
) -> tuple[list[Prompt], int]:
    """The tasks whose prompt leaves room for a completion in the model's context, and how many have none.

    Raises InputError where none is left.
    """
    encoded = [Prompt(task, prompt_ids(tokenizer, task.prompt, task.language, prompts)) for task in tasks]
    positions = getattr(model.config, "max_position_embeddings", None) or math.inf
    fit = [p for p in encoded if len(p.ids) + settings.max_completion_length <= positions]
    if not fit:
        raise InputError(
            f"grpo.max_completion_length: {settings.max_completion_length} tokens and a prompt exceed the model's "
            f"context of {positions} tokens, for each of {len(encoded)} tasks"
        )
    return fit, len(encoded) - len(fit)


@dataclass
class Rollouts:
    """The generations of one run, in `folder`. `seconds` are those spent generating and waiting for verdicts."""

    name: str
    prompts: Sequence[Prompt]
    settings: GrpoSettings
    tokenizer: PreTrainedTokenizerBase
    judge: Judge
    folder: Path
    seed: int
    generations: int
    seconds: dict[str, float] = field(default_factory=lambda: {"generate": 0.0, "wait": 0.0})
    tokens: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ends = end_ids(self.tokenizer)
        self.order = list(self._order())
        self._visits = _visits(self.order)
        self._submitted: list[tuple[list[Sample], Any]] = []

    def _order(self) -> Iterator[int]:
        """Prompts of the whole run, by number: one shuffled pass over all of them after another."""
        missing = self.generations * self.settings.prompts_per_generation
        shuffled = random.Random(f"{self.seed}/{self.name}")
        while missing > 0:
            order = list(range(len(self.prompts)))
            shuffled.shuffle(order)
            yield from order[:missing]
            missing -= len(order)

    def prompt(self, row: int) -> Prompt:
        """The prompt of one place in the run's order."""
        return self.prompts[self.order[row]]

    def file(self, generation: int, kind: str) -> Path:
        """Where the `samples` or `verdicts` of a generation lie."""
        return self.folder / f"{generation:06}.{kind}.jsonl"

    def keep(self, generations: int) -> bool:
        """Remove the files from that generation on; False, and all are gone, where an earlier one is missing."""
        kept = {self.file(number, kind) for number in range(generations) for kind in ("samples", "verdicts")}
        whole = all(path.is_file() for path in kept)
        for path in self.folder.iterdir():
            if not whole or path not in kept:
                path.unlink()
        return whole

    def draw(self, model: Any, rows: Sequence[int], step: int) -> dict[str, list]:
        """Completions of a generation, `num_generations` for each place of the run's order in `rows`.

        Returns token ids as TRL takes them from a `rollout_func`. Prompts of like length are drawn together; each
        batch is handed to the judge before the next one is drawn.
        """
        began = time.monotonic()
        seed = self._generation_seed(step)
        count = self.settings.num_generations
        by_length = sorted(rows, key=lambda row: len(self.prompt(row).ids))
        at_a_time = max(1, self.settings.generation_batch // count)
        drawn: dict[int, list[list[int]]] = {}
        submitted: dict[int, tuple[list[Sample], Any]] = {}
        for start in range(0, len(by_length), at_a_time):
            chosen = by_length[start : start + at_a_time]
            groups = generate(
                model, self.tokenizer, [self.prompt(row).ids for row in chosen], self.settings, self.ends, seed + start
            )
            for row, answers in zip(chosen, groups, strict=True):
                drawn[row] = answers
                samples = list(self._samples(row, answers, seed, step))
                submitted[row] = samples, self.judge.submit(samples)
        self._submitted = [submitted[row] for row in rows]
        self.tokens += sum(len(answer) for answers in drawn.values() for answer in answers)
        self.seconds["generate"] += time.monotonic() - began
        return {
            "prompt_ids": [self.prompt(row).ids for row in rows for _ in range(count)],
            "completion_ids": [answer for row in rows for answer in drawn[row]],
            "logprobs": None,
        }

    def _generation_seed(self, step: int) -> int:
        """63 bits of SHA-256 over (seed, run, generation)."""
        digest = hashlib.sha256(f"{self.seed}/{self.name}/{step // self.settings.generation_steps}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def _samples(self, row: int, answers: list[list[int]], seed: int, step: int) -> Iterator[Sample]:
        first = self._visits[row] * self.settings.num_generations
        for number, ids in enumerate(answers, first):
            ended = bool(ids) and ids[-1] in self.ends
            yield Sample(
                task_id=self.prompt(row).task.task_id,
                sample=number,
                completion=self.tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True),
                checkpoint=self.name,
                seed=seed,
                temperature=self.settings.temperature,
                tokens=len(ids),
                finish_reason="stop" if ended else "length",
                step=step,
            )

    def rewards(self, step: int) -> list[float | None]:
        """What the completions drawn last are paid, in their order; their records are on file when this returns."""
        began = time.monotonic()
        samples = [sample for group, _ in self._submitted for sample in group]
        verdicts = [replace(v, step=step) for _, waiting in self._submitted for v in self.judge.verdicts(waiting)]
        self.seconds["wait"] += time.monotonic() - began
        generation = step // self.settings.generation_steps
        records.write(self.file(generation, "samples"), samples)
        records.write(self.file(generation, "verdicts"), verdicts)
        return [self.judge.reward(verdict) for verdict in verdicts]

    def read(self, kind: type, generation: int) -> list[Any]:
        """The records of a generation, of class Sample or Verdict."""
        return list(records.read(kind, self.file(generation, "samples" if kind is Sample else "verdicts")))

    def join(self, kind: type, out: Path) -> None:
        """Write the records of all generations into one file."""
        records.write(out, (record for number in range(self.generations) for record in self.read(kind, number)))


def _visits(order: Sequence[int]) -> list[int]:
    """How often the prompt at each place of the order has come before."""
    seen: dict[int, int] = {}
    visits = []
    for prompt in order:
        visits.append(seen.get(prompt, 0))
        seen[prompt] = visits[-1] + 1
    return visits


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    settings: GrpoSettings,
    ends: list[int],
    seed: int,
) -> list[list[list[int]]]:
    """Token ids of `num_generations` answers for each prompt, up to and with the token that ends one, drawn as the
    stage `sample` draws. Raises HaloForgeError where the model no longer gives probabilities.
    """
    how = Drawing(settings.num_generations, settings.temperature, settings.top_p)
    longest, batch = settings.max_completion_length, settings.generation_batch
    rooms = [longest] * len(prompts)
    training, own = model.training, model.config._attn_implementation
    model.eval()  # no dropout, and no gradient checkpointing, which has no cache
    try:
        if agrees(model, model.get_input_embeddings().weight.shape[0]):
            model.set_attn_implementation(NAME)
            decoder = Decoder(model, ends, how.temperature, how.top_p, longest, batch)
            drawn = decoder.draw(prompts, how.n, rooms, seed)
        else:
            drawn = library_generate(model, tokenizer, ends, how, batch, prompts, rooms, seed)
    finally:
        model.set_attn_implementation(own)
        model.train(training)
    return [[answer.ids for answer in answers] for answers in drawn]
