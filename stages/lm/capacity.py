"""How many sequences to sample at a time, from the memory that is free."""

import os
from typing import Any

import torch

USABLE = 0.8  # of what is free: allocators and kernels want room, and unified memory is the system's as well
LOGIT_BYTES = 4 * 4  # logits, probabilities, sums and indices, in 4 bytes each, for each entry of the vocabulary
MOST = {"cpu": 256, "cuda": 1024}  # more rows are no faster, or their text would come late


def cache_bytes(model: Any) -> int:
    """Bytes of keys and values for one token: 2 x layers x key-value heads x head width x bytes of the type."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize


def free_memory(workers: int = 1) -> tuple[int, str]:
    """(bytes that are free on the device that samples, its type); on a CPU, for each of `workers` processes (0: one for
    each core)."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0], "cuda"
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return free // (workers or len(os.sched_getaffinity(0))), "cpu"


def fitting_batch(free: tuple[int, str], token_bytes: int, length: int, vocabulary: int) -> int:
    """The largest batch, a power of two, whose cache of `length` tokens a sequence and logits fit into free memory."""
    room, kind = free
    fits = int(USABLE * room / (token_bytes * length + vocabulary * LOGIT_BYTES))
    return min(MOST[kind], 1 << max(fits, 1).bit_length() - 1)
