"""Devices, kernel, command line and memory of a Strix Halo, beside those found good (docs/HARDWARE_NOTES.md)."""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from toolbox.checks.box import Box
from toolbox.checks.results import GIB, Result, gib, number

GOOD_KERNEL = (6, 18, 4)
GOOD_UBUNTU = (6, 17, 0, 19)  # its HWE kernels, from build 19 on
GOOD_FEDORA = 43
KERNELS = "6.18.4 or later, Ubuntu's HWE 6.17.0-19 or later, or Fedora 43's"
MOST_CARVED = GIB  # the least that BIOSes offer is 0.5 GiB on most boards
WANTED_SHARE = 0.9  # of the memory, as GTT: 124 of 128 GiB
DEFAULT_SHARE = 0.55  # what the kernel gives by itself is half
KEPT = 4 * GIB  # for the system: 124 of 128 GiB
PAGE = 4096


def check_devices(box: Box) -> Iterator[Result]:
    """Item 1: open the compute device and the render node for reading and writing."""
    yield _opened("/dev/kfd", box.root, "dev/kfd")
    nodes = sorted((box.gpu / "drm").glob("renderD*"))
    if nodes:
        yield _opened("render node", box.root, f"dev/dri/{nodes[0].name}")
    else:
        remedy = "load the driver: sudo modprobe amdgpu, and see that the kernel has not `nomodeset`"
        yield Result(1, "render node", "fail", "the kernel's driver has made none", "/dev/dri/renderD*", remedy)


def _opened(name: str, root: Path, path: str) -> Result:
    expected = f"/{path} opens for reading and writing"
    try:
        os.close(os.open(root / path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        remedy = {
            errno.ENOENT: "start the container with --device /dev/kfd --device /dev/dri; outside: sudo modprobe amdgpu",
            errno.EACCES: "sudo usermod -aG render,video $USER, and log in again; podman: --group-add keep-groups",
            errno.EPERM: "start the container with --device /dev/kfd --device /dev/dri",
        }.get(error.errno or 0, "look at the kernel log, and restart")
        return Result(1, name, "fail", (error.strerror or type(error).__name__).lower(), expected, remedy)
    return Result(1, name, "pass", expected)


def check_kernel(box: Box) -> Result:
    """Item 2: the kernel against the list of good ones."""
    release = box.release
    parts = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    if not parts:
        return Result(2, "kernel", "skipped", f"/proc/sys/kernel/osrelease: found '{release}'", remedy="mount /proc")
    version = tuple(int(part or 0) for part in parts.groups())
    ubuntu = re.match(r"\d+\.\d+\.\d+-(\d+)-generic$", release)
    fedora = re.search(r"\.fc(\d+)\.", release)
    good = (
        version >= GOOD_KERNEL
        or (ubuntu and (*version, int(ubuntu[1])) >= GOOD_UBUNTU)
        or (fedora and int(fedora[1]) >= GOOD_FEDORA)
    )
    if good:
        return Result(2, "kernel", "pass", release, KERNELS)
    return Result(2, "kernel", "fail", release, KERNELS, "install a newer kernel (Ubuntu: linux-generic-hwe-24.04)")


def check_command_line(box: Box) -> Result:
    """Item 2: what the kernel was told of the GPU's memory and of the IOMMU."""
    name = "kernel command line"
    words = box.command_line.split()
    told = [w for w in words if re.match(r"(amdgpu|ttm|amdttm)\.|amd_iommu=|iommu=|nomodeset", w)]
    found = " ".join(told) or "nothing of the GPU or the IOMMU"
    if "nomodeset" in words:
        return Result(2, name, "fail", found, "no nomodeset, which keeps amdgpu from loading", "remove it, and restart")
    if "amd_iommu=pt" in words:
        remedy = "remove it, or amd_iommu=off (others measured 5 to 12 % more speed; no NPU, no VFIO)"
        return Result(2, name, "warning", found, "no amd_iommu=pt, which the kernel does not know", remedy)
    return Result(2, name, "pass", found)


def check_gtt(box: Box) -> Result:
    """Item 2: how much of the memory the GPU may map, by the driver's option and by the memory manager's limit."""
    total, memory = box.gpu_bytes("gtt"), box.memory
    if total is None or not memory:
        missing = "mem_info_gtt_total" if total is None else "/proc/meminfo"
        return Result(2, "GTT", "skipped", f"{missing} cannot be read", remedy="load the driver: sudo modprobe amdgpu")
    figures = {"gtt_bytes": total, "memory_bytes": memory}
    wanted = _wanted(box)
    options = f"amdgpu.gttsize={wanted >> 20} ttm.pages_limit={wanted // PAGE}"
    remedy = f"start the kernel with {options}; run at most 0.8 of it, for a full pool freezes the machine"
    found = f"{gib(total)} of {gib(memory)} memory"
    asked = re.search(r"amdgpu\.gttsize=(\d+)", box.command_line)
    limits = [number(box.root / f"sys/module/{module}/parameters/pages_limit") for module in ("ttm", "amdttm")]
    limit = min((found_limit * PAGE for found_limit in limits if found_limit), default=total)
    if limit < 0.99 * total:
        found += f", of which ttm.pages_limit lets {gib(limit)} be had"
        return Result(2, "GTT", "fail", found, "a limit that is as large", remedy, figures)
    if asked and abs((int(asked[1]) << 20) - total) > 0.01 * total:
        return Result(2, "GTT", "fail", found, f"the {asked[1]} MiB of amdgpu.gttsize", remedy, figures)
    if total >= WANTED_SHARE * memory:
        return Result(2, "GTT", "pass", found, figures=figures)
    half = total <= DEFAULT_SHARE * memory
    status, why = ("fail", ", the kernel's default") if half else ("warning", "")
    return Result(2, "GTT", status, found + why, f"about {gib(wanted)}", remedy, figures)


def _wanted(box: Box) -> int:
    """Bytes of GTT: all that is built in, a multiple of 16 GiB, but for 4 GiB. Of 128 GiB that is the published 124."""
    built_in = -(-(box.memory + (box.gpu_bytes("vram") or 0)) // (16 * GIB)) * 16 * GIB
    return built_in - KEPT


def check_carve_out(box: Box) -> Result:
    """Item 2: how much memory the BIOS has set aside for the GPU alone; the rest is shared."""
    carved = box.gpu_bytes("vram")
    if carved is None:
        remedy = "load the driver: sudo modprobe amdgpu"
        return Result(2, "carve-out", "skipped", "mem_info_vram_total cannot be read", remedy=remedy)
    figures = {"carve_out_bytes": carved}
    if carved <= MOST_CARVED:
        return Result(2, "carve-out", "pass", gib(carved), figures=figures)
    remedy = "BIOS: set the UMA frame buffer (iGPU memory) to the least that it offers; GTT takes its place"
    return Result(2, "carve-out", "fail", gib(carved), f"at most {gib(MOST_CARVED)}", remedy, figures)
