"""Drawing the next token: temperature, nucleus, and the log probability with which it was drawn."""

import torch

CANDIDATES = 64  # the likeliest tokens, which mostly hold the whole nucleus: only they are sorted


def choose(
    logits: torch.Tensor, uniforms: torch.Tensor, temperature: float, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row, and the log probability that it had.

    `logits` (rows, vocabulary), `uniforms` (rows,) in [0, 1). At temperature 0 the likeliest token, with its log
    probability at temperature 1. Else by the inverse of the distribution function over the nucleus: the smallest set of
    likeliest tokens with mass `top_p` (Holtzman et al. 2019, https://arxiv.org/abs/1904.09751), whose probabilities are
    divided by its mass.
    """
    logits = logits.float()
    if temperature == 0:
        best, token = logits.max(dim=-1)
        return token, best - logits.logsumexp(dim=-1)
    if temperature != 1:
        logits = logits / temperature
    if top_p >= 1:
        probabilities = logits.softmax(dim=-1)
        up_to = probabilities.cumsum(dim=-1)
        return _draw(probabilities, up_to, up_to[:, -1], uniforms)
    total = logits.logsumexp(dim=-1, keepdim=True)
    values, tokens = logits.topk(min(CANDIDATES, logits.shape[-1]), dim=-1)
    probabilities = (values - total).exp()
    up_to = probabilities.cumsum(dim=-1)
    if values.shape[-1] < logits.shape[-1] and bool((up_to[:, -1] < top_p).any()):
        values, tokens = logits.sort(dim=-1, descending=True, stable=True)
        probabilities = (values - total).exp()
        up_to = probabilities.cumsum(dim=-1)
    inside = up_to - probabilities < top_p
    mass = (probabilities * inside).sum(dim=-1)
    place, logprob = _draw(probabilities, up_to, mass, uniforms, last=inside.sum(dim=-1) - 1)
    return tokens.gather(-1, place[:, None])[:, 0], logprob


def _draw(
    probabilities: torch.Tensor,
    up_to: torch.Tensor,
    mass: torch.Tensor,
    uniforms: torch.Tensor,
    last: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first place at which the summed probabilities exceed a uniform share of `mass`, and its log probability."""
    place = (up_to <= (uniforms * mass)[:, None]).sum(dim=-1)
    place = torch.minimum(place, torch.full_like(place, probabilities.shape[-1] - 1) if last is None else last)
    drawn = probabilities.gather(-1, place[:, None])[:, 0]
    return place, (drawn / mass).clamp(min=1e-30).log()
