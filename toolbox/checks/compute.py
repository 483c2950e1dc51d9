"""Item 5: matrix products (a layer's, and its two gradients') and copies. What `make plan` and utilisation go by."""

import torch

from stages.common import machine
from stages.lm.measuring import PRODUCTS, bandwidth, matmul_flops, this_device
from toolbox.checks.results import Result

DTYPES = (torch.float32, torch.bfloat16)
# Others' measurements on gfx1151 (docs/HARDWARE_NOTES.md). Below them is a warning: something is slower than need be.
OTHERS_FORWARD, OTHERS_WGRAD, OTHERS_BANDWIDTH = 30e12, 24e12, 211e9
FORCED = "leave ROCBLAS_USE_HIPBLASLT and TORCH_BLAS_PREFER_HIPBLASLT unset, see that nothing else runs, see item 2"


def check_products(full: bool) -> Result:
    """FLOPs per second in both types, each product by itself, kept for `make plan` and utilisation."""
    device = this_device()
    rates = {
        str(dtype).removeprefix("torch."): {name: matmul_flops(name, dtype) for name in PRODUCTS} for dtype in DTYPES
    }
    machine.record(device, by=machine.DOCTOR, **rates)
    return judge_products(device.kind, device.name, rates)


def judge_products(kind: str, name: str, rates: dict[str, dict[str, float]]) -> Result:
    """On gfx1151 beside what others measured; elsewhere the figures alone."""
    told = "; ".join(f"{dtype} " + ", ".join(f"{n} {tera(r)}" for n, r in by.items()) for dtype, by in rates.items())
    figures = {
        "device": name,
        "tflops": {dtype: {n: round(r / 1e12, 4) for n, r in by.items()} for dtype, by in rates.items()},
    }
    half = rates["bfloat16"]
    if kind == "gfx1151" and (half["forward"] < OTHERS_FORWARD or half["wgrad"] < OTHERS_WGRAD):
        expected = "in bfloat16, as others measured: forward 30 to 37 (5 without hipBLASLt), "
        expected += "wgrad 31 to 40 (8 to 24 where hipBLASLt is forced)"
        return Result(5, "matrix products", "warning", f"TFLOPS: {told}", expected, FORCED, figures)
    return Result(5, "matrix products", "pass", f"TFLOPS: {told}", figures=figures)


def check_bandwidth(full: bool) -> Result:
    """Bytes per second read and written by copies, kept as well."""
    device, rate = this_device(), bandwidth()
    machine.record(device, by=machine.DOCTOR, bandwidth=rate)
    return judge_bandwidth(device.kind, rate)


def judge_bandwidth(kind: str, rate: float) -> Result:
    """On gfx1151 beside what others measured; elsewhere the figure alone."""
    figures = {"gigabytes_per_second": round(rate / 1e9, 2)}
    told = f"{rate / 1e9:.1f} GB/s of copies, read and written"
    if kind == "gfx1151" and rate < OTHERS_BANDWIDTH:
        expected = "211 to 226 GB/s, as others measured"
        remedy = "see that nothing else runs; set the BIOS to full power"
        return Result(5, "bandwidth", "warning", told, expected, remedy, figures)
    return Result(5, "bandwidth", "pass", told, figures=figures)


def tera(rate: float) -> str:
    """FLOPs per second as TFLOPS, with three digits or so."""
    return f"{rate / 1e12:.3g}"
