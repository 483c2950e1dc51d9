"""Item 3: what torch and HIP say of the GPU, beside what the kernel says of it."""

from pathlib import Path
from typing import Any

import torch

from toolbox.checks.box import ELSEWHERE, NONE, Box, look
from toolbox.checks.results import Result, gib

ARCHITECTURE = "gfx1151"
WHEELS = "take AMD's wheels: torch[device-gfx1151] (docs/HARDWARE_NOTES.md); a constraints file keeps pip from others"


def facts() -> dict[str, Any]:
    """What torch says of itself and of the first GPU."""
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "hip": torch.version.hip,
        "cuda": torch.version.cuda,
        "built_for": torch.cuda.get_arch_list() if torch.cuda.is_available() else [],
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        architecture = properties.gcnArchName if torch.version.hip else f"sm_{properties.major}{properties.minor}"
        found |= {"gpu": properties.name, "architecture": architecture, "memory_bytes": properties.total_memory}
    return found


def check_device(full: bool) -> list[Result]:
    """Ask torch, and compare. The process that asks may die of a driver, so this runs apart."""
    return judge(look(Path("/")), facts())


def judge(box: Box | None, found: dict[str, Any]) -> list[Result]:
    """Build, architecture and memory."""
    if box is None:
        gpu = f"{found['gpu']}, {gib(found['memory_bytes'])}" if "gpu" in found else "no GPU"
        why = f"{NONE}; torch {found['torch']} sees {gpu}"
        return [Result(3, "torch and HIP", "skipped", why, remedy=ELSEWHERE, figures=found)]
    return [_build(found), _architecture(found), _memory(box, found)]


def _build(found: dict[str, Any]) -> Result:
    name, expected = "torch's build", "a ROCm build with kernels for gfx1151"
    if found["hip"] is None:
        kind = f"a CUDA {found['cuda']} build" if found["cuda"] else "a CPU build"
        return Result(3, name, "fail", f"torch {found['torch']} is {kind}", expected, WHEELS, found)
    told = f"torch {found['torch']}, HIP {found['hip']}"
    if "gpu" in found and ARCHITECTURE not in found["built_for"]:
        has = ", ".join(found["built_for"]) or "none"
        return Result(3, name, "fail", f"{told}, with kernels for {has}", expected, WHEELS, found)
    return Result(3, name, "pass", told, expected, figures=found)


def _architecture(found: dict[str, Any]) -> Result:
    if "gpu" not in found:
        remedy = "see items 1 and 2 (devices, kernel) and torch's build"
        return Result(3, "architecture", "fail", "torch sees no GPU", ARCHITECTURE, remedy)
    told = f"{found['architecture']} ({found['gpu']})"
    if found["architecture"].partition(":")[0] == ARCHITECTURE:
        return Result(3, "architecture", "pass", told)
    remedy = "unset HSA_OVERRIDE_GFX_VERSION; HIP_VISIBLE_DEVICES=N, where another GPU comes first"
    return Result(3, "architecture", "fail", told, ARCHITECTURE, remedy)


def _memory(box: Box, found: dict[str, Any]) -> Result:
    """Within 5 % of the GTT, or of GTT and carve-out together: versions of HIP tell either."""
    gtt, carved = box.gpu_bytes("gtt"), box.gpu_bytes("vram") or 0
    if "gpu" not in found or gtt is None:
        why = "torch sees no GPU" if "gpu" not in found else "mem_info_gtt_total cannot be read"
        return Result(3, "memory", "skipped", why, remedy="see items 1 and 2")
    total = found["memory_bytes"]
    told = f"torch may have {gib(total)}, GTT is {gib(gtt)}"
    if 0.95 * gtt <= total <= 1.05 * (gtt + carved):
        return Result(3, "memory", "pass", told)
    remedy = f"start the kernel with ttm.pages_limit={gtt // 4096} as well, which HIP goes by"
    return Result(3, "memory", "fail", told, "the same within 5 %", remedy)
