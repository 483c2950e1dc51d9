"""What varies from run to run (seconds, rates, machine), kept apart from results: nothing depends on these files."""

import os
import platform
import resource
from pathlib import Path
from typing import Any

from stages.common.files import write_json


def write_timing(path: Path | None, values: dict[str, Any]) -> None:
    """Write a stage's timing file, with the machine and this process's peak memory; nothing if `path` is None."""
    if path is None:
        return
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    machine = {
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    write_json(path, {**values, "peak_memory_mb": round(peak_mb, 1), **machine})
