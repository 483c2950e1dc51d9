"""Records: strict reading, lenient about unknown fields, and writing that is whole or absent."""

import json
import os
from pathlib import Path

import pytest

from stages.common import records
from stages.common.errors import InputError
from stages.common.files import replacing, replacing_directory
from stages.common.records import Sample, Task, Verdict
from tests.conftest import make_task, write_lines

SAMPLE = {"task_id": "t/0", "sample": 0, "completion": "x"}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    tasks = [make_task(0), make_task(1, cases=[{"stdin": "1", "stdout": "2"}], reference="é\n", meta={"steps": 2})]
    path = tmp_path / "tasks.jsonl"
    assert records.write(path, tasks) == 2
    assert records.read_tasks(path) == tasks


def test_nul_and_lone_surrogates_survive(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    records.write(path, [Sample("t/0", 0, "a\0b\ud800c"), Sample("t/0", 1, "日本")])
    path.read_bytes().decode("utf-8")
    assert [s.completion for s in records.read(Sample, path)] == ["a\0b\ud800c", "日本"]


def test_unknown_fields_are_ignored(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "s.jsonl", [json.dumps({**SAMPLE, "note": 1}), ""])
    assert [s.sample for s in records.read(Sample, path)] == [0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"task_id": "t/0", "sample": 0}', "s.jsonl:2: field 'completion' is missing"),
        ('{"task_id": "t/0", "sample": "0", "completion": ""}', "field 'sample': expected integer, found \"0\""),
        ('{"task_id": "t/0", "sample": true, "completion": ""}', "field 'sample': expected integer, found true"),
        ('{"task_id": "t/0", "sample": -1, "completion": ""}', "field 'sample': expected 0.."),
        ('{"task_id": "t/9", "sample": 0, "completion": ""}', "duplicate task_id 't/9', sample 0"),
        ('{"task_id": "t/0", "sam', "not JSON"),
        ("[1]", "expected a JSON object, found list"),
        ("[" * 100_000, "JSON nested too deeply"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write_lines(tmp_path / "s.jsonl", [json.dumps({**SAMPLE, "task_id": "t/9"}), line])
    with pytest.raises(InputError) as error:
        list(records.read(Sample, path))
    assert message in str(error.value)
    assert ":2:" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_truncated_last_line_and_bad_bytes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(json.dumps(SAMPLE)[:-3])
    with pytest.raises(InputError, match="truncated"):
        list(records.read(Sample, path))
    path.write_bytes(b'{"task_id": "\xff"}\n')
    with pytest.raises(InputError, match="not UTF-8"):
        list(records.read(Sample, path))


def test_tasks_must_be_there_once(tmp_path: Path) -> None:
    path, twice, empty = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.jsonl"
    records.write(path, [make_task(0)])
    records.write(twice, [make_task(1), make_task(1)])
    records.write(empty, [])
    with pytest.raises(InputError, match=r"b\.jsonl:2: duplicate task_id 't/1'"):
        records.read_tasks(twice)
    with pytest.raises(InputError, match="already in an earlier file"):
        records.read_tasks(path, path)
    with pytest.raises(InputError, match="no tasks"):
        records.read_tasks(empty)
    with pytest.raises(InputError, match="no such file"):
        records.read_tasks(tmp_path / "absent.jsonl")


def test_cases_and_rewards_are_checked(tmp_path: Path) -> None:
    bad = {**json.loads(records.encode(make_task(0))), "cases": [{"stdin": "1"}]}
    with pytest.raises(InputError, match="field 'cases': item 0"):
        list(records.read(Task, write_lines(tmp_path / "t.jsonl", [json.dumps(bad)])))
    verdict = json.loads(records.encode(Verdict("t/0", 0, 1.0, "pass", "", 1, 1)))
    path = write_lines(tmp_path / "v.jsonl", [json.dumps({**verdict, "reward": 1.5})])
    with pytest.raises(InputError, match=r"field 'reward': expected 0\.\.1"):
        list(records.read(Verdict, path))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.txt", tmp_path / "d"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file, replacing_directory(folder) as directory:
            file.write("new")
            (directory / "x").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        ("exakt", 'field \'compare\': expected "exact", "tokens", "float", or such as'),
        (3, "field 'compare': expected string or object, found 3"),
        ({"float": {"abs": -1}}, "field 'compare': 'abs': expected a number from 0 to 1e+300, found -1"),
        ({"float": {"abs": 10**400}}, "field 'compare': 'abs': expected a number from 0 to 1e+300, found 1000"),
        ({"float": {"rel": 1}}, "field 'compare': 'rel': expected a number from 0 to less than 1, found 1"),
        ({"float": {"abs": True}}, "field 'compare': 'abs': expected a number from 0 to 1e+300, found true"),
        ({"float": {"digits": 6}}, "field 'compare': expected"),
        ({"tokens": {"ignore_case": 1}}, "field 'compare': 'ignore_case': expected true or false, found 1"),
        ({"tokens": {}, "float": {}}, "field 'compare': expected"),
    ],
)
def test_a_rule_of_comparison_that_is_none_is_named(tmp_path: Path, compare: object, message: str) -> None:
    task = json.loads(records.encode(make_task(0)))
    path = write_lines(tmp_path / "t.jsonl", [json.dumps({**task, "compare": compare})])
    with pytest.raises(InputError) as error:
        records.read_tasks(path)
    assert f"t.jsonl:1: {message}" in str(error.value)


def test_a_rule_of_comparison_is_written_where_it_is_not_the_usual_one(tmp_path: Path) -> None:
    tasks = [make_task(0), make_task(1, compare={"float": {"abs": 1e-6}}), make_task(2, compare="tokens")]
    path = tmp_path / "t.jsonl"
    records.write(path, tasks)
    assert records.read_tasks(path) == tasks
    assert ["compare" in line for line in path.read_text().splitlines()] == [False, True, True]
