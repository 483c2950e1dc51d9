"""The report: every metric in its table, and one line for what is missing or broken."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run

MODELS = ("base", "sft", "cycle-1", "cycle-2", "cycle-3")


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    """A folder with the metrics of a finished run of the shipped chain, and its params.yaml beside it."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    folder = tmp_path / "metrics"
    for name in ("benchmark", "category", "loss", "rewards"):
        (folder / name).mkdir(parents=True)
    for number, model in enumerate(MODELS):
        figures = {"pass@1": number / 10, "pass@1_low": 0.0, "pass@1_high": 0.5, "pass@4": 0.6}
        figures |= {"pass@4_low": 0.1, "pass@4_high": 0.9, "tasks": 8}
        (folder / f"benchmark/{model}.json").write_text(json.dumps(figures))
        (folder / f"category/{model}.csv").write_text("field,value,tasks,pass@1\nsteps,2,4,0.5\n")
        if model != "base":
            (folder / f"loss/{model}.csv").write_text("step,epoch,loss,learning_rate\n10,1.0,0.5,0.001\n")
        if model.startswith("cycle"):
            text = "reward,level,samples\n0.0,compile_error,1\n0.5,timeout,1\n0.5,runtime_error,1\n1.0,pass,1\n"
            (folder / f"rewards/{model}.csv").write_text(text)
    (folder / "data").mkdir()
    source = {"used": True, "rows": 9, "train": 5, "validation": 0, "benchmark": 1, "dropped": 3}
    source |= {"dropped_near_duplicate": 3, "dropped_near_duplicate_ids": ["a", "b", "c"]}
    source |= {"prompt_tokens": {"32": 6}, "example_tokens": {"64": 4, "128": 2}}
    (folder / "data/own.json").write_text(json.dumps(source))
    (folder / "data/unused.json").write_text(json.dumps({"used": False, "rows": 0}))
    (folder / "data/mix.json").write_text(json.dumps({"train": 5}))
    return folder


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder.parent / "out" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_metrics_come_together(metrics: Path, stage: Run) -> None:
    out = stage("report", "--metrics", "metrics", "--out", "out").stdout
    assert "cycle-3" in out
    curve = table(metrics, "learning_curve")
    assert [(r["checkpoint"], r["metric"]) for r in curve] == [(m, k) for m in MODELS for k in ("pass@1", "pass@4")]
    assert [r["order"] for r in curve[::2]] == list("01234")
    first = [(r["reward"], r["samples"], r["share"]) for r in table(metrics, "rewards") if r["cycle"] == "cycle 1"]
    assert first == [("0.0", "1", "0.25"), ("0.5", "2", "0.5"), ("1.0", "1", "0.25")], "levels of a reward are added up"
    assert [r["checkpoint"] for r in table(metrics, "training_loss")] == list(MODELS[1:])
    assert [r["checkpoint"] for r in table(metrics, "categories")] == list(MODELS)


def test_what_stages_took_is_a_table_beside_their_files(metrics: Path, stage: Run) -> None:
    timing = metrics / "timing"
    timing.mkdir()
    for name, rates in {
        "sample-cycle-10": {"tokens_per_second": 900.5, "samples_per_second": 3.5},
        "sample-cycle-9": {},
        "raft-cycle-9": {"train_tokens_per_second": 50.0},
        "validate-sample-sft": {},
        "mix": {},
        "prepare-codeforces_cpp": {},
        "mine": {},
    }.items():
        (timing / f"{name}.json").write_text(json.dumps({"process_seconds": 2.5, **rates}))
    (timing / "sft.json").write_text("{}")
    stage("report", "--metrics", "metrics", "--out", "out", "--timing", "metrics/timing")
    with (timing / "stages.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["item"]) for row in rows] == [
        ("prepare", "codeforces_cpp"),
        ("mix", ""),
        ("sft", ""),
        ("sample", "cycle-9"),
        ("sample", "cycle-10"),
        ("raft", "cycle-9"),
        ("validate-sample", "sft"),
        ("mine", ""),
    ]
    assert [row["seconds"] for row in rows] == ["2.5", "2.5", "", *["2.5"] * 5], "an older file has no seconds"
    assert [row["tokens_per_second"] for row in rows] == ["", "", "", "", "900.5", "50.0", "", ""]


def test_greedy_figures_are_shown_where_there_are_any(metrics: Path, stage: Run) -> None:
    def shown() -> str:
        return stage("report", "--metrics", "metrics", "--out", "out").stdout

    assert "greedy" not in shown()
    path = metrics / "benchmark/cycle-3.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"greedy_pass@1": 0.4321}))
    out = shown()
    assert "greedy" in out and "0.432" in out


def test_trimmed_figures_stand_beside_the_strict_ones(metrics: Path, stage: Run) -> None:
    """In a column of the table, and in no curve: a figure to compare with published ones."""
    path = metrics / "benchmark/cycle-3.json"
    before = json.loads(path.read_text())
    trimmed = {f"pass@1_trimmed{end}": value for end, value in {"": 0.5432, "_low": 0.5, "_high": 0.6}.items()}
    path.write_text(json.dumps(before | trimmed))
    out = stage("report", "--metrics", "metrics", "--out", "out").stdout
    assert "trimmed" in out and "0.543" in out
    rows = csv.DictReader((metrics.parent / "out/learning_curve.csv").open())
    assert not any("trimmed" in row["metric"] for row in rows)


def test_a_regress_is_told_whole_in_a_line(metrics: Path, stage: Run) -> None:
    (metrics / "validation").mkdir()
    for number, regressed in ((1, 0), (2, 1), (3, 0)):
        figures = {"pass@1": number / 10, "regressed": regressed}
        (metrics / f"validation/cycle-{number}.json").write_text(json.dumps(figures))
    told = "cycle-2 REGRESSED on validation, pass@1 0.200, below cycle-1's; cycle 3 went on from what came before\n"
    assert told in stage("report", "--metrics", "metrics", "--out", "out").stdout
    params = metrics.parent / "params.yaml"
    third = '"3": {parent: cycle-2, temperature: null, threshold: null, learning_rate: null, use_regressed: '
    assert third in params.read_text()
    params.write_text(params.read_text().replace(third + "false", third + "true"))
    out = stage("report", "--metrics", "metrics", "--out", "out").stdout
    assert "; cycle 3 went on from it all the same (use_regressed)\n" in out


def test_what_became_of_rows(metrics: Path, stage: Run) -> None:
    stage("report", "--metrics", "metrics", "--out", "out")
    assert [tuple(row.values()) for row in table(metrics, "data_rows")] == [
        ("own", "train", "5"),
        ("own", "benchmark", "1"),
        ("own", "dropped: near duplicate", "3"),
    ]
    assert [tuple(row.values()) for row in table(metrics, "data_lengths")] == [
        ("own", "prompt", "32", "6"),
        ("own", "prompt and reference", "64", "4"),
        ("own", "prompt and reference", "128", "2"),
    ]


@pytest.mark.parametrize("name", ["benchmark/sft.json", "loss/sft.csv", "rewards/cycle-2.csv", "category/base.csv"])
def test_a_missing_metric_is_named(metrics: Path, stage: Run, name: str) -> None:
    (metrics / name).unlink()
    error = stage("report", "--metrics", "metrics", "--out", "out", code=1).stderr
    assert error == f"error: metrics/{name}: no such file; run the stage that writes it\n"


def test_a_broken_metric_is_named(metrics: Path, stage: Run) -> None:
    (metrics / "benchmark/sft.json").write_text('{"pass@1": 0.')
    error = stage("report", "--metrics", "metrics", "--out", "out", code=1).stderr
    assert error.startswith("error: metrics/benchmark/sft.json:1: not JSON")
    assert not (metrics.parent / "out").exists()
