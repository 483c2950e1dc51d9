"""The CPU's threads: MKL's vector functions choose their kernels before several threads call them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT

SOURCE = Path(__file__).with_name("mkl_first_call.c")
# A model's first cos: rotary embeddings, of enough elements for two threads. Other functions choose with it.
PROGRAM = """
import torch
from stages.lm import devices

{}(2)
for function in (torch.cos, torch.sin, torch.exp, torch.sqrt, torch.erf):
    for kind in (torch.float32, torch.float64):
        function(torch.arange(40_000, dtype=kind))
"""


@pytest.fixture(scope="module")
def spy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library to preload that tells which threads choose."""
    if not torch.backends.mkl.is_available():
        pytest.skip("this torch is built without MKL, whose first call is meant")
    library = tmp_path_factory.mktemp("spy") / "spy.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True, timeout=60)
    return library


@pytest.mark.parametrize(
    ("setter", "chosen"), [("torch.set_num_threads", {"main", "worker"}), ("devices.use_threads", {"main"})]
)
def test_one_thread_chooses_the_kernels_for_all(spy: Path, setter: str, chosen: set[str]) -> None:
    """With torch's own setter two threads meet in the choice, where one may get a less exact kernel. Where that fails,
    torch has another MKL by now: see whether `use_threads` still has to do with it."""
    env = {**os.environ, "LD_PRELOAD": str(spy)}
    command = [sys.executable, "-c", PROGRAM.format(setter)]
    found = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr
    assert {line.split()[-1] for line in found.stderr.splitlines() if line.startswith("chosen by ")} == chosen
    assert found.stderr.count("chosen by ") == len(chosen), "chosen once, for all functions"
