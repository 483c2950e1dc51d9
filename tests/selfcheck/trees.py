"""Trees of /sys, /proc and /dev as a Strix Halo with 128 GB shows them, and what else may be seen of one."""

from pathlib import Path

GIB = 1024**3
GPU = "sys/bus/pci/devices/0000:c5:00.0"
OPTIONS = "amdgpu.gttsize=126976 ttm.pages_limit=32505856"
FILES = {
    f"{GPU}/vendor": "0x1002",
    f"{GPU}/device": "0x1586",
    f"{GPU}/mem_info_gtt_total": 124 * GIB,
    f"{GPU}/mem_info_vram_total": GIB // 2,
    f"{GPU}/drm/card1/dev": "226:1",
    f"{GPU}/drm/renderD128/dev": "226:128",
    "sys/bus/pci/devices/0000:00:00.0/vendor": "0x1022",
    "sys/bus/pci/devices/0000:00:00.0/device": "0x1507",
    "sys/module/ttm/parameters/pages_limit": 32_505_856,
    "dev/kfd": "",
    "dev/dri/renderD128": "",
    "proc/sys/kernel/osrelease": "6.18.4-arch1-1",
    "proc/cmdline": f"root=UUID=1 rw quiet {OPTIONS} amd_iommu=off",
    "proc/meminfo": "MemTotal:       130988020 kB\nMemFree:        99999999 kB",
    "var/lib/pacman/local/linux-firmware-amdgpu-20260622-1/desc": "%NAME%",
}
PACMAN = "var/lib/pacman/local/linux-firmware-amdgpu-20260622-1/desc"
MES = "MES_KIQ feature version: 6, firmware version: 0x0000006f\nMES feature version: 1, firmware version: {}\n"
INFO = "sys/kernel/debug/dri/1/amdgpu_firmware_info"


def dpkg(version: str) -> str:
    """A status file of dpkg's with one firmware package that is there, and one that was removed."""
    gone = "Package: amd-gpu-firmware\nStatus: deinstall ok config-files\nVersion: 20251125-1\n"
    return f"{gone}\nPackage: linux-firmware\nStatus: install ok installed\nVersion: {version}\n"


def tree(root: Path, **changes: object) -> Path:
    """Write a good box below `root`, with changed files; None leaves one out."""
    for name, content in {**FILES, **changes}.items():
        if content is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"{content}\n")
    return root
