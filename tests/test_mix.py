"""Joining sources: order, duplicates, planted copies of benchmark tasks, empty splits."""

import csv
import json
import re
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


def mix(folder: Path, *sources: Path, generated: Path | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "stages.mix", "--tasks", *sources]
    command += ["--out", folder / "mix", "--metrics", folder / "mix.json", "--removed", folder / "removed.csv"]
    command += ["--generated", generated] if generated else []
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


def removed(folder: Path) -> list[dict[str, str]]:
    with (folder / "removed.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


LONG = "Given a list of pairs of names and ages, return the names of all who are older than the mean of the ages."
CODE = "def f(xs):\n    total = 0\n    for x in xs:\n        total += x * x\n    return [total, len(xs), max(xs)]\n"


def test_the_table_says_what_why_and_what_it_repeats(tmp_path: Path) -> None:
    secret = replace(task("secret", CODE), prompt=LONG, task_id="b/1")
    leak = replace(task("l1"), prompt=f"Please, do this. {LONG}", source="one")
    a = write_source(tmp_path / "a", [task("t1"), leak], [replace(task("v1"), prompt="  " + LONG.upper())], [])
    copy = replace(task("copy", CODE.replace("total", "sum_")), source="two")
    near = replace(task("t1"), task_id="near", prompt="Return t1 now.", source="two")
    b = write_source(tmp_path / "b", [copy, replace(task("t1"), task_id="equal"), near], [], [secret])
    result = mix(tmp_path, a, b)
    assert result.returncode == 0, result.stderr
    assert ids(tmp_path, "train") == ["t1"]
    words = re.findall(r"\w+", LONG.lower())
    same = {"same_as": "b/1", "evidence": ""}
    assert removed(tmp_path) == [
        {"task": "l1", "source": "one", "split": "train", "reason": "prompt_words"}
        | same
        | {"evidence": " ".join(words[:13])},
        {"task": "copy", "source": "two", "split": "train", "reason": "solution"} | same,
        {"task": "equal", "source": "test", "split": "train", "reason": "duplicate", "same_as": "t1", "evidence": ""},
        {
            "task": "near",
            "source": "two",
            "split": "train",
            "reason": "near_duplicate",
            "same_as": "t1",
            "evidence": "",
        },
        {"task": "v1", "source": "test", "split": "validation", "reason": "prompt"} | same,
    ]
    assert json.loads((tmp_path / "mix.json").read_text()) == {
        "train": 1,
        "validation": 0,
        "benchmark": 1,
        "demonstrations": 1,
        "dropped_train": 4,
        "dropped_train_duplicate": 1,
        "dropped_train_near_duplicate": 1,
        "dropped_train_prompt_words": 1,
        "dropped_train_solution": 1,
        "dropped_validation": 1,
        "dropped_validation_prompt": 1,
    }


def test_a_validation_task_must_not_repeat_a_train_task(tmp_path: Path) -> None:
    a = write_source(tmp_path / "a", [task("t1")], [], [task("b")])
    b = write_source(tmp_path / "b", [], [replace(task("t1"), task_id="v1"), task("v2")], [])
    assert mix(tmp_path, b, a).returncode == 0
    assert (ids(tmp_path, "train"), ids(tmp_path, "validation")) == (["t1"], ["v2"])


def test_one_problem_in_two_languages_is_kept(tmp_path: Path) -> None:
    judged = {"tests": "", "cases": [{"stdin": "1\n", "stdout": "2\n"}], "entry_point": None}
    python = replace(task("p", "print(int(input()) + 1)"), prompt=LONG, **judged)
    cpp = replace(python, task_id="c", language="cpp", verifier="gcc", reference="int main() {}")
    a = write_source(tmp_path / "a", [python, replace(python, task_id="again")], [], [task("b")])
    b = write_source(tmp_path / "b", [cpp], [], [])
    assert mix(tmp_path, a, b).returncode == 0
    assert ids(tmp_path, "train") == ["p", "c"]


def test_one_more_benchmark_filters_again(tmp_path: Path) -> None:
    leak = replace(task("l1"), prompt=f"Please, do this. {LONG}")
    a = write_source(tmp_path / "a", [task("t1"), leak], [], [task("b1")])
    more = write_source(tmp_path / "more", [], [], [replace(task("b2"), prompt=LONG)])
    empty = write_source(tmp_path / "empty", [], [], [])
    assert mix(tmp_path, a, empty).returncode == 0
    assert ids(tmp_path, "train") == ["t1", "l1"]
    assert removed(tmp_path) == []
    assert mix(tmp_path, a, more).returncode == 0
    assert (ids(tmp_path, "train"), ids(tmp_path, "benchmark")) == (["t1"], ["b1", "b2"])


def test_generated_examples_are_train_tasks(tmp_path: Path) -> None:
    a = write_source(tmp_path / "a", [task("t1")], [], [task("b1")])
    generated = tmp_path / "generated"
    result = mix(tmp_path, a, generated=generated)
    assert (result.returncode, result.stderr) == (1, f"error: {generated}: no such directory\n")
    generated.mkdir()
    (generated / ".gitkeep").touch()
    assert mix(tmp_path, a, generated=generated).returncode == 0
    assert ids(tmp_path, "train") == ["t1"]
    records.write(generated / "z.jsonl", [task("z1"), replace(task("t1"), task_id="copy")])
    records.write(generated / "y.jsonl", [task("y1"), replace(task("b1"), task_id="leak")])
    assert mix(tmp_path, a, generated=generated).returncode == 0
    assert ids(tmp_path, "train") == ["t1", "y1", "z1"]
    assert [(row["task"], row["reason"], row["same_as"]) for row in removed(tmp_path)] == [
        ("leak", "solution", "b1"),
        ("copy", "duplicate", "t1"),
    ]
    records.write(generated / "z.jsonl", [task("t1")])
    result = mix(tmp_path, a, generated=generated)
    expected = f"error: {generated / 'z.jsonl'}: duplicate task_id 't1', already in {a / 'train.jsonl'}\n"
    assert (result.returncode, result.stderr) == (1, expected)


def test_texts_that_utf_8_cannot_hold(tmp_path: Path) -> None:
    odd = replace(task("o\ud800\0", "x = '\udfff\0'"), prompt="Say \ud801 and \0,\n", source="\ud802", tests="# \ud803")
    copy = replace(odd, task_id="copy\ud800\0")
    a = write_source(tmp_path / "a", [odd, copy], [], [replace(task("b\ud800"), prompt="\ud800 \0", reference=None)])
    result = mix(tmp_path, a)
    assert result.returncode == 0, result.stderr
    assert list(records.read(Task, tmp_path / "mix" / "train.jsonl")) == [odd]
    (row,) = removed(tmp_path)
    assert (row["task"], row["source"], row["same_as"]) == ("copy?\0", "?", "o?\0")


def test_a_problem_is_on_one_side(tmp_path: Path) -> None:
    """A validation task with a train task's problem goes, whatever its solution is."""
    first = task("a")
    other = replace(first, task_id="v", reference="def f(x):\n    for _ in x:\n        pass\n    return 'a'")
    source = write_source(tmp_path / "a", [first], [other, task("c")], [task("b")])
    assert mix(tmp_path, source).returncode == 0
    assert (ids(tmp_path, "train"), ids(tmp_path, "validation")) == (["a"], ["c"])
    assert json.loads((tmp_path / "mix.json").read_text())["dropped_validation_other_split"] == 1
