"""What a training run gets out of the device: useful tokens, padding, FLOPs beside the matmul rate, memory."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.common.files import replacing
from stages.lm import devices

SECONDS_OF_MEASURING = 0.5
SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices: past the caches, yet fast to multiply


@dataclass
class Counts:
    """What a process has trained on: all positions, those that hold a token of an example, and the sum of the squared
    lengths, for the FLOPs of attention."""

    positions: int = 0
    tokens: int = 0
    squares: int = 0

    def add(self, positions: int, lengths: list[int]) -> None:
        """Count a batch. An example has more than one token: what has one fills up a batch (docs/SCALING.md)."""
        lengths = [length for length in lengths if length > 1]
        self.positions += positions
        self.tokens += sum(lengths)
        self.squares += sum(length * length for length in lengths)


def matmul_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """(all, trained) entries of the matrices that tokens are multiplied with: linear layers and the output head.

    The embedding's lookup multiplies nothing. A layer held in 4 bits counts by its shape.
    """
    total = trained = 0
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            entries = layer.in_features * layer.out_features
            total += entries
            trained += entries if layer.weight.requires_grad else 0
    return total, trained


def training_flops(model: Any, tokens: int, squares: int) -> float:
    """Model FLOPs of a forward and backward pass over sequences of `tokens` in all, with `squares` the sum of their
    squared lengths; work that is done again (checkpointing) or for nothing (padding) is not counted.

    6 N a token for N matrix entries, 2 of them forward, 2 for the gradient of the activations and 2 for that of the
    weights, which frozen ones do not need; and 12 x layers x heads x head width x length a token for attention
    (Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311, appendix B).
    """
    total, trained = matmul_parameters(model)
    config = model.config
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    return (4 * total + 2 * trained) * tokens + 12 * config.num_hidden_layers * width * squares


def matmul_rate(dtype: torch.dtype) -> float:
    """FLOPs per second of square matrix products on the device, the best of half a second's tries; measured once and
    kept in the user's cache folder for each device, type, number of threads and version of torch."""
    device = devices.device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    key = f"{name}, {dtype}, torch {torch.__version__}"
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "halo-forge" / "matmul_rates.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if not isinstance(known, dict) or not isinstance(known.get(key), float):
        known = {**(known if isinstance(known, dict) else {}), key: _measure(device, dtype)}
        try:
            with replacing(path) as file:
                json.dump(known, file, indent=2)
        except OSError:  # no cache: measured again next time
            pass
    return known[key]


def _measure(device: torch.device, dtype: torch.dtype) -> float:
    side = SIDE.get(device.type, 1024)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best, until = float("inf"), time.perf_counter() + SECONDS_OF_MEASURING
    while time.perf_counter() < until or best == float("inf"):
        began = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2.0 * side**3 / best


def device_memory() -> dict[str, float]:
    """Peak memory of tensors on the accelerator (MB); empty on the CPU, where the process's own peak tells it."""
    if devices.device().type != "cuda":
        return {}
    return {"peak_device_memory_mb": round(torch.cuda.max_memory_allocated() / 1024**2, 1)}
