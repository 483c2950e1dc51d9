"""The benchmark's figures, from samples to pass@k."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from stages.common import records
from stages.common.errors import InputError
from stages.common.records import Sample, Verdict
from stages.common.score import categories, figures
from stages.settings.scoring import ScoreSettings
from tests.conftest import Run, make_task, write_lines

RIGHT = "def f(xs):\n    return [x + {} for x in xs]\n"
SETTINGS = "benchmark: {sample: {n: 4}, score: {k: [1, 4], resamples: 500}}\n"


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """Three tasks, of which 4, 1 and 0 of 4 samples pass."""
    (tmp_path / "params.yaml").write_text(SETTINGS)
    tasks = [make_task(n, meta={"category": "list" if n < 2 else "string"}) for n in range(3)]
    records.write(tmp_path / "tasks.jsonl", tasks)
    passing = {0: 4, 1: 1, 2: 0}
    records.write(
        tmp_path / "samples.jsonl",
        [
            Sample(f"t/{task}", n, RIGHT.format(task if n < right else "n"), temperature=0.8)
            for task, right in passing.items()
            for n in range(4)
        ],
    )
    return tmp_path


def test_figures_of_known_samples(workplace: Path, stage: Run) -> None:
    files = ("--samples", "samples.jsonl", "--tasks", "tasks.jsonl", "--out", "b.json", "--categories", "c.csv")
    stage("benchmark", *files, "--levels", "l.csv")
    found = json.loads((workplace / "b.json").read_text())
    assert found["pass@1"] == pytest.approx((1 + 0.25 + 0) / 3, abs=1e-6)
    assert found["pass@4"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["pass@1_low"] < found["pass@1"] < found["pass@1_high"]
    assert (found["tasks"], found["n"], found["temperature"]) == (3, 4, 0.8)
    assert found["compile_rate"] == 1
    assert found["pass@1_trimmed"] == found["pass@1"], "there is nothing to trim"
    assert "mean_tokens" not in found, "these samples do not say how long they are"
    levels = {row["level"]: int(row["samples"]) for row in csv.DictReader((workplace / "l.csv").open()) if row["level"]}
    assert levels == {"pass": 5, "runtime_error": 7}
    rows = {row["value"]: row for row in csv.DictReader((workplace / "c.csv").open())}
    assert set(rows) == {"list", "string"}, "a field in which all tasks agree is left out"
    assert float(rows["list"]["pass@1"]) == pytest.approx(0.625)
    assert (rows["list"]["tasks"], float(rows["string"]["pass@4"])) == ("2", 0.0)


def test_greedy_answers_have_a_figure_of_their_own(workplace: Path, stage: Run) -> None:
    """One sample per task, of which one of three passes; the others' figures stay as they were."""
    likeliest = [Sample(f"t/{n}", 0, RIGHT.format(n if n == 1 else "n"), temperature=0.0) for n in range(3)]
    records.write(workplace / "greedy.jsonl", likeliest)
    files = ("--samples", "samples.jsonl", "--tasks", "tasks.jsonl", "--out", "b.json", "--greedy")
    stage("benchmark", *files, "greedy.jsonl", "--greedy-verdicts", "v.jsonl", "--timing", "t.json")
    found = json.loads((workplace / "b.json").read_text())
    assert found["greedy_pass@1"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["greedy_pass@1_low"] <= found["greedy_pass@1"] <= found["greedy_pass@1_high"]
    assert found["pass@1"] == pytest.approx((1 + 0.25 + 0) / 3, abs=1e-6) and found["n"] == 4
    assert [v.reward for v in records.read(Verdict, workplace / "v.jsonl")] == [0.5, 1.0, 0.5]
    assert json.loads((workplace / "t.json").read_text())["greedy"]["programs_per_second"] > 0
    records.write(workplace / "few.jsonl", likeliest[:2])
    assert "few.jsonl: no sample of task 't/2'" in stage("benchmark", *files, "few.jsonl", code=1).stderr
    error = stage("benchmark", *files, "samples.jsonl", code=1).stderr
    assert "found sample 0 of t/0 at temperature 0.8, expected one greedy sample of each task" in error
    (workplace / "none.jsonl").touch()
    assert "none.jsonl: no samples" in stage("benchmark", *files, "none.jsonl", code=1).stderr


def test_the_usual_trimming_has_a_figure_of_its_own(workplace: Path, stage: Run) -> None:
    """A call beside the function fails in the strict program; only what differs is judged again."""
    samples = list(records.read(Sample, workplace / "samples.jsonl"))
    calls = [replace(s, completion=s.completion + "print(f(input()))\n") if s.sample == 0 else s for s in samples]
    records.write(workplace / "samples.jsonl", calls)
    files = ("--samples", "samples.jsonl", "--tasks", "tasks.jsonl", "--out", "b.json", "--timing", "t.json")
    stage("benchmark", *files)
    found = json.loads((workplace / "b.json").read_text())
    assert found["pass@1"] == pytest.approx((0.75 + 0 + 0) / 3, abs=1e-6)
    assert found["pass@1_trimmed"] == pytest.approx((1 + 0.25 + 0) / 3, abs=1e-6)
    assert found["pass@1_trimmed_low"] <= found["pass@1_trimmed"] <= found["pass@1_trimmed_high"]
    work = json.loads((workplace / "t.json").read_text())["trimmed"]
    assert sum(work.values()) == 3


def test_samples_are_drawn_where_none_are_given(workplace: Path, stage: Run, checkpoint: Path) -> None:
    settings = SETTINGS.replace("n: 4", "n: 4, max_new_tokens: 8, workers: 1")
    (workplace / "params.yaml").write_text(settings + "compute: {dtype: float32}\n")
    stage("benchmark", "--model", checkpoint, "--tasks", "tasks.jsonl", "--out", "m.json")
    found = json.loads((workplace / "m.json").read_text())
    assert (found["tasks"], found["n"], found["temperature"]) == (3, 4, 1.0)
    assert 1 <= found["mean_tokens"] <= 8
    assert 0 <= found["cut_off"] <= 1
    assert 0 <= found["compile_rate"] < 1, "a model that has learned nothing writes little that parses"
    assert 0 <= found["greedy_pass@1"] <= 1
    assert [s.temperature for s in records.read(Sample, workplace / "m.greedy.jsonl")] == [0.0] * 3
    assert len((workplace / "m.samples.jsonl").read_text().splitlines()) == 12
    assert len((workplace / "m.verdicts.jsonl").read_text().splitlines()) == 12


def test_too_few_samples_and_tasks_without_any_are_named(workplace: Path, stage: Run) -> None:
    lines = (workplace / "samples.jsonl").read_text().splitlines()
    for kept, message in (
        (lines[:-4], "no sample of task 't/2'"),
        (lines[:-1], "pass@4 needs 4 samples of every task"),
    ):
        write_lines(workplace / "few.jsonl", kept)
        arguments = ("--samples", "few.jsonl", "--tasks", "tasks.jsonl", "--out", "b.json")
        assert message in stage("benchmark", *arguments, code=1).stderr
        assert not (workplace / "b.json").exists()


def test_figures_refuse_a_k_above_n() -> None:
    with pytest.raises(InputError, match="pass@8 needs 8 samples"):
        figures([(4, 1)], ScoreSettings(k=[8]))


def test_categories_come_from_language_source_and_meta() -> None:
    tasks = {t.task_id: t for t in (make_task(0, meta={"steps": 2}), make_task(1, meta={"steps": 3}, language="cpp"))}
    assert categories(tasks) == {
        ("language", "cpp"): ["t/1"],
        ("language", "python"): ["t/0"],
        ("steps", "2"): ["t/0"],
        ("steps", "3"): ["t/1"],
    }
