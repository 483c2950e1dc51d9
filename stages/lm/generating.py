"""Sampling with transformers' `generate`: for architectures that the loop of ours does not know."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from stages.lm.decoding import Drawn


class Drawing(NamedTuple):
    """How sequences are drawn: `n` for each prompt, at a softmax temperature (0: the likeliest), from the smallest set
    of tokens with the mass `top_p`."""

    n: int
    temperature: float
    top_p: float


class _Recorder(LogitsProcessor):
    """Keeps the log probability of every token drawn. `generate` would keep all logits of all steps."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []
        self._scores: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.drawn(input_ids[:, -1])
        self._scores = scores
        return scores

    def drawn(self, tokens: torch.Tensor) -> None:
        """What came of the scores seen last; nothing behind the prompt."""
        if self._scores is not None:
            logprobs = self._scores.float().log_softmax(dim=-1)
            self.steps.append(logprobs.gather(-1, tokens[:, None])[:, 0])


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
    how: Drawing,
    batch: int,
    prompts: Sequence[list[int]],
    rooms: Sequence[int],
    seed: int,
) -> list[list[Drawn]]:
    """`n` sequences for each prompt, in their order; prompts of like length share a batch, so that little is padded."""
    torch.manual_seed(seed)
    drawn: dict[int, list[Drawn]] = {}
    for chosen in _batches(prompts, rooms, max(1, batch // how.n)):
        answers = _batch(model, tokenizer, ends, how, [prompts[i] for i in chosen], rooms[chosen[0]])
        drawn.update(zip(chosen, answers, strict=True))
    return [drawn[index] for index in range(len(prompts))]


def _batches(prompts: Sequence[list[int]], rooms: Sequence[int], at_a_time: int) -> Iterator[list[int]]:
    """Numbers of prompts by length; those near the end of the context would cut the others short."""
    order = sorted(range(len(prompts)), key=lambda i: (-rooms[i], len(prompts[i])))
    for _, alike in groupby(order, key=lambda i: rooms[i]):
        group = list(alike)
        yield from (group[start : start + at_a_time] for start in range(0, len(group), at_a_time))


def _batch(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
    how: Drawing,
    prompts: list[list[int]],
    room: int,
) -> list[list[Drawn]]:
    width, n = max(map(len, prompts)), how.n if how.temperature else 1
    pads = [width - len(ids) for ids in prompts]
    ids = torch.tensor([[tokenizer.pad_token_id] * pad + p for pad, p in zip(pads, prompts, strict=True)])
    mask = torch.tensor([[0] * pad + [1] * len(p) for pad, p in zip(pads, prompts, strict=True)])
    recorder = _Recorder()
    warpers = [TemperatureLogitsWarper(how.temperature)] if how.temperature else []
    warpers += [TopPLogitsWarper(how.top_p)] if how.temperature and how.top_p < 1 else []
    # generate would put its own warpers behind the recorder.
    as_recorded = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    with torch.inference_mode():
        sequences = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=room,
            num_return_sequences=n,
            eos_token_id=list(ends),
            pad_token_id=tokenizer.pad_token_id,
            logits_processor=LogitsProcessorList([*warpers, recorder]),
            **(as_recorded if how.temperature else {"do_sample": False}),
        )
        recorder.drawn(sequences[:, -1])
    logprobs = torch.stack(recorder.steps, dim=1).tolist()
    rows = [_cut(row, ends) for row in sequences[:, width:].tolist()]
    drawn = [Drawn(row, sum(values[: len(row)]) / len(row)) for row, values in zip(rows, logprobs, strict=True)]
    groups = [drawn[start : start + n] for start in range(0, len(drawn), n)]
    return groups if how.temperature else [group * how.n for group in groups]


def _cut(row: list[int], ends: Sequence[int]) -> list[int]:
    """Up to and with the first token that ends an answer."""
    length = next((number for number, token in enumerate(row, 1) if token in ends), len(row))
    return row[:length]
