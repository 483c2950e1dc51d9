"""What ends a stage: one line for what the user can mend, a traceback for a bug."""

import os
import subprocess
import sys
from pathlib import Path

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


def test_ctrl_c_while_torch_is_imported_is_one_line(tmp_path: Path) -> None:
    """Which takes seconds: a stand-in for it is interrupted."""
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-m", "stages.merge", "--model", "x", "--out", "y", "--params", ROOT / "params.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == "interrupted; what was finished is kept, run again to go on\n"
    assert done.returncode == 130


STAGES = sorted(
    path.stem
    for path in (ROOT / "stages").glob("*.py")
    if "argument_parser(__doc__" in path.read_text() and path.stem != "doctor"
)


def test_help_and_a_wrong_setting_do_not_wait_for_torch() -> None:
    assert len(STAGES) > 20
    names = ", ".join(f"stages.{name}" for name in STAGES)
    code = f"import sys, {names}; print(sorted({{'torch', 'transformers', 'datasets', 'dvc'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
