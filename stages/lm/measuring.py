"""Rates of the device itself: matrix products as training has them, and copies."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from stages.common.machine import Device
from stages.lm import devices

SECONDS = 0.5  # of tries, of which the best counts
# (tokens, inputs, outputs) of the matrix products. On an accelerator those of the MLP of Qwen2.5-7B: past the caches,
# and the shapes whose kernels training picks.
SHAPES = {"cpu": (1024, 1024, 1024), "cuda": (4096, 3584, 18_944)}
COPIED = {"cpu": 1 << 28, "cuda": 1 << 30}  # bytes: past the caches
COPIES = 10

# Of a layer Y = X W': the product, and its gradients for X and for W.
PRODUCTS: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "forward": lambda x, w, dy: x @ w.t(),
    "dgrad": lambda x, w, dy: dy @ w,
    "wgrad": lambda x, w, dy: dy.t() @ x,
}


def this_device() -> Device:
    """The device that computes here, with the number of threads that are set."""
    if devices.device().type == "cpu":
        return Device("cpu", _cpu_name(), torch.get_num_threads(), torch.__version__)
    properties = torch.cuda.get_device_properties(devices.device())
    kind = properties.gcnArchName.partition(":")[0] if torch.version.hip else "cuda"
    return Device(kind, properties.name, 0, torch.__version__)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


def matmul_flops(product: str, dtype: torch.dtype) -> float:
    """FLOPs per second of a product of `PRODUCTS` on the device, the best of half a second's tries."""
    device = devices.device()
    tokens, inputs, outputs = SHAPES.get(device.type, SHAPES["cpu"])
    sizes = ((tokens, inputs), (outputs, inputs), (tokens, outputs))
    # Of its own, or a training that has to measure first would draw other random numbers than one that has not.
    generator = torch.Generator(device).manual_seed(0)
    x, w, dy = (torch.randn(size, generator=generator, device=device).to(dtype) for size in sizes)
    multiply = PRODUCTS[product]
    multiply(x, w, dy)  # picks and loads the kernel
    until, best = time.perf_counter() + SECONDS, float("inf")
    while time.perf_counter() < until or best == float("inf"):
        best = min(best, seconds(lambda: multiply(x, w, dy)))
    return 2.0 * tokens * inputs * outputs / best


def bandwidth() -> float:
    """Bytes per second read and written by copies on the device, the best of ten."""
    device = devices.device()
    source = torch.ones(COPIED.get(device.type, COPIED["cpu"]), dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return 2 * source.numel() / min(seconds(lambda: target.copy_(source)) for _ in range(COPIES))


def seconds(work: Callable[[], object]) -> float:
    """How long the device works on it."""
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def wait() -> None:
    """Until the device has done all that it was given."""
    if devices.device().type == "cuda":
        torch.cuda.synchronize()
