"""Releases on DVC remotes, a folder and an S3-compatible store: what one clone has pushed, another fetches, explains
and rebuilds. The pipeline here copies its inputs; the real one is released to both in test_release_pipeline.py."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from stages.common import records
from tests.releasing import Workspace
from tests.s3 import KEYS, s3_store
from tests.test_compare import OLDER, TASKS, trained_on, write_results

OUTPUTS = (
    "data/mix/train.jsonl",
    "data/samples/cycle-1.jsonl",
    "data/verdicts/cycle-1.jsonl",
    "data/training/sft.jsonl",
    "data/training/cycle-1.jsonl",
    "models/cycle-1",
)
METRIC = "metrics/benchmark/cycle-1.json"
GRAPH = {
    "stages": {
        "copy": {
            "cmd": "python copy_inputs.py",
            "deps": ["copy_inputs.py", "inputs"],
            "outs": list(OUTPUTS),
            "metrics": [{METRIC: {"cache": False}}],
        }
    }
}
COPY = f"""
import shutil
from pathlib import Path
for path in {[*OUTPUTS, METRIC]!r}:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if Path("inputs", path).is_dir() else shutil.copy)(Path("inputs", path), path)
"""
TAG = "halo-coder@v0.1.0"


@pytest.fixture(params=["a folder", "S3"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path, checkpoint: Path) -> Iterator[tuple[Workspace, Callable]]:
    """A repository whose pipeline has run, with a remote that it has not pushed to; what makes the remote lose all."""
    found = Workspace(tmp_path / "repository", **KEYS)
    found.start(yaml.safe_dump(GRAPH))
    (found.path / "copy_inputs.py").write_text(COPY)
    (found.path / "params.yaml").write_text(OLDER)
    inputs = found.path / "inputs"
    for folder in ("data/mix", "data/samples", "data/verdicts", "data/training", "data/benchmark/cycle-1"):
        (inputs / folder).mkdir(parents=True)
    records.write(inputs / "data/mix/train.jsonl", TASKS)
    write_results(inputs, "cycle-1", "benchmark", 8, "cycle-1")
    write_results(inputs, "cycle-1", "cycle", 4, "sft", "1")
    trained_on(inputs, "sft", "sft")
    trained_on(inputs, "cycle-1", "1")
    shutil.copytree(checkpoint, inputs / "models/cycle-1")
    found.run("dvc", "repro", "-q")
    if request.param == "a folder":
        found.run("dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
        found.commit("run")
        yield found, lambda: shutil.rmtree(tmp_path / "store")
        return
    with s3_store(tmp_path.name.lower().replace("_", "-")) as store:
        found.run("dvc", "remote", "add", "-q", "-d", "store", store.url)
        found.run("dvc", "remote", "modify", "store", "endpointurl", store.endpoint)
        found.commit("run")
        yield found, store.empty


def test_a_release_is_fetched_explained_and_rebuilt(workspace: tuple[Workspace, Callable], tmp_path: Path) -> None:
    origin, lose_all = workspace
    release = ("release", "--version", "v0.1.0")
    said = origin.stage(*release, code=1)
    assert "not on the DVC remote (of " in said
    assert "run `dvc push` first" in said
    origin.run("dvc", "push", "-q")
    assert "metrics/validation/cycle-1.json: no such file" in origin.stage(*release, code=1), "the next thing it wants"
    released = origin.release("v0.1.0", origin.path / "inputs/models/cycle-1")
    assert origin.run("dvc", "status", "--cloud", "--json").strip() == "{}", "the release too"

    clone = origin.clone(tmp_path / "clone")
    clone.run("dvc", "artifacts", "get", ".", "halo-coder", "--rev", "v0.1.0", "-o", "../fetched")
    fetched = {path.name: path.read_bytes() for path in (tmp_path / "fetched").iterdir()}
    assert fetched == released
    why = ("why", TAG, "--task", "t/1", "--json")
    found = json.loads(clone.stage(*why))
    assert [step["checkpoint"] for step in found["chain"]] == ["cycle-1", "sft", "base"]
    assert found["examples"][0]["sample"]["completion"] == "answer 1 [of cycle-1]"
    said = clone.stage("push_hub", "org/coder", "--dry-run")
    assert f"{len(released)} files" in said
    assert f"{len(released['model.safetensors']):,}  model.safetensors" in said
    said = clone.stage("rebuild", TAG)
    assert "the same metrics, and every artifact, byte for byte" in said
    clone.run("dvc", "pull", "-q")
    assert (clone.path / "models/release/model.safetensors").read_bytes() == released["model.safetensors"]

    late = origin.clone(tmp_path / "late")
    if origin.run("dvc", "remote", "list").split()[1].startswith("s3:"):
        said = late.stage(*why, code=1, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
        assert said.startswith("error: data/")
        assert said.endswith(f" at {TAG}: Unable to locate credentials\n")
    lose_all()
    gone = (
        f"at {TAG} is neither in DVC's cache nor on a remote; run `dvc fetch --all-tags` where they are, or reproduce"
    )
    assert gone in late.stage(*why, code=1)
    assert f"error: models/release: the content {gone}" in late.stage("push_hub", "org/coder", "--dry-run", code=1)
