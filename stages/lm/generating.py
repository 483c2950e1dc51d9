"""Sampling with transformers' `generate`: for architectures that the loop of ours does not know."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from stages.lm.decoding import Drawn
from stages.settings.sampling import SampleSettings


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
    settings: SampleSettings,
    batch: int,
    prompts: Sequence[list[int]],
    rooms: Sequence[int],
    seed: int,
) -> list[list[Drawn]]:
    """`n` sequences for each prompt, in their order; prompts of like length share a batch, so that little is padded."""
    torch.manual_seed(seed)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    at_a_time = max(1, batch // settings.n)
    drawn: dict[int, list[Drawn]] = {}
    for start in range(0, len(order), at_a_time):
        chosen = order[start : start + at_a_time]
        room = min(rooms[i] for i in chosen)
        answers = _batch(model, tokenizer, ends, settings, [prompts[i] for i in chosen], room)
        drawn.update(zip(chosen, answers, strict=True))
    return [drawn[index] for index in range(len(prompts))]


def _batch(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
    settings: SampleSettings,
    prompts: list[list[int]],
    room: int,
) -> list[list[Drawn]]:
    width, n = max(map(len, prompts)), settings.n if settings.temperature else 1
    pads = [width - len(ids) for ids in prompts]
    ids = torch.tensor([[tokenizer.pad_token_id] * pad + p for pad, p in zip(pads, prompts, strict=True)])
    mask = torch.tensor([[0] * pad + [1] * len(p) for pad, p in zip(pads, prompts, strict=True)])
    how = {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=room,
            num_return_sequences=n,
            eos_token_id=list(ends),
            pad_token_id=tokenizer.pad_token_id,
            return_dict_in_generate=True,
            output_scores=True,
            **(how if settings.temperature else {"do_sample": False}),
        )
        scores = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    rows = [_cut(row, ends) for row in out.sequences[:, width:].tolist()]
    drawn = [
        Drawn(row, sum(values[: len(row)]) / len(row) if row else None)
        for row, values in zip(rows, scores.tolist(), strict=True)
    ]
    groups = [drawn[start : start + n] for start in range(0, len(drawn), n)]
    return groups if settings.temperature else [group * settings.n for group in groups]


def _cut(row: list[int], ends: Sequence[int]) -> list[int]:
    """Up to and with the first token that ends an answer."""
    length = next((number for number, token in enumerate(row, 1) if token in ends), len(row))
    return row[:length]
