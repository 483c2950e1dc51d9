"""Task files of one's own: what is taken over, what is refused, and that the message names file and line."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.common import records
from stages.common.errors import InputError
from stages.common.records import Task
from tests.conftest import make_task
from tests.preparing import Prepared, prepared

UNCHECKED = {"check_references": False}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one's own, with its folder of task files."""
    (tmp_path / "data/own").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(*numbers: int, **changes: object) -> list[Task]:
    """Tasks that are no near duplicates of each other: their numbers differ."""
    return [make_task(number, **changes) for number in numbers]


def own(name: str, tasks: list[Task]) -> str:
    records.write(f"data/own/{name}", tasks)
    return f"data/own/{name}"


def run(here: Path, **settings: object) -> Prepared:
    return prepared(here, "jsonl", UNCHECKED | settings)


def expect_refusal(here: Path, message: str, **settings: object) -> None:
    with pytest.raises(InputError) as error:
        run(here, **settings)
    assert str(error.value) == message
    assert not (here / "tasks").exists()


def test_files_of_each_split(here: Path) -> None:
    settings = {
        "train": [own("a.jsonl", named(1, 2)), own("b.jsonl", named(3))],
        "validation_files": [own("c.jsonl", named(4))],
        "benchmark": [own("d.jsonl", named(5))],
    }
    found = run(here, **settings)
    assert [found.ids(split) for split in ("train", "validation", "benchmark")] == [
        ["t/1", "t/2", "t/3"],
        ["t/4"],
        ["t/5"],
    ]


def test_the_source_says_where_a_task_came_in(here: Path) -> None:
    tasks = [*named(1, source="mine", meta={"level": "easy"}), *named(2)]
    first, second = run(here, train=[own("a.jsonl", tasks)]).splits["train"]
    assert first == replace(tasks[0], source="jsonl", meta={"level": "easy", "source": "mine"})
    assert second == replace(tasks[1], source="jsonl")


GOOD = records.encode(make_task(1)).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + GOOD[:50], ":2: not JSON: "),
        (GOOD + GOOD.replace(b'"prompt": "', b'"prompt": "\xff'), ":2: not UTF-8 at byte "),
        (GOOD + GOOD.replace(b'"cases": []', b'"cases": {}'), ":2: field 'cases': expected list, found {}"),
        (GOOD + GOOD.replace(b'"tests"', b'"test"'), ":2: field 'tests' is missing"),
        (GOOD + b"[1]\n", ":2: expected a JSON object, found list"),
        (GOOD + GOOD.replace(b"t/1", b""), ":2: field 'task_id': expected a name, found an empty string"),
    ],
)
def test_a_line_that_is_no_task(here: Path, content: bytes, message: str) -> None:
    Path("data/own/a.jsonl").write_bytes(content)
    with pytest.raises(InputError) as error:
        run(here, train=["data/own/a.jsonl"])
    assert str(error.value).startswith(f"data/own/a.jsonl{message}")
    assert "\n" not in str(error.value)
    assert not (here / "tasks").exists()


def test_an_id_in_two_files(here: Path) -> None:
    files = {"train": [own("a.jsonl", named(1, 2))], "benchmark": [own("b.jsonl", named(3, 2))]}
    expect_refusal(here, "data/own/b.jsonl: duplicate task_id 't/2', already in data/own/a.jsonl", **files)


def test_an_id_twice_in_a_file(here: Path) -> None:
    file = own("a.jsonl", named(1, 2, 1))
    expect_refusal(here, f"{file}: duplicate task_id 't/1', already in {file}", train=[file])
    # With references to verify, too, which are looked up by id.
    task = make_task(1, reference="def f(xs):\n    return [x + 1 for x in xs]\n")
    file = own("b.jsonl", [task, replace(task, prompt="Another.")])
    expect_refusal(here, f"{file}: duplicate task_id 't/1', already in {file}", train=[file], check_references=True)


def test_a_file_elsewhere(here: Path) -> None:
    records.write("data/mine.jsonl", named(1))
    Path("data/own/link.jsonl").symlink_to(here / "data/mine.jsonl")
    for file in ("data/mine.jsonl", "data/own/../mine.jsonl", str(here / "data/mine.jsonl"), "data/own/link.jsonl"):
        message = f"{file}: expected a file below data/own, which DVC watches, so that a change reruns it"
        expect_refusal(here, message, train=[file])


def test_no_file(here: Path) -> None:
    message = "source 'jsonl': no files; name some below data/own under train, or set the source to null"
    expect_refusal(here, message)
    expect_refusal(here, "data/own/nowhere.jsonl: no such file", train=["data/own/nowhere.jsonl"])
    expect_refusal(here, "data/own: expected a JSON Lines file, found a directory", train=["data/own"])
    message = "source 'jsonl': no tasks from 0 rows; change its settings, or set it to null"
    expect_refusal(here, message, train=[own("empty.jsonl", [])])


def test_a_share_goes_to_validation_by_problem(here: Path) -> None:
    """By `meta.problem`, or else by what is asked for; benchmark files stay benchmark."""
    by_problem = [make_task(n, meta={"problem": f"p{n // 4}"}) for n in range(200)]
    by_statement = [make_task(n + 200, prompt=f"Write f(xs): subtract {n // 4}.", tests="x\n" * n) for n in range(200)]
    files = {
        "train": [own("a.jsonl", by_problem + by_statement)],
        "benchmark": [own("b.jsonl", named(*range(400, 420)))],
    }
    found = run(here, **files, validation=0.3)
    assert len(found.ids("benchmark")) == 20

    def problems(split: str) -> set[str]:
        return {task.meta.get("problem", task.prompt) for task in found.splits[split]}

    assert not problems("train") & problems("validation")
    assert 10 <= len(problems("validation")) <= 50
    assert len(problems("train") | problems("validation")) == 100


def test_tasks_that_nothing_judges(here: Path) -> None:
    tasks = [*named(1), *named(2, tests=" \n"), *named(3, tests="", cases=[{"stdin": "", "stdout": "1"}])]
    file = own("a.jsonl", tasks)
    found = run(here, train=[file])
    assert (found.ids(), found.metrics["dropped_no_tests_ids"]) == (["t/1", "t/3"], ["t/2"])
    assert run(here, train=[file], keep_unverified=True).ids() == ["t/1", "t/2", "t/3"]


def test_texts_that_utf_8_cannot_hold(here: Path) -> None:
    """JSON's escapes bring in lone surrogates and NUL; they survive, and reports are written all the same."""
    odd = make_task(1, task_id="t/\ud800\0", prompt="Say \udfff and \0.", language="\ud801", meta={"level": "\ud802"})
    untested = make_task(2, task_id="u/\ud800", tests="")
    found = prepared(here, "jsonl", UNCHECKED | {"train": [own("a.jsonl", [odd, untested])]})
    assert found.splits["train"] == [replace(odd, source="jsonl")]
    assert found.metrics["dropped_no_tests_ids"] == ["u/?"]
    assert (found.metrics["languages"], found.metrics["difficulties"]) == ({"?": 1}, {"?": 1})


def test_a_report_does_not_grow_with_what_tasks_call_themselves(here: Path) -> None:
    tasks = [make_task(n, meta={"difficulty": f"d{n}"}, tests="x" if n < 300 else "") for n in range(450)]
    found = run(here, train=[own("a.jsonl", tasks)])
    assert found.metrics["difficulties"]["other"] == 200
    assert len(found.metrics["dropped_no_tests_ids"]) == 100
    assert found.metrics["dropped_no_tests"] == 150
