"""A decode loop of our own: refilling batches over one preallocated key-value cache.

Each prompt is read once, and its keys and values are copied to the rows of its n samples. Rows have positions of their
own, so that a sequence which ends leaves its row to the next, and nothing is padded on the left. When no prompt is
left, the batch shrinks. Every sample draws from random numbers of its own, laid out by sample and step, so that its
text does not depend on what shares a batch with it (but for the rounding of the device's kernels).

Compiled, a step keeps its shapes: the batch never shrinks, the cache stays in its place from one call to the next, and
attention looks at one of few widths. docs/SAMPLING.md has all of it beside transformers' own ways.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from stages.common.errors import HaloForgeError
from stages.lm.choosing import choose
from stages.lm.rows import RowsCache

PREFILL_TOKENS = 4096  # positions of prompts read in one forward pass
BUCKET = 256  # columns: the least width of a compiled step's attention
RECOMPILES = 64  # widths and batches of one run; torch gives up silently after 8


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sampled sequence: its token ids up to and with the one that ended it, and their mean log probability."""

    ids: list[int]
    logprob: float | None


@dataclass
class Decoder:
    """Draws sequences from a model. `batch` rows are decoded at a time; `every` steps lie between looks at which have
    ended, each of which waits for the device. `compiled` compiles the step, and is off after that has failed once."""

    model: Any
    ends: Sequence[int]
    temperature: float
    top_p: float
    max_new_tokens: int
    batch: int
    every: int = 1
    compiled: bool = False
    steps: int = field(default=0, init=False)  # forward passes of single tokens so far, for benchmarks
    _sort: bool = field(default=True, init=False, repr=False)
    _step: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = field(default=None, init=False, repr=False)
    _cache: RowsCache | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._sort = self.model.device.type == "cpu" and not self.compiled  # also where compiling fails: the same text

    def draw(self, prompts: Sequence[Sequence[int]], n: int, rooms: Sequence[int], seed: int) -> list[list[Drawn]]:
        """`n` sequences for each prompt, of at most `rooms` tokens (and at most max_new_tokens); at temperature 0 they
        are the same, drawn once. The result has the order of the prompts. Raises HaloForgeError for logits that are no
        numbers."""
        alike = self.temperature == 0
        with torch.inference_mode():  # over all: a compiled step would be compiled again for tensors of the other kind
            drawn = _Run(self, prompts, 1 if alike else n, rooms, seed).all()
        return [answers * n for answers in drawn] if alike else drawn

    def cache(self, rows: int, columns: int) -> RowsCache:
        """A cache of that many rows and columns; where the step is compiled, one that is larger or was used before."""
        layers, device = self.model.config.num_hidden_layers, self.model.device
        if not self.compiled:
            self._cache = None
            return RowsCache(layers, rows, columns, device)
        kept = self._cache
        if kept is None or kept.rows < rows or kept.columns < columns:
            self._cache = kept = None  # before there is another one
            self._cache = kept = RowsCache(layers, max(rows, self.batch), bucket(columns), device)
        kept.lengths.zero_()
        return kept

    def step(self, cache: RowsCache, last: torch.Tensor, uniforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The next token of each row and its log probability. A compiler that fails is told in a line, and done
        without: a step only writes keys and values, which the second try writes again."""
        how = (self.model, cache, last, uniforms, self.temperature, self.top_p, self._sort)
        if self.compiled and all(layer.is_initialized for layer in cache.layers):
            try:
                torch.compiler.cudagraph_mark_step_begin()
                return self._compiled()(*how)
            except Exception as error:  # compilers raise whatever their parts raise
                said = (str(error).strip() or "no message").splitlines()[0][:200]
                print(f"torch.compile fails, sampling goes on without it: {type(error).__name__}: {said}", flush=True)
                self.compiled = False
        return next_token(*how)

    def _compiled(self) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
        if self._step is None:
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILES)
            # Launching hundreds of small kernels takes longer than running them: CUDA graphs launch them at once.
            self._step = torch.compile(next_token, dynamic=False, fullgraph=True, mode="reduce-overhead")
        return self._step


def next_token(
    model: Any,
    cache: RowsCache,
    last: torch.Tensor,
    uniforms: torch.Tensor,
    temperature: float,
    top_p: float,
    sort: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One decode step over all rows: token and log probability, each (rows,). All of it can be one graph."""
    return choose(cache.next_logits(model, last), uniforms, temperature, top_p, sort)


def bucket(columns: int) -> int:
    """The width at which a compiled step looks at so many columns: 256, 384, 512, 768, 1024, 1536 ... For any length,
    at most half as much again is read, and few shapes are compiled."""
    power = max(BUCKET, 1 << max(columns - 1, 0).bit_length())
    return power * 3 // 4 if power > BUCKET and columns <= power * 3 // 4 else power


class _Run:
    """The state of one call of `draw`: which sequence is in which row, and what has been drawn."""

    def __init__(self, how: Decoder, prompts: Sequence[Sequence[int]], n: int, rooms: Sequence[int], seed: int) -> None:
        self.how, self.prompts, self.n = how, prompts, n
        self.device = how.model.device
        total, steps = len(prompts) * n, how.max_new_tokens
        generator = torch.Generator().manual_seed(seed)
        # One sequence more than are drawn: the idle rows', whose tokens nobody reads.
        self.idle = total
        self.uniforms = torch.rand(total + 1, steps, generator=generator).to(self.device)
        self.tokens = torch.zeros(total + 1, steps, dtype=torch.long, device=self.device)
        self.logprobs = torch.zeros(total + 1, device=self.device)
        self.counts = torch.zeros(total + 1, dtype=torch.long, device=self.device)
        limits = [min(room, steps) for room in rooms for _ in range(n)]
        self.rooms = torch.tensor([*limits, steps], device=self.device)
        self.ends = torch.tensor(list(how.ends), device=self.device)
        # The longest first: their answers tend to be long, too, and the short ones fill up the end.
        self.waiting = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        columns = max(len(p) + min(room, steps) for p, room in zip(prompts, rooms, strict=True))
        self.cache = how.cache(min(max(how.batch, n), total), columns)
        rows = self.cache.rows
        self.row_of: list[int | None] = [None] * rows  # the sequence in each row
        self.last = torch.zeros(rows, dtype=torch.long, device=self.device)
        self.sequence = torch.full((rows,), self.idle, device=self.device)
        self.alive = torch.zeros(rows, dtype=torch.bool, device=self.device)
        self.longest = 0  # of the rows, at least

    def all(self) -> list[list[Drawn]]:
        self._refill()
        while any(sequence is not None for sequence in self.row_of):
            for _ in range(self.how.every):
                self._step()
            self._retire()
        return self._drawn()

    def _step(self) -> None:
        """One token for each row."""
        cache, how = self.cache, self.how
        self.longest = min(self.longest + 1, cache.columns)
        cache.width = min(bucket(self.longest), cache.columns) if how.compiled else self.longest
        index = self.counts[self.sequence].clamp(max=how.max_new_tokens - 1)
        chosen, logprob = how.step(cache, self.last, self.uniforms[self.sequence, index])
        how.steps += 1
        alive = self.alive
        self.tokens[self.sequence, index] = torch.where(alive, chosen, self.tokens[self.sequence, index])
        self.logprobs[self.sequence] += torch.where(alive, logprob, 0.0)
        self.counts[self.sequence] += alive.long()
        cache.lengths += alive.long()
        ended = torch.isin(chosen, self.ends) | (self.counts[self.sequence] >= self.rooms[self.sequence])
        self.last = torch.where(alive, chosen, self.last)
        self.alive = alive & ~ended

    def _retire(self) -> None:
        """Free the rows whose sequence has ended; fill them, or shrink the batch where nothing waits."""
        alive = self.alive.tolist()
        before = sum(sequence is not None for sequence in self.row_of)
        self.row_of = [s if a else None for s, a in zip(self.row_of, alive, strict=True)]
        used = sum(alive)
        if used == before and used:
            return
        free = len(alive) - used
        self.sequence[~self.alive] = self.idle
        self.longest = int((self.cache.lengths * self.alive).max())
        if self.waiting and (free >= max(self.n, len(alive) // 8) or not used):
            self._refill()
        elif not self.waiting and used and not self.how.compiled and used <= 0.8 * len(alive):
            self._shrink(alive)

    def _shrink(self, alive: list[bool]) -> None:
        rows = torch.tensor([row for row, lives in enumerate(alive) if lives], device=self.device)
        self.cache.keep(rows)
        self.row_of = [self.row_of[row] for row in rows.tolist()]
        self.last, self.sequence, self.alive = self.last[rows], self.sequence[rows], self.alive[rows]

    def _refill(self) -> None:
        """Put as many waiting prompts as fit into free rows, n rows each."""
        free = [row for row, sequence in enumerate(self.row_of) if sequence is None]
        count = min(len(free) // self.n, len(self.waiting))
        group, self.waiting = self.waiting[:count], self.waiting[count:]
        rows_of = {prompt: free[i * self.n : (i + 1) * self.n] for i, prompt in enumerate(group)}
        while group:
            width = max(len(self.prompts[group[0]]) - 1, 1)  # sorted: the first is the longest
            together = max(1, PREFILL_TOKENS // width)
            self._read(group[:together], rows_of)
            group = group[together:]

    def _read(self, group: list[int], rows_of: dict[int, list[int]]) -> None:
        """Read prompts but for their last token, which the first step of their rows takes."""
        rows = [row for prompt in group for row in rows_of[prompt]]
        where = torch.tensor(rows, device=self.device)
        self.cache.read(self.how.model, [self.prompts[prompt][:-1] for prompt in group], where, self.n)
        sequences = [prompt * self.n + number for prompt in group for number in range(self.n)]
        for row, sequence in zip(rows, sequences, strict=True):
            self.row_of[row] = sequence
        self.sequence[where] = torch.tensor(sequences, device=self.device)
        last = [self.prompts[prompt][-1] for prompt in group]
        self.last[where] = torch.tensor(last, device=self.device).repeat_interleave(self.n)
        self.alive[where] = True
        self.longest = max(self.longest, *(len(self.prompts[prompt]) - 1 for prompt in group))

    def _drawn(self) -> list[list[Drawn]]:
        counts, logprobs, tokens = (t[: self.idle].tolist() for t in (self.counts, self.logprobs, self.tokens))
        if any(math.isnan(logprob) for logprob in logprobs):
            raise HaloForgeError("the model gives no probabilities: its logits are no numbers; see how it was trained")
        drawn = [
            Drawn(ids[:count], logprob / count if count else None)
            for ids, count, logprob in zip(tokens, counts, logprobs, strict=True)
        ]
        return [drawn[start : start + self.n] for start in range(0, len(drawn), self.n)]
