"""Attention and key-value cache of the decode loop: rows that each have a length of their own.

Because no row is padded on the left, a row can be given to another sequence at any time. `agrees` tells whether a model
computes the same over such a cache as by itself.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, Cache
from transformers.cache_utils import CacheLayerMixin

NAME = "halo_forge_rows"  # of the attention below, among transformers'
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
        shape = (self.cache.rows, key_states.shape[1], self.cache.columns)
        self.keys = key_states.new_zeros((*shape, key_states.shape[3]))
        self.values = value_states.new_zeros((*shape, value_states.shape[3]))
        if not torch.compiler.is_compiling():
            # A CUDA graph may write to what never moves; transformers' StaticCache says so in the same way.
            torch._dynamo.mark_static_address(self.keys)
            torch._dynamo.mark_static_address(self.values)
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
    """A cache whose rows each have a length of their own; single tokens look at its first `width` columns."""

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

    def read(self, model: Any, prompts: Sequence[Sequence[int]], rows: torch.Tensor, copies: int) -> None:
        """Read prompts in one forward pass; the keys and values of each go to `copies` of `rows`."""
        lengths = [len(prompt) for prompt in prompts]
        width, device = max(lengths), rows.device
        self.lengths[rows] = torch.tensor(lengths, device=device).repeat_interleave(copies)
        if not width:
            return
        # On the right, behind all that a causal prompt sees, any token will do.
        ids = [[*prompt, *[0] * (width - len(prompt))] for prompt in prompts]
        self.prefill_rows = rows
        self.prefill_of = torch.arange(len(prompts), device=device).repeat_interleave(copies)
        model(
            input_ids=torch.tensor(ids, device=device),
            position_ids=torch.arange(width, device=device)[None].expand(len(prompts), -1),
            past_key_values=self,
            use_cache=True,
            logits_to_keep=1,
        )
        self.prefill_rows = self.prefill_of = None

    def next_logits(self, model: Any, last: torch.Tensor) -> torch.Tensor:
        """Logits (rows, vocabulary) behind one more token a row, `last` (rows,), whose keys and values are stored in
        the column behind the row's; the lengths are the caller's to raise."""
        columns = torch.arange(self.width, device=last.device)
        hidden = columns[None, :] > self.lengths[:, None]  # the token's own column is seen
        mask = torch.zeros(hidden.shape, dtype=model.dtype, device=last.device)
        return model(
            input_ids=last[:, None],
            position_ids=self.lengths[:, None],
            attention_mask=mask.masked_fill(hidden, torch.finfo(model.dtype).min)[:, None, None, :],
            past_key_values=self,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


def agrees(model: Any, vocabulary: int) -> bool:
    """Whether the cache and the attention above compute what the model's own forward pass does, on two short prompts.

    They would not for layers that are no full attention (sliding windows, recurrent states), or that cap their scores.
    """
    if not _full_attention(model.config):
        return False
    own = model.config._attn_implementation
    prompts = [[(7 * i + 3) % vocabulary for i in range(length)] for length in (9, 5)]
    with torch.inference_mode():
        right = [model(input_ids=torch.tensor([p], device=model.device)).logits[0, -1].float() for p in prompts]
        model.set_attn_implementation(NAME)
        try:
            cache = RowsCache(model.config.num_hidden_layers, len(prompts), 9, model.device)
            cache.read(model, [prompt[:-1] for prompt in prompts], cache.every_row, 1)
            found = cache.next_logits(model, torch.tensor([p[-1] for p in prompts], device=model.device)).float()
        except Exception:  # an architecture that passes other arguments, or keeps another kind of cache
            return False
        finally:
            model.set_attn_implementation(own)
    near = TOLERANCE.get(model.dtype, HALF_TOLERANCE)
    return all(((found[i] - row).abs().max() / row.abs().max()).item() < near for i, row in enumerate(right))


def _full_attention(config: Any) -> bool:
    """Whether each layer sees all that came before: a window is wider than the check's prompts."""
    kinds = getattr(config, "layer_types", None)
    return all(kind == "full_attention" for kind in kinds) if kinds else getattr(config, "sliding_window", None) is None
