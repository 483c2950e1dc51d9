"""Where a Strix Halo's GPU shows itself below /sys, /proc and /dev, or below the root of a recorded tree of these."""

import re
from dataclasses import dataclass
from pathlib import Path

from toolbox.checks.results import number, text

VENDOR, DEVICE = "0x1002", "0x1586"  # AMD's Radeon 8060S and 8050S, the GPU of Strix Halo
NONE = f"no Strix Halo here (PCI device {VENDOR[2:]}:{DEVICE[2:]})"
ELSEWHERE = "run it on the box, with /sys mounted"


@dataclass(frozen=True)
class Box:
    """A machine as its kernel shows it; `gpu` is the folder of the GPU's PCI device."""

    root: Path
    gpu: Path

    @property
    def release(self) -> str:
        """The kernel's release, such as 6.18.4-200.fc43.x86_64."""
        return text(self.root / "proc/sys/kernel/osrelease") or ""

    @property
    def command_line(self) -> str:
        """What the kernel was started with."""
        return text(self.root / "proc/cmdline") or ""

    @property
    def memory(self) -> int:
        """Bytes of memory that the system has, without the carve-out; 0 where that is not told."""
        found = re.search(r"^MemTotal:\s+(\d+) kB", text(self.root / "proc/meminfo") or "", re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def gpu_bytes(self, pool: str) -> int | None:
        """Bytes of the GPU's pool `gtt` (the system's memory that it may map) or `vram` (the carve-out)."""
        return number(self.gpu / f"mem_info_{pool}_total")

    @property
    def in_container(self) -> bool:
        """Whether what is installed here is not what the kernel and its firmware came from."""
        return any((self.root / name).exists() for name in ("run/.containerenv", ".dockerenv"))


def look(root: Path) -> Box | None:
    """Look for the GPU below `root`, which is / or a recorded tree; None where there is none."""
    for folder in sorted((root / "sys/bus/pci/devices").glob("*")):
        if (text(folder / "vendor"), text(folder / "device")) == (VENDOR, DEVICE):
            return Box(root, folder)
    return None
