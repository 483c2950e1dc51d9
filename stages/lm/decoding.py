"""A decode loop of our own: refilling batches over one preallocated key-value cache.

Each prompt is read once, and its keys and values are copied to the rows of its n samples. Rows have positions of their
own, so that a sequence which ends leaves its row to the next, and nothing is padded on the left. When no prompt is
left, the batch shrinks. Every sample draws from random numbers of its own, laid out by sample and step, so that its
text does not depend on what shares a batch with it (but for the rounding of the device's kernels).

transformers' own continuous batching (`generate_batch`) is made for paged attention on GPUs; docs/SAMPLING.md has both
measured side by side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, Cache
from transformers.cache_utils import CacheLayerMixin

from stages.common.errors import HaloForgeError
from stages.lm.choosing import choose

NAME = "halo_forge_rows"  # of the attention below, among transformers'
PREFILL_TOKENS = 4096  # positions of prompts read in one forward pass
BUCKET = 256  # columns by which a compiled step's attention grows, so that few shapes are compiled
TOLERANCE = {torch.float32: 1e-3}  # relative, of the check beside the model's own forward pass
HALF_TOLERANCE = 0.1  # the same for types of 16 bits


def rows_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention for prompts (causal, no mask) and for single tokens over rows of their own length (an additive mask).

    Shapes: query (rows, heads, length, width), key and value (rows, key-value heads, columns, width), mask (rows, 1, 1,
    columns). Heads that share keys are multiplied with them at once, where repeating the keys would copy the cache.
    """
    if attention_mask is None:
        out = functional.scaled_dot_product_attention(
            query, key, value, is_causal=query.shape[2] > 1, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )
        return out.transpose(1, 2).contiguous(), None
    rows, heads, _length, width = query.shape
    kv_heads = key.shape[1]
    grouped = query.reshape(rows, kv_heads, heads // kv_heads, width)
    scores = torch.matmul(grouped, key.transpose(2, 3)) * (width**-0.5 if scaling is None else scaling)
    weights = torch.softmax(scores + attention_mask, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(weights, value).reshape(rows, 1, heads, width), None


AttentionInterface.register(NAME, rows_attention)


class _Layer(CacheLayerMixin):
    """One layer's keys and values, (rows, key-value heads, columns, width); `cache` says where new ones go."""

    is_compileable = True

    def __init__(self, cache: "RowsCache") -> None:
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        shape = (self.cache.rows, key_states.shape[1], self.cache.columns, key_states.shape[3])
        self.keys, self.values = key_states.new_zeros(shape), value_states.new_zeros(shape)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        cache = self.cache
        if cache.prefill_rows is not None:
            length = key_states.shape[2]
            self.keys[cache.prefill_rows, :, :length] = key_states[cache.prefill_of]
            self.values[cache.prefill_rows, :, :length] = value_states[cache.prefill_of]
            return key_states, value_states
        every = cache.every_row
        self.keys[every, :, cache.lengths] = key_states[:, :, 0]
        self.values[every, :, cache.lengths] = value_states[:, :, 0]
        return self.keys[:, :, : cache.width], self.values[:, :, : cache.width]

    def keep(self, rows: torch.Tensor) -> None:
        """Only these rows, in this order."""
        if self.is_initialized:
            self.keys, self.values = self.keys[rows], self.values[rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.columns, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return self.cache.columns


class RowsCache(Cache):
    """A cache whose rows each have a length of their own."""

    def __init__(self, layers: int, rows: int, columns: int, device: torch.device) -> None:
        super().__init__(layers=[_Layer(self) for _ in range(layers)])
        self.rows, self.columns, self.width = rows, columns, columns
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.every_row = torch.arange(rows, device=device)
        self.prefill_rows: torch.Tensor | None = None  # where a prompt's keys go ...
        self.prefill_of: torch.Tensor | None = None  # ... and which prompt's they are

    def keep(self, rows: torch.Tensor) -> None:
        """Only these rows, in this order: the batch shrinks."""
        for layer in self.layers:
            layer.keep(rows)
        self.lengths, self.rows = self.lengths[rows], len(rows)
        self.every_row = self.every_row[: self.rows]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sampled sequence: its token ids up to and with the one that ended it, and their mean log probability."""

    ids: list[int]
    logprob: float | None


@dataclass
class Decoder:
    """Draws sequences from a model. `batch` rows are decoded at a time; `every` steps lie between looks at which have
    ended, each of which waits for the device."""

    model: Any
    ends: Sequence[int]
    temperature: float
    top_p: float
    max_new_tokens: int
    batch: int
    every: int = 1
    compiled: bool = False
    steps: int = 0  # forward passes of single tokens so far, for benchmarks

    def draw(self, prompts: Sequence[Sequence[int]], n: int, rooms: Sequence[int], seed: int) -> list[list[Drawn]]:
        """`n` sequences for each prompt, of at most `rooms` tokens (and at most max_new_tokens); at temperature 0 they
        are the same, drawn once. The result has the order of the prompts. Raises HaloForgeError for logits that are no
        numbers."""
        alike = self.temperature == 0
        drawn = _Run(self, prompts, 1 if alike else n, rooms, seed).all()
        return [answers * n for answers in drawn] if alike else drawn


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
        rows = min(max(how.batch, n), total)
        columns = max(len(p) + min(room, steps) for p, room in zip(prompts, rooms, strict=True))
        columns = math.ceil(columns / BUCKET) * BUCKET if how.compiled else columns
        self.cache = RowsCache(how.model.config.num_hidden_layers, rows, columns, self.device)
        self.row_of: list[int | None] = [None] * rows  # the sequence in each row
        self.last = torch.zeros(rows, dtype=torch.long, device=self.device)
        self.sequence = torch.full((rows,), self.idle, device=self.device)
        self.alive = torch.zeros(rows, dtype=torch.bool, device=self.device)
        self.longest = 0  # of the rows, at least
        self.step = torch.compile(self._step, dynamic=False) if how.compiled else self._step

    def all(self) -> list[list[Drawn]]:
        with torch.inference_mode():
            self._refill()
            while any(sequence is not None for sequence in self.row_of):
                for _ in range(self.how.every):
                    self.longest = min(self.longest + 1, self.cache.columns)
                    width = self.longest
                    if self.how.compiled:
                        width = min(math.ceil(width / BUCKET) * BUCKET, self.cache.columns)
                    self.cache.width = width
                    self.step(width)
                    self.how.steps += 1
                self._retire()
        return self._drawn()

    def _step(self, width: int) -> None:
        """One token for each row."""
        cache, how = self.cache, self.how
        columns = torch.arange(width, device=self.device)
        hidden = columns[None, :] > cache.lengths[:, None]  # the token's own column is seen
        mask = torch.zeros(hidden.shape, dtype=how.model.dtype, device=self.device)
        mask = mask.masked_fill(hidden, torch.finfo(how.model.dtype).min)[:, None, None, :]
        logits = how.model(
            input_ids=self.last[:, None],
            position_ids=cache.lengths[:, None],
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        index = self.counts[self.sequence].clamp(max=self.how.max_new_tokens - 1)
        chosen, logprob = choose(logits, self.uniforms[self.sequence, index], how.temperature, how.top_p)
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
        if self.waiting and (free >= max(self.n, len(alive) // 8) or not used):
            self._refill()
        elif not self.waiting and used and not self.how.compiled and used <= 0.8 * len(alive):
            self._shrink(alive)
        if used:
            self.longest = int((self.cache.lengths * self.alive).max())

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
        lengths = [len(self.prompts[prompt]) - 1 for prompt in group]
        width = max(lengths)
        if width:
            # On the right, behind all that a causal prompt sees, any token will do.
            ids = [[*self.prompts[p][:-1], *[0] * (width - length)] for p, length in zip(group, lengths, strict=True)]
            cache = self.cache
            cache.prefill_rows = torch.tensor(rows, device=self.device)
            cache.prefill_of = torch.arange(len(group), device=self.device).repeat_interleave(self.n)
            positions = torch.arange(width, device=self.device)[None].expand(len(group), -1)
            self.how.model(
                input_ids=torch.tensor(ids, device=self.device),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache.prefill_rows = cache.prefill_of = None
        where = torch.tensor(rows, device=self.device)
        sequences = [prompt * self.n + number for prompt in group for number in range(self.n)]
        for row, sequence in zip(rows, sequences, strict=True):
            self.row_of[row] = sequence
        self.sequence[where] = torch.tensor(sequences, device=self.device)
        last = [self.prompts[prompt][-1] for prompt in group for _ in range(self.n)]
        self.last[where] = torch.tensor(last, device=self.device)
        filled = [length for length in lengths for _ in range(self.n)]
        self.cache.lengths[where] = torch.tensor(filled, device=self.device)
        self.alive[where] = True
        self.longest = max(self.longest, width)

    def _drawn(self) -> list[list[Drawn]]:
        counts, logprobs, tokens = (t[: self.idle].tolist() for t in (self.counts, self.logprobs, self.tokens))
        if any(math.isnan(logprob) for logprob in logprobs):
            raise HaloForgeError("the model gives no probabilities: its logits are no numbers; see how it was trained")
        drawn = [
            Drawn(ids[:count], logprob / count if count else None)
            for ids, count, logprob in zip(tokens, counts, logprobs, strict=True)
        ]
        return [drawn[start : start + self.n] for start in range(0, len(drawn), self.n)]


def agrees(model: Any, vocabulary: int) -> bool:
    """Whether the loop computes what the model's own forward pass does, on two short prompts.

    It would not for layers that are no full attention (sliding windows, recurrent states), or that scale their scores.
    """
    if not _full_attention(model.config):
        return False
    own = model.config._attn_implementation
    prompts = [[(7 * i + 3) % vocabulary for i in range(length)] for length in (9, 5)]
    with torch.inference_mode():
        right = [model(input_ids=torch.tensor([p], device=model.device)).logits[0, -1].float() for p in prompts]
        model.set_attn_implementation(NAME)
        try:
            run = _Run(Decoder(model, [], 1.0, 1.0, 1, 2), prompts, 1, [1, 1], 0)
            run._refill()
            found = _logits(run)
        except Exception:  # an architecture that passes other arguments, or keeps another kind of cache
            found = None
        finally:
            model.set_attn_implementation(own)
    if found is None:
        return False
    by_row = {sequence: found[row] for row, sequence in enumerate(run.row_of)}
    near = TOLERANCE.get(model.dtype, HALF_TOLERANCE)
    return all(((by_row[i] - right[i]).abs().max() / right[i].abs().max()).item() < near for i in range(2))


def _full_attention(config: Any) -> bool:
    """Whether each layer sees all that came before: a window is wider than the check's prompts."""
    kinds = getattr(config, "layer_types", None)
    return all(kind == "full_attention" for kind in kinds) if kinds else getattr(config, "sliding_window", None) is None


def _logits(run: _Run) -> torch.Tensor:
    """The next token's logits of each row, in float32."""
    cache = run.cache
    cache.width = cache.columns
    hidden = torch.arange(cache.columns, device=run.device)[None, :] > cache.lengths[:, None]
    mask = torch.zeros(hidden.shape, dtype=run.how.model.dtype, device=run.device)
    mask = mask.masked_fill(hidden, torch.finfo(mask.dtype).min)[:, None, None, :]
    positions = cache.lengths[:, None]
    out = run.how.model(
        input_ids=run.last[:, None], position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True
    )
    return out.logits[:, -1].float()
