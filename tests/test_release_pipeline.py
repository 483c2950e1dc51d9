"""What comes after a finished run, with real DVC in a real git repository: a control, a release and the next, stages.

The tests share one repository and follow one another, as a user's work does.
"""

import json
import re
import sys
import time
from pathlib import Path

import pytest

from tests.s3 import KEYS, s3_store
from tests.smoke import Project, finished_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Project:
    """The smoke profile with a chain of two cycles, run once."""
    return finished_run(shared, tmp_path_factory.mktemp("project") / "halo-forge")


def test_a_control_stands_beside_its_cycle(project: Project) -> None:
    ran = Project.stages_run(output := project.run("python", "-m", "stages.controls", "--cycle", "1"))
    assert ran == {"control@1", "benchmark-sample@control-1", "benchmark@control-1", "report"}
    assert "RAFT beside its control" in output
    metrics = project.metrics("control/1")
    assert metrics["unverified"] == metrics["accepted_by_the_cycle"] == project.metrics("raft/cycle-1")["accepted"]
    examples = [json.loads(line) for line in (project.path / "data/training/control-1.jsonl").open()]
    assert all(example["reward"] == 0 for example in examples)
    assert "control-1" in (project.path / "metrics/report/learning_curve.csv").read_text()
    row = (project.path / "metrics/report/control.csv").read_text().splitlines()[1].split(",")
    assert float(row[3]) == pytest.approx(float(row[1]) - float(row[2]), abs=1e-5)
    assert float(row[4]) <= float(row[3]) <= float(row[5])


def test_a_release_is_made_explained_and_fetched(project: Project, tmp_path: Path) -> None:
    release = ("python", "-m", "stages.release", "--version", "v0.1.0", "--name", "coder")
    assert "not committed" in project.run(*release, code=1)
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "checkout", "-q", "--force")
    project.edit("stages/mix.py", '"""', '"""Touched. ')
    project.commit("stale")
    assert "not up to date" in project.run(*release, code=1)
    project.run("git", "revert", "--no-edit", "HEAD")
    project.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    project.commit("remote")
    assert "not on the DVC remote" in project.run(*release, code=1)
    project.run("dvc", "push", "-q")
    said = project.run(*release, "--cycle", "1")
    assert re.search(r"cycle-1: validation pass@1 0\.\d+ \[.*\]; the first release", said)
    assert "coder@v0.1.0: cycle-1, in models/release" in said
    assert project.run("git", "status", "--porcelain") == ""
    assert project.run("dvc", "status").strip().endswith("up to date.")
    assert "coder@v0.1.0: there is such a tag" in project.run(*release, code=1)
    assert re.search(r"coder\s*│\s*v0\.1\.0", project.run("gto", "show"))
    assert "# coder v0.1.0" in (project.path / "models/release/README.md").read_text()
    # From the tag to the samples, with the checkpoint that was released and not the chain's last.
    said = project.run("python", "-m", "stages.why", "coder@v0.1.0", "--json")
    assert [step["checkpoint"] for step in json.loads(said)["chain"]] == ["cycle-1", "sft", "base"]
    said = project.run("python", "-m", "stages.compare", "coder@v0.1.0", "--json")
    assert json.loads(said[said.index("{") :])["A"] == "coder@v0.1.0:cycle-1"
    # In another clone, by its name alone, from the remote.
    clone = Project(tmp_path / "clone")
    project.run("git", "clone", "-q", ".", str(clone.path))
    clone.run("dvc", "artifacts", "get", ".", "coder", "--rev", "v0.1.0", "-o", str(tmp_path / "fetched"))
    released = (project.path / "models/cycle-1/model.safetensors").read_bytes()
    assert (tmp_path / "fetched/model.safetensors").read_bytes() == released
    # One that fails leaves all as it was.
    hook = project.path / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    project.run("python", "-m", "stages.release", "--version", "v0.2.0", "--name", "coder", code=1)
    hook.unlink()
    assert project.run("git", "status", "--porcelain") == ""
    assert project.run("dvc", "status").strip().endswith("up to date.")


def test_the_next_release_goes_to_s3_and_is_explained_from_there(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with s3_store("halo-forge") as store:
        project.run("dvc", "remote", "add", "-d", "cloud", store.url)
        project.run("dvc", "remote", "modify", "cloud", "endpointurl", store.endpoint)
        project.commit("S3")
        release = ("python", "-m", "stages.release", "--version", "v0.2.0", "--name", "coder")
        assert "not on the DVC remote" in project.run(*release, code=1)
        project.run("dvc", "push", "-q")
        said = project.run(*release)  # of the best on validation, unless it lies below
        assert re.search(r"cycle-\d: validation pass@1 .*, beside .* of coder@v0.1.0", said)
        clone = Project(tmp_path / "from S3")
        project.run("git", "clone", "-q", ".", str(clone.path))
        why = ("python", "-m", "stages.why", "coder@v0.2.0")
        assert clone.run(*why) == project.run(*why)
        clone.run("dvc", "pull", "-q", "models/release.dvc")
        for path in (project.path / "models/release").iterdir():
            assert (clone.path / "models/release" / path.name).read_bytes() == path.read_bytes()


def test_a_release_is_put_into_a_stage_and_taken_out(project: Project) -> None:
    make = ("make", "-o", "setup", f"VENV={sys.prefix}", "NAME=coder", "STAGE=prod")
    project.run(*make, "promote", "VERSION=v0.1.0")
    time.sleep(1.1)  # gto goes by the tags' seconds
    project.run(*make, "promote", "VERSION=v0.2.0")
    assert project.run("gto", "show", "coder#prod", "--version").strip() == "v0.2.0"
    project.run(*make, "rollback")
    assert project.run("gto", "show", "coder#prod", "--version").strip() == "v0.1.0"
