"""The pipeline end to end: the smoke profile with real DVC in a real git repository, and what each change reruns.

The tests share one repository and follow one another, as a user's work does; each leaves it up to date.
"""

import json
import re
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import commands
from tests.s3 import KEYS, s3_store
from tests.smoke import CYCLE_3, Project, finished_run
from tests.sources.hub_layout import CODEFORCES_ROW, HUMANEVAL_ROW, write_codeforces, write_humaneval

pytestmark = pytest.mark.slow

CYCLE_2 = {"raft@2", "validate-sample@2", "validate@2", "benchmark-sample@cycle-2", "benchmark@cycle-2", "report"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Project:
    """The smoke profile with a chain of two cycles, run once."""
    return finished_run(shared, tmp_path_factory.mktemp("project") / "halo-forge")


def test_every_artifact_and_metric_is_there(project: Project) -> None:
    assert project.run("git", "status", "--porcelain") == "", "a run leaves nothing that is not tracked or ignored"
    for model in ("base", "sft", "cycle-1", "cycle-2"):
        assert (project.path / "models" / model / "model.safetensors").is_file()
        figures = project.metrics(f"benchmark/{model}")
        assert 0 <= figures["pass@1_low"] <= figures["pass@1"] <= figures["pass@1_high"] <= 1
        assert (figures["tasks"], figures["n"], figures["temperature"]) == (32, 4, 0.8)
    for cycle in ("cycle-1", "cycle-2"):
        samples = (project.path / f"data/samples/{cycle}.jsonl").read_text().splitlines()
        verdicts = [json.loads(v) for v in (project.path / f"data/verdicts/{cycle}.jsonl").read_text().splitlines()]
        assert [(json.loads(s)["task_id"], json.loads(s)["sample"]) for s in samples] == [
            (v["task_id"], v["sample"]) for v in verdicts
        ]
        passed = sum(v["reward"] == 1 for v in verdicts)
        assert passed > 0, "the smoke profile must exercise training"
        assert project.metrics(f"verify/{cycle}")["pass_rate"] == pytest.approx(passed / len(verdicts), abs=1e-6)
        assert 0 < project.metrics(f"raft/{cycle}")["accepted"] <= passed


def test_nothing_that_is_benchmarked_is_trained_on(project: Project) -> None:
    tasks = [json.loads(line) for line in (project.path / "data/mix/benchmark.jsonl").read_text().splitlines()]
    trained = [
        json.loads(line)
        for file in (project.path / "data/training").glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert trained
    assert not {t["prompt"] for t in tasks} & {e["prompt"] for e in trained}
    assert not {t["task_id"] for t in tasks} & {e["task_id"] for e in trained}


def test_a_second_run_does_nothing(project: Project) -> None:
    assert project.repro() == set()


def test_another_profile_and_how_to_run_rerun_nothing(project: Project) -> None:
    run = "    run: {sample: {workers: 1}, train: {checkpoint_steps: 7}, verify: {workers: 1}}\n"
    project.edit("params.yaml", "  smoke:\n", f"  smoke:\n{run}")
    project.edit("params.yaml", "learning_rate: 2.0e-3, epochs: 1", "learning_rate: 1.0e-3, epochs: 9")
    assert project.repro() == set()


def test_a_source_s_settings_prepare_that_source_again(project: Project, tmp_path: Path) -> None:
    secret = "Given the ages of two people who have never met before, say how old they are together on their birthday."
    answers = [f"```python\nprint(sum(map(int, input().split())) + {n} - {n})\n```" for n in range(3)]
    rows = [{**CODEFORCES_ROW, "id": f"{n}/A", "generation": answer} for n, answer in enumerate(answers)]
    rows[0] |= {"description": secret}
    write_codeforces(tmp_path, rows)
    write_humaneval(tmp_path, [{**HUMANEVAL_ROW, "prompt": f'def inc(x):\n    """{secret}"""\n'}])
    project.edit("params.yaml", "  hub: null", f"  hub: {tmp_path}")
    before = "benchmark: [32, 0, 0]\n      codeforces_cpp: null\n      codeforces_python: null\n      humaneval: null"
    settings = before.replace("python: null", "python: {validation: 0.0, max_tasks: 3}")
    project.edit("params.yaml", before, settings)
    train = project.metrics("data/mix")["train"]
    assert {"prepare@codeforces_python", "mix"} <= project.repro("mix")
    assert project.metrics("data/mix")["train"] == train + 3
    project.edit("params.yaml", settings, settings.replace("max_tasks: 3", "max_tasks: 2"))
    assert project.repro("mix") == {"prepare@codeforces_python", "mix"}
    assert project.metrics("data/mix")["train"] == train + 2
    project.edit("stages/sources/codeforces_python.py", '"""', '"""Touched. ')
    assert project.repro("mix") == {"prepare@codeforces_python"}, "the tasks are the same"
    # One more benchmark filters the training tasks again.
    project.edit("params.yaml", "max_tasks: 2}\n      humaneval: null", "max_tasks: 2}\n      humaneval: {}")
    assert project.repro("mix") == {"prepare@humaneval", "mix"}
    found = project.metrics("data/mix")
    assert (found["train"], found["benchmark"], found["dropped_train_prompt_words"]) == (train + 1, 33, 1)
    project.run("git", "checkout", "-q", ".")
    assert {name.partition("@")[0] for name in project.repro()} <= {"prepare", "mix"}


def test_touching_a_verifier_verifies_again_and_samples_nothing(project: Project) -> None:
    project.edit("stages/verifiers/python.py", '"""', '"""Touched. ')
    ran = project.repro("raft@1", "validate@1", "benchmark@sft")
    # The verdicts are the same, so nothing is selected or trained again.
    judging = {"verify@1", "validate-sft", "validate@1", "benchmark@sft"}
    assert {name for name in ran if not name.startswith("prepare@")} == judging


def test_a_verifier_that_judges_otherwise_reruns_what_follows(project: Project) -> None:
    project.edit("stages/verifiers/verdicts.py", "0.0, 0.3, 0.5, 0.7, 1.0", "0.0, 0.3, 0.5, 0.6, 1.0")
    ran = project.repro("raft@1")
    assert {"verify@1", "raft@1"} <= ran
    assert not any(name.startswith("sample@") for name in ran)
    project.run("git", "checkout", "-q", "stages")
    back = project.run("dvc", "repro")
    assert not any(name.startswith("sample@") for name in Project.stages_run(back))
    assert "Stage 'raft@1' is cached" in back, "what was trained before is taken from DVC's run cache"


def test_an_experiment_with_a_cycles_threshold_reruns_selection_and_training_only(project: Project) -> None:
    before = project.metrics("raft/cycle-2")
    output = project.run("dvc", "exp", "run", "-n", "loose", "-S", "cycles.2.threshold=0.7")
    ran = Project.stages_run(output)
    assert "raft@2" in ran
    assert ran <= CYCLE_2, "the selection and what follows from it, no sampling"
    assert project.metrics("raft/cycle-2")["accepted"] > before["accepted"]
    shown = project.run("dvc", "exp", "show", "--csv")
    header, *rows = shown.splitlines()
    assert "metrics/benchmark/cycle-2.json:pass@1" in header
    assert any(row.startswith("loose,") for row in rows)


def test_metrics_and_plots_read_well(project: Project) -> None:
    shown = project.run("dvc", "metrics", "show", "--md")
    assert re.search(r"metrics/benchmark/cycle-2.json\s*\|.*0\.\d+", shown)
    project.commit("loose")
    changed = project.run("dvc", "metrics", "diff", "HEAD~1", "--md")
    assert re.search(r"metrics/raft/cycle-2.json\s*\| accepted\s*\| \d+\s*\| \d+", changed)
    assert "nothing" not in changed
    page = project.run("dvc", "plots", "show", "--json")
    plots = json.loads(page[page.index("{") :])["data"]
    named = {"learning curve", "rewards", "training loss", "data rows", "data lengths", "pass rate by category"}
    assert set(plots) == named | {"time by stage", "tokens by stage"}
    for plot in plots.values():
        content = plot[0]["content"]
        content = json.loads(content) if isinstance(content, str) else content
        assert content["data"]["values"], "every plot holds data"
        assert "<DVC_METRIC" not in json.dumps(content), "every anchor of the template is filled in"


def test_the_readme_s_dvc_commands_run(project: Project) -> None:
    """All but `dvc exp run -S seed=1`, which trains all again; an experiment is run above."""
    listed = [c.split() for c in commands((ROOT / "README.md").read_text()) if c.startswith("dvc ")]
    assert len(listed) >= 6
    for command in listed:
        if command[:3] != ["dvc", "exp", "run"]:
            project.run(*command)


def test_one_more_cycle_runs_only_that_cycle(project: Project) -> None:
    ran = Project.stages_run(project.run("python", "-m", "stages.cycles", "--cycles", "3"))
    own = {"sample@3", "verify@3", "raft@3", "validate-sample@3", "validate@3"}
    assert ran == {*own, "benchmark-sample@cycle-3", "benchmark@cycle-3", "report"}
    assert '+  "3": {parent: cycle-2' in project.run("git", "diff", "params.yaml")
    assert "cycle-3" in (project.path / "metrics/report/learning_curve.csv").read_text()


def test_a_shorter_run_stops_at_its_cycle(project: Project) -> None:
    project.edit("params.yaml", '"3": {parent: cycle-2, temperature: null', '"3": {parent: cycle-2, temperature: 0.9')
    assert Project.stages_run(project.run("python", "-m", "stages.cycles", "--cycles", "2")) == set()


def test_a_cycle_that_regresses_is_kept_and_not_gone_on_from(project: Project) -> None:
    project.edit("params.yaml", '"3": {parent: cycle-2, temperature: 0.9', '"3": {parent: cycle-2, temperature: null')
    cycle_2 = "threshold: 0.7, learning_rate: "  # the threshold is that of the experiment above
    project.edit("params.yaml", cycle_2 + "null", cycle_2 + "0.5")
    output = project.run("dvc", "repro", "raft@3")
    assert re.search(r"cycle-2: pass@1 0\.\d+ .*below .* of cycle-1: REGRESSED", output)
    assert "cycle-2 has regressed: going on from cycle-1" in output
    assert project.metrics("validation/cycle-2")["regressed"] == 1
    assert (project.path / "models/cycle-2/model.safetensors").is_file()
    first = json.loads((project.path / "data/samples/cycle-3.jsonl").read_text().splitlines()[0])
    assert first["checkpoint"] == "cycle-1"
    trained = [json.loads(line)["cycle"] for line in (project.path / "data/training/cycle-3.jsonl").open()]
    assert set(trained) <= {"1", "3"}, "nor is what it was trained on"
    # Unless asked.
    project.edit("params.yaml", CYCLE_3, CYCLE_3.replace("false", "true"))
    assert Project.stages_run(project.run("dvc", "repro", "sample@3")) == {"sample@3"}
    first = json.loads((project.path / "data/samples/cycle-3.jsonl").read_text().splitlines()[0])
    assert first["checkpoint"] == "cycle-2"
    project.run("git", "checkout", "-q", ".")
    project.run("dvc", "checkout", "-q", "--force")


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


def test_a_failed_stage_leaves_nothing_half_written(project: Project) -> None:
    weights = project.path / "models/cycle-2/model.safetensors"
    weights.unlink()
    weights.write_bytes(b"broken")
    error = project.run("python", "-m", "stages.sample", "--model", "models/cycle-2", "--tasks", "data/mix/train.jsonl",
                        "--out", "data/samples/x.jsonl", code=1)  # fmt: skip
    assert "error: models/cycle-2: cannot load the checkpoint" in error
    assert not (project.path / "data/samples/x.jsonl").exists()


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
