"""Item 8: bitsandbytes, which QLoRA (nf4) and adamw_bnb_8bit need; both are choices."""

import importlib.util

import torch

from stages.lm import devices
from toolbox.checks.results import Result

NEAR = 0.02  # of the product in 4 bits to that of the same weights written out, relative to the largest value
LOST = 0.12  # relative error of normal weights in nf4: 0.09 to 0.10
NEAR_STEP = 0.05  # of an 8-bit step to AdamW's own, relative to how far that went
STEPS = 3  # the states of the first are read by the second
MISSING = "pip install 'bitsandbytes>=0.50' (its wheels cover ROCm to 7.14); only nf4 and 8-bit AdamW need it"
REBUILD = "pip install -U bitsandbytes; else build it: -DCOMPUTE_BACKEND=hip -DBNB_ROCM_ARCH=gfx1151"


def check_nf4(full: bool) -> Result:
    """A product with weights in nf4 beside the same with the weights written out; and what nf4 loses of them."""
    if importlib.util.find_spec("bitsandbytes") is None:
        return Result(8, "nf4", "skipped", "bitsandbytes is not installed", remedy=MISSING)
    import bitsandbytes
    from bitsandbytes import functional

    device, generator = devices.device(), torch.Generator().manual_seed(0)
    weight, x = (torch.randn(size, generator=generator).to(device, torch.bfloat16) for size in ((512, 256), (64, 256)))
    packed, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    written = functional.dequantize_4bit(packed, state).float().cpu()
    found = bitsandbytes.matmul_4bit(x, packed.t(), state).float().cpu()
    right = x.float().cpu() @ written.t()
    off = float((found - right).abs().max() / right.abs().max())
    lost = float((written - weight.float().cpu()).norm() / weight.float().cpu().norm())
    told = f"product {off:.2%} from that of the weights written out, which have lost {lost:.1%}"
    figures = {"product_deviation": off, "weights_deviation": lost, "bitsandbytes": bitsandbytes.__version__}
    if off < NEAR and lost < LOST:
        return Result(8, "nf4", "pass", told, figures=figures)
    return Result(8, "nf4", "fail", told, f"less than {NEAR:.0%} and {LOST:.0%}", REBUILD, figures)


def check_adamw_8bit(full: bool) -> Result:
    """Steps of AdamW with states in 8 bits, beside torch's own on the CPU."""
    if importlib.util.find_spec("bitsandbytes") is None:
        return Result(8, "8-bit AdamW", "skipped", "bitsandbytes is not installed", remedy=MISSING)
    import bitsandbytes

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(128, 128, generator=generator)  # below 4,096 entries states keep 32 bits
    here, right = (torch.nn.Parameter(start.clone().to(where)) for where in (devices.device(), "cpu"))
    how = {"lr": 1e-2, "weight_decay": 1e-2}
    optimizers = [bitsandbytes.optim.AdamW8bit([here], **how), torch.optim.AdamW([right], **how)]
    for _ in range(STEPS):
        gradient = torch.randn(start.shape, generator=generator)
        here.grad, right.grad = gradient.to(here.device), gradient
        for optimizer in optimizers:
            optimizer.step()
    state = optimizers[0].state[here]["state1"].dtype
    off = float((here.detach().cpu() - right.detach()).norm() / (right.detach() - start).norm())
    told = f"{off:.2%} away from AdamW after {STEPS} steps, states in {str(state).removeprefix('torch.')}"
    figures = {"step_deviation": off}
    if off < NEAR_STEP and state == torch.uint8:
        return Result(8, "8-bit AdamW", "pass", told, figures=figures)
    return Result(8, "8-bit AdamW", "fail", told, f"less than {NEAR_STEP:.0%}, states in uint8", REBUILD, figures)
