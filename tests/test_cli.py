"""What ends a stage: one line for what the user can mend, a traceback for a bug."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

FULL = "HIP out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 96.00 GiB of which 1 GiB is free."


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            f"torch.OutOfMemoryError({FULL!r})",
            "error: HIP out of memory. Tried to allocate 2.00 GiB. Lower the stage's batch or lengths; `make plan` "
            "tells what fits\n",
        ),
        ("RuntimeError('a bug')", None),
        (
            "OSError(28, 'No space left on device', 'a/b')",
            "error: a/b: no space left on the device; free some and ",
        ),
    ],
)
def test_what_a_stage_says_as_it_ends(error: str, line: str | None) -> None:
    code = f"import torch\nfrom stages.common.cli import run\ndef main():\n    raise {error}\nrun(main)\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(line) if line else "Traceback" in done.stderr
