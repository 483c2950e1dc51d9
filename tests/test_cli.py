"""What ends a stage: one line for what the user can mend, a traceback for a bug."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.common import records
from tests.conftest import ROOT, Run, make_task

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


@pytest.fixture
def interrupted_torch(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a stage; to import torch takes seconds, in which a stand-in for it is interrupted."""
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt\n")
    shutil.copy(ROOT / "params.yaml", tmp_path)

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
        command = [sys.executable, "-m", f"stages.{name}", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_ctrl_c_while_torch_is_imported_is_one_line(interrupted_torch: Run) -> None:
    done = interrupted_torch("merge", "--model", "x", "--out", "y")
    assert done.stderr == "interrupted; what was finished is kept, run again to go on\n"
    assert done.returncode == 130


SCRIPTS = {
    "base": "--out x",
    "sft": "--model x --tasks no.jsonl --out x",
    "sample": "--model x --tasks no.jsonl --out x",
    "raft": "--cycle 1 --parent x --tasks no.jsonl --samples x --verdicts x --earlier x --out x --training x",
    "control": "--cycle 1 --parent x --tasks no.jsonl --samples x --trained no.jsonl --out x --training x",
    "grpo": "--run 1 --parent x --tasks no.jsonl --out x --samples x --verdicts x",
    "merge": "--model x --out x",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_and_faults_do_not_wait_for_torch(name: str, interrupted_torch: Run, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text().replace("grpo: {}", 'grpo: {"1": {parent: sft}}', 1))
    assert interrupted_torch(name, "--help").returncode == 0
    arguments = SCRIPTS[name].split()
    if "no.jsonl" in arguments:
        assert interrupted_torch(name, *arguments).stderr == "error: no.jsonl: no such file\n"
    records.write(tmp_path / "no.jsonl", [make_task(1)])
    params.write_text(params.read_text().replace("dtype: float32", "dtype: float33"))
    assert "compute.dtype" in interrupted_torch(name, *arguments).stderr
