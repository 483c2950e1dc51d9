"""HumanEval and MBPP, from small data sets written here and, where there is one, from a mirror of the hub."""

import os
from pathlib import Path

import pytest

from stages import sources
from stages.common.errors import InputError
from stages.common.records import Task
from stages.settings.sources import HumanEvalSettings, MbppSettings
from stages.sources.mbpp import entry_point
from tests.sources.hub_layout import HUMANEVAL_ROW, MBPP_ROW, write_dataset, write_humaneval, write_mbpp

MIRROR = Path(os.environ.get("HALO_FORGE_HUB", Path(__file__).parents[2] / ".." / "shared" / "hub"))
mirrored = pytest.mark.skipif(not MIRROR.is_dir(), reason="no mirror of the hub; name one in HALO_FORGE_HUB")


def expect_pass(task: Task) -> None:
    """Run the reference and the tests of one of this file's own rows; the first assertion that fails is raised."""
    names: dict = {"__name__": "tests"}
    exec(task.reference or "", names)
    exec(task.tests, names)


def test_humaneval_is_benchmark_only(tmp_path: Path) -> None:
    write_humaneval(tmp_path, [HUMANEVAL_ROW, {**HUMANEVAL_ROW, "task_id": "HumanEval/1"}])
    splits = sources.load("humaneval", HumanEvalSettings(), str(tmp_path), 0)
    assert list(splits) == ["benchmark"]
    first, second = splits["benchmark"]
    assert (first.task_id, second.task_id, first.entry_point) == ("HumanEval/0", "HumanEval/1", "inc")
    assert first.prompt == HUMANEVAL_ROW["prompt"]
    assert first.reference == 'def inc(x):\n    """One more."""\n    return x + 1\n'
    assert first.tests.endswith("\n\ncheck(inc)\n")
    expect_pass(first)
    assert len(sources.load("humaneval", HumanEvalSettings(limit=1), str(tmp_path), 0)["benchmark"]) == 1


def test_humaneval_for_training_is_refused() -> None:
    with pytest.raises(InputError) as error:
        HumanEvalSettings.parse({"split": "train"}, "params.yaml: sources.humaneval")
    assert "sources.humaneval.split: found 'train': HumanEval is a benchmark and never trained on" in str(error.value)


def test_mbpp_keeps_its_splits(tmp_path: Path) -> None:
    write_mbpp(tmp_path, [MBPP_ROW, MBPP_ROW])
    splits = sources.load("mbpp", MbppSettings(), str(tmp_path), 0)
    assert {split: [task.task_id for task in tasks] for split, tasks in splits.items()} == {
        "train": ["mbpp/601", "mbpp/602"],
        "validation": ["mbpp/511", "mbpp/512"],
        "benchmark": ["mbpp/11", "mbpp/12"],
    }
    task = splits["train"][0]
    assert task.prompt.splitlines() == [MBPP_ROW["text"], "Your code should pass these tests:", *MBPP_ROW["test_list"]]
    assert task.tests.splitlines() == MBPP_ROW["test_list"] + MBPP_ROW["challenge_test_list"]
    assert "\r" not in task.reference
    assert task.entry_point == "twice"
    expect_pass(task)


def test_mbpp_options(tmp_path: Path) -> None:
    write_mbpp(tmp_path, [{**MBPP_ROW, "test_setup_code": "import math"}] * 2)
    settings = MbppSettings(tests_in_prompt=False, challenge_tests=False, few_shot=True, limit=1)
    splits = sources.load("mbpp", settings, str(tmp_path), 0)
    assert [task.task_id for task in splits["train"]] == ["mbpp/601", "mbpp/1"]
    assert splits["train"][0].prompt == MBPP_ROW["text"] + "\n"
    assert splits["train"][0].tests.splitlines() == ["import math", *MBPP_ROW["test_list"]]


@pytest.mark.parametrize(
    ("assertion", "code", "name"),
    [
        ("assert f(1) == 2", "def f(x): ...", "f"),
        ("assert set(f([2])) == set([2])", "def f(x): ...", "f"),
        ("assert f([Pair(1, 2)], 2) == 3", "class Pair: ...\ndef f(x, n): ...", "f"),
        ("assert math.isclose(f(1), 2.0)", "import math\ndef g(): ...\ndef f(x): ...", "f"),
        ("assert not f(1)", "f = lambda x: 0", "f"),
    ],
)
def test_entry_point(assertion: str, code: str, name: str) -> None:
    assert entry_point([assertion], code, "task") == name


def test_no_entry_point_is_one_line() -> None:
    with pytest.raises(InputError, match=r"^task: the first assertion calls no function: assert 1 == 1$"):
        entry_point(["assert 1 == 1"], "x = 1", "task")
    with pytest.raises(InputError, match=r"^task: the reference or the first assertion is no Python$"):
        entry_point([], "x = 1", "task")


def expect_one_line(name: str, settings: object, hub: Path | None, *parts: str) -> None:
    with pytest.raises(InputError) as error:
        sources.load(name, settings, None if hub is None else str(hub), 0)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_changed_rows_are_read_again(tmp_path: Path) -> None:
    """Two directories, or two states of one, that differ only in their rows: no cache may mix them up."""
    write_humaneval(tmp_path / "a", [HUMANEVAL_ROW])
    write_humaneval(tmp_path / "b", [{**HUMANEVAL_ROW, "entry_point": "other"}])
    for name, expected in (("a", "inc"), ("b", "other")):
        splits = sources.load("humaneval", HumanEvalSettings(), str(tmp_path / name), 0)
        assert splits["benchmark"][0].entry_point == expected


def test_missing_directory(tmp_path: Path) -> None:
    where = str(tmp_path / "openai" / "openai_humaneval")
    expect_one_line("humaneval", HumanEvalSettings(), tmp_path, where, "no such directory", "sources.hub")


def test_wrong_config(tmp_path: Path) -> None:
    write_mbpp(tmp_path, [MBPP_ROW])
    expect_one_line("mbpp", MbppSettings(config="sanitized"), tmp_path, "config 'sanitized'", "cannot load")


def test_missing_split(tmp_path: Path) -> None:
    directory = tmp_path / "openai" / "openai_humaneval"
    write_dataset(directory, "openai_humaneval", {"train": [HUMANEVAL_ROW]})
    expect_one_line("humaneval", HumanEvalSettings(), tmp_path, "split 'test'", "cannot load")


def test_renamed_column(tmp_path: Path) -> None:
    row = {**HUMANEVAL_ROW, "solution": "x"}
    del row["canonical_solution"]
    write_humaneval(tmp_path, [row])
    expect_one_line("humaneval", HumanEvalSettings(), tmp_path, "no column 'canonical_solution'", "found:", "solution")


def test_value_of_another_type(tmp_path: Path) -> None:
    write_humaneval(tmp_path, [HUMANEVAL_ROW, {**HUMANEVAL_ROW, "test": None}])
    expect_one_line("humaneval", HumanEvalSettings(), tmp_path, "row 1: 'test': expected str, found None")


def test_truncated_file(tmp_path: Path) -> None:
    write_humaneval(tmp_path, [HUMANEVAL_ROW])
    file = next(tmp_path.rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:300])
    expect_one_line("humaneval", HumanEvalSettings(), tmp_path, "openai_humaneval", "cannot load")


def test_unreachable_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cut off by the libraries' own switch, which spares the retries of a real failure."""
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    settings = HumanEvalSettings(revision="0" * 40)
    expect_one_line("humaneval", settings, None, "openai/openai_humaneval", "commit 000000000000", "set sources.hub")


def test_unknown_source_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"^source 'humanevel': unknown; did you mean 'humaneval'\?$"):
        sources.get("humanevel")
    with pytest.raises(InputError) as error:
        sources.get("zzz")
    assert str(error.value) == f"source 'zzz': unknown; known sources: {', '.join(sources.SOURCES)}"


@pytest.mark.hub
@mirrored
def test_all_of_humaneval() -> None:
    tasks = sources.load("humaneval", HumanEvalSettings(), str(MIRROR), 0)["benchmark"]
    assert [task.task_id for task in tasks] == [f"HumanEval/{number}" for number in range(164)]


@pytest.mark.hub
@mirrored
@pytest.mark.parametrize(("config", "sizes"), [("full", (374, 90, 500)), ("sanitized", (120, 43, 257))])
def test_all_of_mbpp(config: str, sizes: tuple[int, ...]) -> None:
    splits = sources.load("mbpp", MbppSettings(config=config), str(MIRROR), 0)
    assert tuple(map(len, splits.values())) == sizes
    for task in (task for tasks in splits.values() for task in tasks):
        assert task.entry_point in task.reference
        assert task.tests.count("assert ") >= 1
