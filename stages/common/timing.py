"""What varies from run to run (seconds, rates, machine), kept apart from results: nothing depends on these files."""

import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

from stages.common.files import write_json


def write_timing(path: Path | None, values: dict[str, Any]) -> None:
    """Write a stage's timing file, with the machine, this process's age in seconds (start-up and all) and peak memory;
    nothing if `path` is None."""
    if path is None:
        return
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    machine = {
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    write_json(path, {**values, "process_seconds": round(_age(), 1), "peak_memory_mb": round(peak_mb, 1), **machine})


def _age() -> float:
    """Seconds since this process was started. Field 22 of /proc/PID/stat counts clock ticks after boot (proc(5))."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
