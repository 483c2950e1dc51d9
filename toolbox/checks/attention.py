"""Items 6 and 7: attention's outputs and gradients beside float32 on the CPU, and its speed beside a plain one."""

import math

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from stages.lm import devices
from stages.lm.attention import TOLERANCE, deviation
from stages.lm.measuring import seconds
from toolbox.checks.results import Result, cause

HEADS = ((64, 4, 4), (64, 4, 2), (128, 4, 4), (128, 4, 1))  # width, query heads, key-value heads
LENGTH, SHORT = 160, 96  # tokens of the batch's two rows, of which the second is padded on the left
TIMED = {"cpu": (1, 8, 2, 512, 64), "cuda": (2, 28, 4, 2048, 128)}  # batch, heads, key-value heads, length, width
ROUNDS = 5
FALLBACK = "set compute.attention: eager in params.yaml, and see items 3 and 4"


def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """softmax(Q K' / sqrt(width) + mask) V, the formula itself: (batch, heads, length, width), grouped heads repeated;
    `mask` is true where a query may look."""
    groups = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(groups, dim=1) for t in (k, v))
    scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ v


def sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """torch's, as training calls it: causal by itself, or by a mask where there is padding."""
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True)


def causal(length: int, padding: int = 0) -> torch.Tensor:
    """Who may look at whom: nobody behind himself, nobody at padding but padding itself (1, 1, length, length)."""
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    mask[:, :padding] = False
    return (mask | torch.eye(length, dtype=torch.bool))[None, None]


def away(width: int, heads: int, kv_heads: int, padded: bool, tried=sdpa) -> tuple[float, str]:
    """(largest deviation relative to the largest value, where) of bfloat16 on the device beside float32 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((2, heads, LENGTH, width), (2, kv_heads, LENGTH, width), (2, kv_heads, LENGTH, width))
    exact = [torch.randn(size, generator=generator).bfloat16().float().requires_grad_() for size in sizes]
    here = [t.detach().to(devices.device(), torch.bfloat16).requires_grad_() for t in exact]
    mask = torch.cat([causal(LENGTH), causal(LENGTH, LENGTH - SHORT if padded else 0)])
    # What padding answers counts for nothing, and neither do the gradients that it would send.
    weights = torch.randn(sizes[0], generator=generator)
    if padded:
        weights[1, :, : LENGTH - SHORT] = 0
    real = weights != 0
    right = [plain(*exact, mask)]
    (right[0] * weights).sum().backward()
    found = [tried(*here, mask.to(devices.device()) if padded else None)]
    (found[0].float() * weights.to(devices.device())).sum().backward()
    pairs = [(found[0].detach().float().cpu() * real, right[0].detach() * real)]
    pairs += [(a.grad.float().cpu(), b.grad) for a, b in zip(here, exact, strict=True)]
    apart = [float((a - b).abs().max() / b.abs().max()) for a, b in pairs]
    # What is no number compares with nothing, and must come out as the worst.
    apart = [math.inf if math.isnan(value) else value for value in apart]
    worst = max(range(len(apart)), key=apart.__getitem__)
    how = f"{('output', 'dq', 'dk', 'dv')[worst]}, head width {width}, {heads} heads on {kv_heads}"
    return apart[worst], how + (", padded" if padded else "")


def check_parity(full: bool) -> Result:
    """SDPA forward and backward: causal and padded, plain and grouped heads, widths 64 and 128."""
    found = [away(*heads, padded) for heads in HEADS for padded in (False, True)]
    worst, where = max(found)
    figures = {"worst_deviation": worst, "where": where, "tolerance": TOLERANCE, "cases": len(found)}
    told = f"{worst:.2%} at most from float32 on the CPU, forward and backward ({where}; {len(found)} cases)"
    if worst < TOLERANCE:
        return Result(6, "attention's parity", "pass", told, figures=figures)
    return Result(6, "attention's parity", "fail", told, f"less than {TOLERANCE:.0%}", FALLBACK, figures)


def check_speed(full: bool) -> Result:
    """SDPA beside the plain formula, forward and backward in turn, on the same tensors; and the kernels that run."""
    device = devices.device()
    batch, heads, kv_heads, length, width = TIMED.get(device.type, TIMED["cpu"])
    sizes = ((batch, heads, length, width), (batch, kv_heads, length, width), (batch, kv_heads, length, width))
    tensors = [torch.randn(size, device=device).bfloat16().requires_grad_() for size in sizes]
    mask = causal(length).to(device)
    ways = {
        "sdpa": lambda: sdpa(*tensors, None).sum().backward(),
        "eager": lambda: plain(*tensors, mask).sum().backward(),
    }
    for way in ways.values():
        way()
    times = {name: min(seconds(way) for _ in range(ROUNDS)) for name, way in ways.items()}
    ratio = times["eager"] / times["sdpa"]
    able = kernels(tensors)
    told = f"{ratio:.1f} times the plain formula's speed; kernels: {', '.join(able) or 'none'}"
    figures = {"times_eager": round(ratio, 3), "kernels": able}
    if device.type == "cuda" and not {"flash", "efficient"} & set(able):
        remedy = "ROCm: export TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL=1 before the start; else see torch's build"
        return Result(6, "attention's speed", "warning", told, "a fused kernel", remedy, figures)
    return Result(6, "attention's speed", "pass", told, figures=figures)


def kernels(tensors: list[torch.Tensor]) -> list[str]:
    """The implementations of SDPA that run for such tensors, grouped heads repeated, as not all take grouped ones."""
    q, k, v = (t.detach() for t in tensors)
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
    able = []
    for name, kind in (("flash", SDPBackend.FLASH_ATTENTION), ("efficient", SDPBackend.EFFICIENT_ATTENTION)):
        try:
            with sdpa_kernel([kind]):
                functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        except RuntimeError:
            continue
        able.append(name)
    return able


def check_flash(full: bool) -> Result:
    """Item 7: flash-attn is a choice, so whatever is wrong with it is a warning."""
    name = "flash-attn"
    if devices.device().type == "cpu":
        return Result(7, name, "skipped", "its kernels are for GPUs, and torch sees none")
    try:
        from flash_attn import flash_attn_func
    except ModuleNotFoundError:
        remedy = "not needed; pip install --no-build-isolation -e '.[gpu]', on ROCm its branch main_perf"
        return Result(7, name, "skipped", "not installed", remedy=remedy)
    except Exception as error:  # a build for another torch fails with whatever its loader says
        remedy = "build it against this torch, or remove it; compute.attention: sdpa does without"
        return Result(7, name, "warning", f"cannot be imported: {cause(error)}", remedy=remedy)
    fault = deviation(lambda q, k, v: flash_attn_func(q, k, v, causal=True), devices.device())
    if fault:
        remedy = "compute.attention: sdpa (auto takes it by itself)"
        return Result(7, name, "warning", fault, f"less than {TOLERANCE:.0%} from float32", remedy)
    return Result(7, name, "pass", f"within {TOLERANCE:.0%} of float32 on the CPU, forward and backward")
