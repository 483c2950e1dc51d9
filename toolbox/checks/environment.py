"""Item 4: environment variables that ROCm and torch read, of which some must be set and some must not."""

from collections.abc import Iterator, Mapping

from toolbox.checks.box import Box
from toolbox.checks.results import Result

AOTRITON = "TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL"
OVERRIDE = "HSA_OVERRIDE_GFX_VERSION"
ALLOCATORS = ("PYTORCH_HIP_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
FORCED_BLAS = ("ROCBLAS_USE_HIPBLASLT", "TORCH_BLAS_PREFER_HIPBLASLT")


def check_environment(box: Box, environment: Mapping[str, str], flash_attn: bool) -> Iterator[Result]:
    """A result for each; `flash_attn` tells whether that package is there."""
    yield _override(environment)
    yield _allocator(environment)
    yield _aotriton(environment)
    yield _blas(environment)
    yield _others(box, environment, flash_attn)


def _override(environment: Mapping[str, str]) -> Result:
    value = environment.get(OVERRIDE)
    if value is None:
        return Result(4, "HSA override", "pass", f"{OVERRIDE} is not set")
    remedy = f"unset {OVERRIDE}: these wheels have kernels for gfx1151"
    return Result(4, "HSA override", "fail", f"{OVERRIDE}={value}", "not set", remedy)


def _allocator(environment: Mapping[str, str]) -> Result:
    for name in ALLOCATORS:
        options = [option.strip() for option in environment.get(name, "").split(",")]
        if "backend:malloc" in options:
            remedy = f"export {name}=expandable_segments:True, or unset it"
            return Result(4, "allocator", "fail", f"{name} has backend:malloc", "no backend:malloc: it crashes", remedy)
    told = " ".join(f"{name}={environment[name]}" for name in ALLOCATORS if name in environment)
    return Result(4, "allocator", "pass", told or "torch's default")


def _aotriton(environment: Mapping[str, str]) -> Result:
    value = environment.get(AOTRITON)
    if value == "1":
        return Result(4, "AOTriton", "pass", f"{AOTRITON}=1")
    found = f"{AOTRITON} is not set" if value is None else f"{AOTRITON}={value}"
    expected = "1: others measured attention 9 to 19 times as fast with it"
    return Result(4, "AOTriton", "fail", found, expected, f"export {AOTRITON}=1 before the start")


def _blas(environment: Mapping[str, str]) -> Result:
    forced = [f"{name}={environment[name]}" for name in FORCED_BLAS if name in environment]
    if not forced:
        return Result(4, "GEMM library", "pass", "left on automatic")
    expected = "automatic: with hipBLASLt others measured forward products 39 to 49 % faster, but the gradients of "
    expected += "the weights at 8 to 24 instead of 31 to 40 TFLOPS (TheRock issue 5314)"
    return Result(4, "GEMM library", "warning", " ".join(forced), expected, f"unset {' '.join(FORCED_BLAS)}")


def _others(box: Box, environment: Mapping[str, str], flash_attn: bool) -> Result:
    wrong = []
    if environment.get("HSA_ENABLE_SDMA") == "0":
        wrong.append(("HSA_ENABLE_SDMA=0, which is for looking for faults", "unset HSA_ENABLE_SDMA"))
    if flash_attn and environment.get("FLASH_ATTENTION_TRITON_AMD_ENABLE") != "TRUE":
        name = "FLASH_ATTENTION_TRITON_AMD_ENABLE"
        wrong.append((f"flash-attn is there, and {name} is not TRUE", f"export {name}=TRUE"))
    if box.in_container and environment.get("PYTHONNOUSERSITE", "") == "":
        remedy = "export PYTHONNOUSERSITE=1, as toolbx shares $HOME and wheels in it"
        wrong.append(("PYTHONNOUSERSITE is not set in a container", remedy))
    if not wrong:
        return Result(4, "other variables", "pass", "none that disturbs")
    found, remedies = zip(*wrong, strict=True)
    return Result(4, "other variables", "warning", "; ".join(found), remedy="; ".join(remedies))
