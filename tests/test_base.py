"""The base model: from a directory, from the hub, or built here."""

import json
import shutil
from pathlib import Path

import pytest

from stages.lm import load
from stages.settings.compute import ComputeSettings
from tests.conftest import Run

COMPUTE = "compute: {threads: 1, dtype: float32, attention: sdpa}\n"
TINY = """
base:
  tiny:
    {vocabulary: 300, hidden: 32, layers: 1, heads: 2, texts: [40, 0, 0], train: {learning_rate: 1e-3}}
"""


def settings(folder: Path, base: str) -> None:
    (folder / "params.yaml").write_text(COMPUTE + base)


def test_a_local_directory_is_copied_without_what_is_not_needed(tmp_path: Path, stage: Run, checkpoint: Path) -> None:
    source = shutil.copytree(checkpoint, tmp_path / "source")
    (source / "pytorch_model.bin").write_bytes(b"never loaded")
    settings(tmp_path, f"base: {{hub: {source}}}\n")
    stage("base", "--out", "models/base", "--timing", "t.json")
    assert not (tmp_path / "models/base/pytorch_model.bin").exists()
    assert load.load_model(tmp_path / "models/base", ComputeSettings(dtype="float32")).num_parameters() > 0
    assert json.loads((tmp_path / "t.json").read_text())["fetch_seconds"] > 0


def test_a_broken_local_directory_leaves_nothing(tmp_path: Path, stage: Run, checkpoint: Path) -> None:
    source = shutil.copytree(checkpoint, tmp_path / "source")
    (source / "model.safetensors").write_bytes(b"broken")
    settings(tmp_path, f"base: {{hub: {source}}}\n")
    error = stage("base", "--out", "models/base", code=1).stderr
    assert "cannot load the checkpoint" in error
    assert not list((tmp_path / "models").iterdir())


def test_the_hub_needs_a_pinned_revision(tmp_path: Path, stage: Run) -> None:
    settings(tmp_path, "base: {hub: owner/model}\n")
    error = stage("base", "--out", "models/base", code=1).stderr
    assert error.startswith("error: base.revision: missing; pin a commit of owner/model")


def test_a_hub_out_of_reach_is_one_line(tmp_path: Path, stage: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    settings(tmp_path, "base: {hub: owner/model, revision: 0123456789abcdef0123456789abcdef01234567}\n")
    error = stage("base", "--out", "models/base", code=1).stderr
    assert error.startswith("error: base.hub: cannot fetch owner/model")
    assert "a local directory will do" in error
    assert error.count("\n") == 1


def test_a_tiny_base_is_the_same_each_time(tmp_path: Path, stage: Run) -> None:
    settings(tmp_path, TINY)
    for name in ("a", "b"):
        stage("base", "--out", name)
    files = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert files[0] == files[1]
    assert "model.safetensors" in files[0]
