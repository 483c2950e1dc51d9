"""The pipeline end to end: the smoke profile with real DVC in a real git repository, and what each change reruns.

The tests share one repository and follow one another, as a user's work does; each leaves it up to date.
"""

import json
import re
from pathlib import Path

import pytest

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
    names = ("verifiers/.gcc.py.swp", "sandbox/jobs.py~", "sandbox/inside/#a#")
    leftovers = [project.path / "stages" / name for name in names]
    for path in leftovers:
        path.touch()
    assert project.repro() == set(), "nor for what editors leave in a folder of modules"
    for path in leftovers:
        path.unlink()


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


def test_a_failed_stage_leaves_nothing_half_written(project: Project) -> None:
    weights = project.path / "models/cycle-2/model.safetensors"
    weights.unlink()
    weights.write_bytes(b"broken")
    error = project.run("python", "-m", "stages.sample", "--model", "models/cycle-2", "--tasks", "data/mix/train.jsonl",
                        "--out", "data/samples/x.jsonl", code=1)  # fmt: skip
    assert "error: models/cycle-2: cannot load the checkpoint" in error
    assert not (project.path / "data/samples/x.jsonl").exists()
