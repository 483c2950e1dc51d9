"""Item 12: the GPU under full load, its results compared with the first one all the while."""

import time

import torch

from stages.lm import devices
from toolbox.checks.attention import sdpa
from toolbox.checks.results import Result

SECONDS = 300.0
ON_GPU = "run it where there is one: make doctor FULL=1"
PAUSE = 20  # rounds between looks, which wait for the device


def check_stress(full: bool) -> Result:
    """300 s of products and attention; on a GPU, and only where all is asked for."""
    if devices.device().type != "cuda":
        return Result(12, "stress", "skipped", "torch sees no GPU to put under load", remedy=ON_GPU)
    if not full:
        return Result(12, "stress", "skipped", f"takes {SECONDS:.0f} s", remedy="make doctor FULL=1")
    return stress(SECONDS)


def stress(seconds: float, side: int = 4096, length: int = 2048) -> Result:
    """The same work again and again for so long. The kernels have one order of sums for one shape, so each result must
    be the first one, but for the last bit or two that an atomic addition may turn."""
    device, generator = devices.device(), torch.Generator().manual_seed(0)
    a, b = (torch.randn(side, side, generator=generator).to(device, torch.bfloat16) for _ in range(2))
    q, k, v = (torch.randn(1, 8, length, 64, generator=generator).to(device, torch.bfloat16) for _ in range(3))
    right = _work(a, b, q, k, v)
    rounds, worst, until = 0, torch.zeros((), device=device), time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(PAUSE):
            found = _work(a, b, q, k, v)
            worst = torch.maximum(worst, _apart(found, right))
        rounds += PAUSE
        if not float(worst) < 0.01:  # also where it is no number
            break
    told = f"{rounds} rounds in {seconds:.0f} s, results at most {float(worst):.2%} from the first"
    figures = {"rounds": rounds, "worst_deviation": float(worst)}
    if float(worst) < 0.01:
        return Result(12, "stress", "pass", told, figures=figures)
    remedy = "see the kernel log; see items 2 and 4; memory and cooling"
    return Result(12, "stress", "fail", told, "the same results all the while", remedy, figures)


def _work(
    a: torch.Tensor, b: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    return a @ b, sdpa(q, k, v, None)


def _apart(found: tuple[torch.Tensor, ...], right: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The largest difference, relative to the largest value; NaN where there is one."""
    each = [(x.float() - y.float()).abs().max() / y.float().abs().max() for x, y in zip(found, right, strict=True)]
    return torch.stack(each).max()
