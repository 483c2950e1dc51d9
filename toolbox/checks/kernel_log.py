"""Item 12: what the kernel has logged of the GPU: MES not answering, ring timeouts, page faults, resets."""

import re
import subprocess
from collections.abc import Sequence

from toolbox.checks.results import Result, is_root

FAULTS = {
    "MES": r"MES (failed to respond|might be in unrecoverable)|failed to (add|remove|unmap) \S+ ?queue",
    "ring timeout": r"\bring \S+ timeout\b",
    "page fault": r"\[(gfxhub|mmhub)\d*\] page fault|Memory access fault by GPU",
    "GPU reset": r"GPU reset begin",
    "Xid": r"NVRM: Xid",  # NVIDIA's driver
}
SOURCES = (("dmesg",), ("journalctl", "--dmesg", "--boot", "--no-pager", "--quiet"))
CLOSED = "sudo sysctl kernel.dmesg_restrict=0, or join the group systemd-journal; in a container: run it on the host"
REMEDY = "see items 2 and 4 (firmware, kernel, HSA override); restart before going on, as the GPU may be wedged"


def read() -> list[str] | None:
    """The lines of this boot; None where this user may not see them."""
    for command in SOURCES:
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            continue
        lines = done.stdout.decode("utf-8", "replace").splitlines()
        # journalctl answers a user who may see nothing with success and no lines.
        if done.returncode == 0 and lines:
            return lines
    return None


def faults(lines: Sequence[str]) -> dict[str, list[str]]:
    """The lines that tell of a fault of the GPU, by kind."""
    found = {kind: [line for line in lines if re.search(pattern, line)] for kind, pattern in FAULTS.items()}
    return {kind: matching for kind, matching in found.items() if matching}


def judge(before: Sequence[str] | None, after: Sequence[str] | None) -> Result:
    """Faults since `before` was read fail; earlier ones of this boot are a warning."""
    if before is None or after is None:
        who = "root" if is_root() else "this user"
        return Result(12, "kernel log", "skipped", f"neither dmesg nor journalctl shows it to {who}", remedy=CLOSED)
    old = set(before)
    new = faults([line for line in after if line not in old])
    if new:
        return Result(12, "kernel log", "fail", f"during this check: {_told(new)}", "no fault of the GPU", REMEDY)
    if earlier := faults(before):
        return Result(12, "kernel log", "warning", f"since the start: {_told(earlier)}", "no fault of the GPU", REMEDY)
    return Result(12, "kernel log", "pass", "no MES fault, ring timeout, page fault or GPU reset since the start")


def _told(found: dict[str, list[str]]) -> str:
    counts = ", ".join(f"{len(lines)} x {kind}" for kind, lines in found.items())
    return f"{counts}; the first: {next(iter(found.values()))[0].strip()[:160]}"
