"""All twelve items, in order."""

import importlib.util
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from toolbox.checks import kernel_log
from toolbox.checks.box import ELSEWHERE, NONE, look
from toolbox.checks.environment import check_environment
from toolbox.checks.firmware import check_firmware
from toolbox.checks.isolated import run_isolated
from toolbox.checks.results import Isolated, Result
from toolbox.checks.system import check_carve_out, check_command_line, check_devices, check_gtt, check_kernel

ITEMS = range(1, 13)
PARTS = "toolbox.checks."
MINUTES = 60.0

ISOLATED = (
    Isolated(3, "torch and HIP", f"{PARTS}device:check_device", 2 * MINUTES),
    Isolated(5, "matrix products", f"{PARTS}compute:check_products", 3 * MINUTES),
    Isolated(5, "bandwidth", f"{PARTS}compute:check_bandwidth", 2 * MINUTES),
    Isolated(6, "attention's parity", f"{PARTS}attention:check_parity", 3 * MINUTES),
    Isolated(6, "attention's speed", f"{PARTS}attention:check_speed", 3 * MINUTES),
    Isolated(7, "flash-attn", f"{PARTS}attention:check_flash", 3 * MINUTES),
    Isolated(8, "nf4", f"{PARTS}quantized:check_nf4", 2 * MINUTES),
    Isolated(8, "8-bit AdamW", f"{PARTS}quantized:check_adamw_8bit", 2 * MINUTES),
    Isolated(9, "LoRA step", f"{PARTS}running:check_lora", 8 * MINUTES),
    Isolated(10, "sampling", f"{PARTS}running:check_sampling", 10 * MINUTES),
    Isolated(11, "loading data", f"{PARTS}running:check_loaders", 2 * MINUTES),
    Isolated(12, "stress", f"{PARTS}stress:check_stress", 8 * MINUTES),
)
OF_KERNEL = (check_kernel, check_firmware, check_command_line, check_gtt, check_carve_out)
NEEDED = ("torch", "transformers", "trl", "peft")


def every_result(root: Path, items: Collection[int], full: bool) -> Iterator[Result]:
    """The results of the items asked for, each as soon as it is known; 1, 2 and 4 read files below `root`."""
    before = kernel_log.read() if 12 in items else None
    yield from of_system(root, items)
    wanted = [check for check in ISOLATED if check.item in items]
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        why = f"{', '.join(missing)} not installed"
        yield from (Result(check.item, check.name, "skipped", why, remedy="make setup") for check in wanted)
    else:
        yield from run_isolated(wanted, full)
    if 12 in items:
        yield kernel_log.judge(before, kernel_log.read())


def of_system(root: Path, items: Collection[int]) -> Iterator[Result]:
    """Items 1, 2 and 4, which no crash can end: files of the kernel's, and the environment."""
    box = look(root)
    if box is None:
        names = {1: "devices", 2: "kernel and memory", 4: "environment"}
        yield from (Result(n, name, "skipped", NONE, remedy=ELSEWHERE) for n, name in names.items() if n in items)
        return
    if 1 in items:
        yield from check_devices(box)
    if 2 in items:
        yield from (check(box) for check in OF_KERNEL)
    if 4 in items:
        yield from check_environment(box, os.environ, importlib.util.find_spec("flash_attn") is not None)
