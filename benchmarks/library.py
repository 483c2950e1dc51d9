"""transformers' `generate` as one would call it by hand: no log probabilities, nothing of ours."""

from collections.abc import Sequence
from typing import Any

import torch


def plain_generate(
    model: Any,
    prompts: Sequence[list[int]],
    n: int,
    new_tokens: int,
    ends: Sequence[int],
    pad: int,
    temperature: float,
    top_p: float,
) -> list[list[int]]:
    """Token ids of `n` answers for each prompt, in one batch padded on the left, up to and with their ends."""
    width = max(map(len, prompts))
    pads = [width - len(ids) for ids in prompts]
    device = model.device
    ids = torch.tensor([[pad] * left + p for left, p in zip(pads, prompts, strict=True)], device=device)
    mask = torch.tensor([[0] * left + [1] * len(p) for left, p in zip(pads, prompts, strict=True)], device=device)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            temperature=temperature,
            top_p=top_p,
            top_k=0,
            max_new_tokens=new_tokens,
            num_return_sequences=n,
            eos_token_id=list(ends),
            pad_token_id=pad,
        )
    last = set(ends)
    rows = out[:, width:].tolist()
    return [row[: next((number for number, t in enumerate(row, 1) if t in last), len(row))] for row in rows]
