"""What a training run gets out of the device: useful tokens, padding, FLOPs beside the matmul rate, memory."""

from dataclasses import dataclass
from typing import Any

import torch

from stages.common import machine
from stages.lm import devices
from stages.lm.measuring import matmul_flops, this_device


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


def matmul_rate(dtype: torch.dtype) -> tuple[float, str]:
    """(FLOPs per second of a layer's forward product on the device, who has measured it): what `make doctor` found on
    this device, else measured now and kept for the next time."""
    device, name = this_device(), str(dtype).removeprefix("torch.")
    if known := machine.of_device(device, name):
        return known.forward, known.by
    rate = matmul_flops("forward", dtype)
    machine.record(device, by=machine.TRAINING, **{name: {"forward": rate}})
    return rate, machine.TRAINING


def device_memory() -> dict[str, float]:
    """Peak memory of tensors on the accelerator (MB); empty on the CPU, where the process's own peak tells it."""
    if devices.device().type != "cuda":
        return {}
    return {"peak_device_memory_mb": round(torch.cuda.max_memory_allocated() / 1024**2, 1)}
