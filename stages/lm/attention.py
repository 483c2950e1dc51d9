"""Which attention implementation to use: `compute.attention: auto` trusts flash-attn only after a check."""

from collections.abc import Callable
from functools import cache

import torch
from torch.nn import functional

from stages.lm import devices

TOLERANCE = 0.02  # of bfloat16 against float32, relative to the largest value
SHAPES = ((64, 4, 2), (128, 4, 1))  # head width, query heads, key-value heads
LENGTH = 96

# (query, key, value) of shape (1, length, heads, head width) -> output of the query's shape, causal.
Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def resolve(attention: str, dtype: str) -> str:
    """The implementation that transformers is told; says once what `auto` chose and why."""
    return attention if attention != "auto" else _automatic(dtype)


@cache
def _automatic(dtype: str) -> str:
    chosen, why = _choose(dtype)
    print(f"attention: {chosen} ({why})", flush=True)
    return chosen


def _choose(dtype: str) -> tuple[str, str]:
    if devices.device().type == "cpu":
        return "sdpa", "on the CPU"
    if dtype != "bfloat16":
        return "sdpa", f"flash-attn does not compute in {dtype}"
    try:
        from flash_attn import flash_attn_func
    except Exception as error:  # a build for another torch fails with whatever its loader says
        return "sdpa", f"flash-attn cannot be imported: {str(error).splitlines()[0][:100]}"
    fault = deviation(lambda q, k, v: flash_attn_func(q, k, v, causal=True), devices.device())
    return ("sdpa", f"flash-attn {fault}") if fault else ("flash_attention_2", "its outputs and gradients are right")


def deviation(attention: Attention, device: torch.device) -> str | None:
    """What is wrong with a causal attention in bfloat16, forward or backward, beside float32 on the CPU; None if
    nothing is. Grouped-query heads of widths 64 and 128 are tried."""
    for width, heads, kv_heads in SHAPES:
        generator = torch.Generator().manual_seed(0)
        shapes = ((1, LENGTH, heads, width), (1, LENGTH, kv_heads, width), (1, LENGTH, kv_heads, width))
        exact = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
        tried = [t.detach().to(device, torch.bfloat16).requires_grad_() for t in exact]
        weights = torch.randn(shapes[0], generator=generator)
        try:
            found = [attention(*tried)]
            (found[0].float() * weights.to(device)).sum().backward()
        except Exception as error:
            return f"fails: {str(error).splitlines()[0][:100]}"
        right = [reference(*exact)]
        (right[0] * weights).sum().backward()
        found += [t.grad for t in tried]
        right += [t.grad for t in exact]
        for name, a, b in zip(("output", "dq", "dk", "dv"), found, right, strict=True):
            away = (a.detach().float().cpu() - b.detach()).abs().max() / b.detach().abs().max()
            if not away < TOLERANCE:
                return f"is {away:.1%} away from float32 in its {name} (head width {width})"
    return None


def reference(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Causal attention by torch, in the types and on the device of its inputs."""
    q, k, v = (t.transpose(1, 2) for t in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)
