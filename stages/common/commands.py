"""Commands of other programs, whose failure is one line."""

import re
import subprocess
from pathlib import Path

from stages.common.errors import HaloForgeError


def said(*command: str, folder: Path | None = None) -> str:
    """What a command says. Raises HaloForgeError with what it says of its failure."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"(error|fatal): ", line, re.IGNORECASE)]
        reason = (errors or lines[-1:] or [f"exit code {done.returncode}"])[0]
        raise HaloForgeError(f"`{' '.join(command)}`: {reason}")
    return done.stdout
