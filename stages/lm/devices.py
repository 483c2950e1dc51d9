"""Where tensors are computed, and how many of a run's processes there are."""

import os

import torch


def device() -> torch.device:
    """The accelerator (ROCm shows itself as cuda; of several, this process's own) where there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def use_threads(count: int) -> None:
    """Set torch's CPU threads; 0 means all cores. Sums round differently for different counts."""
    torch.set_num_threads(count or len(os.sched_getaffinity(0)))
    # MKL before 2025.0 chooses the kernels of its vector functions (cos, sin, exp) in their first call. Where threads
    # make it together, one may take a less exact kernel for its share of that call, and a training ends with other
    # roundings (https://github.com/pytorch/pytorch/issues/188792). So one thread makes it first; the choice is kept in
    # one variable for all of them, so that any function will do.
    torch.cos(torch.zeros(1))
