"""Rebuilding a revision: a small pipeline in a real git and DVC repository."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

GRAPH = """
stages:
  draw:
    cmd: python draw.py
    deps: [draw.py]
    outs: [data.txt]
    metrics:
      - metrics/found.json:
          cache: false
"""
DRAW = """
import json, os
from pathlib import Path
again = Path.cwd().parent.name == "rebuild"
cache = os.environ.get("XDG_CACHE_HOME", "")
assert not again or cache == f"{{Path.cwd()}}.cache", cache
value = {value}
os.makedirs("metrics", exist_ok=True)
open("data.txt", "w").write(str({bytes}))
open("metrics/found.json", "w").write(json.dumps({{"pass@1": value}}))
"""


def run(folder: Path, *command: str, code: int = 0) -> str:
    environment = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    environment["HOME"] = str(folder.parent)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    for command in ("git init -q -b main", "git config user.name T", "git config user.email t@e", "dvc init -q"):
        run(folder, *command.split())
    (folder / "dvc.yaml").write_text(GRAPH)
    return folder


def tagged(folder: Path, tag: str, value: str, content: str = "1") -> None:
    (folder / "draw.py").write_text(DRAW.format(value=value, bytes=content))
    run(folder, "dvc", "repro", "-q")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", tag)
    run(folder, "git", "tag", tag)


def rebuild(folder: Path, *arguments: str, code: int = 0) -> str:
    return run(folder, sys.executable, "-m", "stages.rebuild", *arguments, code=code)


def test_a_tag_comes_out_the_same_or_is_told_of(repository: Path) -> None:
    tagged(repository, "v1", "0.5")
    tagged(repository, "v2", "0.25", "os.getpid()")
    tagged(repository, "v3", "os.getpid()")
    assert "v1: rebuilt in build/rebuild/" in (said := rebuild(repository, "v1"))
    assert "the same metrics, and every artifact, byte for byte" in said
    said = rebuild(repository, "v2")
    assert "data.txt: other bytes" in said
    assert "the same metrics, though 1 artifacts have other bytes" in said
    assert "error: v3: 1 metrics came out otherwise, and 0 artifacts" in rebuild(repository, "v3", code=1)
    assert "rebuilt in" in rebuild(repository, "v1"), "what is there is gone on with"
    folder = next((repository / "build/rebuild").iterdir())
    other = next(tag for tag in ("v1", "v2") if run(repository, "git", "rev-parse", tag)[:12] != folder.name)
    assert "of another commit" in rebuild(repository, other, "--folder", str(folder), code=1)
    assert rebuild(repository, "v9", code=1) == "error: v9: git knows no such revision, and DVC no such experiment\n"
