"""Joining sources: order, duplicates, planted copies of benchmark tasks, empty splits."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from stages.common import records
from stages.common.records import Task

ROOT = Path(__file__).parents[1]


def task(name: str, reference: str | None = None) -> Task:
    code = reference or f"def f(x):\n    return {name!r}"
    meta = {"category": "c"}
    fields = (name, "python", f"Return {name}.", "pytest", "f", "assert f(1)", [])
    return Task(*fields, reference=code, source="test", meta=meta)


def write_source(directory: Path, train: list[Task], validation: list[Task], benchmark: list[Task]) -> Path:
    for split, tasks in (("train", train), ("validation", validation), ("benchmark", benchmark)):
        records.write(directory / f"{split}.jsonl", tasks)
    return directory


def mix(folder: Path, *sources: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "stages.mix", "--tasks", *sources]
    command += ["--out", folder / "mix", "--metrics", folder / "mix.json", "--removed", folder / "removed.csv"]
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)


def ids(folder: Path, split: str) -> list[str]:
    return [task.task_id for task in records.read(Task, folder / "mix" / f"{split}.jsonl")]


def test_sources_come_in_the_order_given(tmp_path: Path) -> None:
    a = write_source(tmp_path / "a", [task("a1"), task("a2")], [task("a3")], [])
    b = write_source(tmp_path / "b", [task("b1")], [], [task("b2")])
    unused = write_source(tmp_path / "unused", [], [], [])
    assert mix(tmp_path, b, unused, a).returncode == 0
    assert [ids(tmp_path, split) for split in ("train", "validation", "benchmark")] == [
        ["b1", "a1", "a2"],
        ["a3"],
        ["b2"],
    ]
    assert json.loads((tmp_path / "mix.json").read_text()) == {
        "train": 3,
        "validation": 1,
        "benchmark": 1,
        "demonstrations": 3,
        "dropped_train": 0,
        "dropped_validation": 0,
    }
    assert list(records.read(Task, tmp_path / "mix" / "benchmark.jsonl")) == [task("b2")]


def test_planted_copies_are_left_out(tmp_path: Path) -> None:
    """A prompt in other case and layout, or a reference with other names and layout, is still the same."""
    target = task("secret", "def f(x):\n    return x + 1\n")
    same_prompt = replace(task("t1"), prompt="  return\n SECRET. ")
    same_code = task("t2", "def F(X):\n\treturn  X + 1")
    no_code = replace(task("t3"), reference=None)
    a = write_source(
        tmp_path / "a", [same_prompt, task("t4"), same_code, no_code], [replace(same_code, task_id="v")], []
    )
    b = write_source(tmp_path / "b", [], [], [target, replace(task("b2"), reference=None)])
    assert mix(tmp_path, a, b).returncode == 0
    assert ids(tmp_path, "train") == ["t4", "t3"]
    assert ids(tmp_path, "validation") == []
    metrics = json.loads((tmp_path / "mix.json").read_text())
    assert (metrics["dropped_train"], metrics["dropped_validation"], metrics["demonstrations"]) == (2, 1, 1)
    assert (metrics["dropped_train_prompt"], metrics["dropped_train_solution"]) == (1, 1)


def expect_refusal(folder: Path, message: str, *sources: Path) -> None:
    result = mix(folder, *sources)
    assert result.returncode == 1
    (said,) = [line for line in result.stderr.splitlines() if not line.startswith("mix: ")]  # which is progress
    assert said.startswith("error: ")
    assert message in said
    assert not (folder / "mix").exists()
    assert not (folder / "mix.json").exists()
    assert not (folder / "removed.csv").exists()


def test_an_id_in_two_sources_is_refused(tmp_path: Path) -> None:
    a = write_source(tmp_path / "a", [task("same")], [], [task("x")])
    b = write_source(tmp_path / "b", [], [task("same")], [])
    expect_refusal(
        tmp_path, f"{b / 'validation.jsonl'}: duplicate task_id 'same', already in {a / 'train.jsonl'}", a, b
    )


def test_no_benchmark_is_refused(tmp_path: Path) -> None:
    expect_refusal(tmp_path, "no benchmark tasks", write_source(tmp_path / "a", [task("a")], [], []))


def test_no_train_task_left_is_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a", [replace(task("a"), task_id="copy")], [], [task("a")])
    expect_refusal(
        tmp_path, "no train tasks after 1 that repeat others or are benchmark tasks too were left out", source
    )


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a", [task("a")], [], [task("b")])
    expect_refusal(tmp_path, f"{tmp_path / 'nowhere' / 'benchmark.jsonl'}: no such file", source, tmp_path / "nowhere")
    with (source / "train.jsonl").open("a") as file:
        file.write('{"task_id": "cut')
    expect_refusal(tmp_path, f"{source / 'train.jsonl'}:2: not JSON", source)
