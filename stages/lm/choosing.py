"""Drawing the next token: temperature, nucleus, and the log probability with which it was drawn."""

import torch

CANDIDATES = 64  # the likeliest tokens, which mostly hold the whole nucleus: only they are sorted
HALVINGS = 24  # of the range of a row's logits: what is left is less than float32 tells apart


def choose(
    logits: torch.Tensor, uniforms: torch.Tensor, temperature: float, top_p: float, sort: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row, and the log probability that it had.

    `logits` (rows, vocabulary), `uniforms` (rows,) in [0, 1). At temperature 0 the likeliest token, with its log
    probability at temperature 1. Else by the inverse of the distribution function over the nucleus: the smallest set of
    likeliest tokens with mass `top_p` (Holtzman et al. 2019, https://arxiv.org/abs/1904.09751), whose probabilities are
    divided by its mass. `sort`: find it by sorting, which is fast on a CPU, or else by halving, which never waits for
    the device and is one graph; tokens as likely as the nucleus's last one then are in it, too.
    """
    logits = logits.float()
    if temperature == 0:
        best, token = logits.max(dim=-1)
        return token, best - logits.logsumexp(dim=-1)
    if temperature != 1:
        logits = logits / temperature
    if top_p < 1 and sort:
        return _sorted(logits, uniforms, top_p)
    probabilities = logits.softmax(dim=-1)
    if top_p < 1:
        probabilities = probabilities * (logits >= _least(logits, probabilities, top_p))
    up_to = probabilities.cumsum(dim=-1)
    return _draw(probabilities, up_to, up_to[:, -1], uniforms, last=_last(probabilities > 0))


def _sorted(logits: torch.Tensor, uniforms: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    total = logits.logsumexp(dim=-1, keepdim=True)
    values, tokens = logits.topk(min(CANDIDATES, logits.shape[-1]), dim=-1)
    chosen, logprob, held = _of_candidates(values, tokens, total, uniforms, top_p)
    if values.shape[-1] < logits.shape[-1] and not bool(held.all()):
        # Only the rows that need it, so that what a row draws does not depend on the others.
        wide = (~held).nonzero()[:, 0]
        values, tokens = logits[wide].sort(dim=-1, descending=True, stable=True)
        chosen[wide], logprob[wide], _ = _of_candidates(values, tokens, total[wide], uniforms[wide], top_p)
    return chosen, logprob


def _of_candidates(
    values: torch.Tensor, tokens: torch.Tensor, total: torch.Tensor, uniforms: torch.Tensor, top_p: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token, its log probability, and whether the candidates, likeliest first, hold the nucleus; each (rows,)."""
    probabilities = (values - total).exp()
    up_to = probabilities.cumsum(dim=-1)
    inside = up_to - probabilities < top_p
    mass = (probabilities * inside).sum(dim=-1)
    place, logprob = _draw(probabilities, up_to, mass, uniforms, last=inside.sum(dim=-1) - 1)
    return tokens.gather(-1, place[:, None])[:, 0], logprob, up_to[:, -1] >= top_p


def _least(logits: torch.Tensor, probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """The largest logit (rows, 1) above which the mass is still `top_p`, by halving the range in which it lies."""
    low, high = logits.amin(dim=-1, keepdim=True), logits.amax(dim=-1, keepdim=True)
    # A logit of minus infinity, which some models give to padding of the vocabulary, is no end to halve towards.
    low = torch.maximum(low, high - 100)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = (probabilities * (logits >= middle)).sum(dim=-1, keepdim=True) >= top_p
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return low


def _last(inside: torch.Tensor) -> torch.Tensor:
    """The last place of each row that is true."""
    places = torch.arange(inside.shape[-1], device=inside.device)
    return torch.where(inside, places, 0).amax(dim=-1)


def _draw(
    probabilities: torch.Tensor, up_to: torch.Tensor, mass: torch.Tensor, uniforms: torch.Tensor, last: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first place at which the summed probabilities exceed a uniform share of `mass`, and its log probability."""
    place = torch.minimum((up_to <= (uniforms * mass)[:, None]).sum(dim=-1), last)
    drawn = probabilities.gather(-1, place[:, None])[:, 0]
    return place, (drawn / mass).clamp(min=1e-30).log()
