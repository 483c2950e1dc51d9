"""HumanEval-X C++ from the file formats that it comes in, and all of it where there is a mirror."""

import gzip
import json
import os
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from stages import sources
from stages.common.errors import InputError
from stages.settings.sources import HumanEvalCppSettings
from tests.preparing import prepared

MIRROR = Path(os.environ.get("HALO_FORGE_HUB", Path(__file__).parents[2] / ".." / "shared" / "hub"))
mirrored = pytest.mark.skipif(not MIRROR.is_dir(), reason="no mirror of the hub; name one in HALO_FORGE_HUB")
# Boost is not everywhere, and nothing is linked with -lcrypto.
NOT_COMPILED = {"CPP/22", "CPP/137", "CPP/162"}
ROW = {
    "task_id": "CPP/0",
    "prompt": "/* One more (f(1) is 2). */\n#include<vector>\nint inc(int x, std::vector<int> y={}){\n",
    "canonical_solution": "    return x + 1;\n}\n",
    "test": "#undef NDEBUG\n#include<assert.h>\nint main(){\n    assert (inc(1)==2);\n}\n",
    "declaration": "int inc(int x){\n",
}


def write_file(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    return path


def load(hub: Path | None = None, **settings: object) -> list:
    return sources.load("humaneval_cpp", HumanEvalCppSettings(**settings), hub and str(hub), 0)["benchmark"]


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.jsonl.gz"])
def test_a_file_by_its_path(tmp_path: Path, name: str) -> None:
    path = write_file(tmp_path / name, [ROW, {**ROW, "task_id": "CPP/1"}])
    task, second = load(path=str(path))
    assert (task.task_id, second.task_id) == ("CPP/0", "CPP/1")
    assert (task.language, task.verifier, task.entry_point, task.cases) == ("cpp", "gcc", "inc", [])
    assert (task.prompt, task.tests) == (ROW["prompt"], ROW["test"])
    assert task.reference == ROW["prompt"] + ROW["canonical_solution"]
    assert [t.verifier for t in load(path=str(path), limit=1, verifier="clang")] == ["clang"]


def test_the_hub_s_own_layout(tmp_path: Path) -> None:
    write_file(tmp_path / "THUDM/humaneval-x/data/cpp/data/humaneval.jsonl", [ROW])
    assert [task.task_id for task in load(tmp_path)] == ["CPP/0"]


def expect_one_line(hub: Path | None, settings: dict, *parts: str) -> None:
    with pytest.raises(InputError) as error:
        load(hub, **settings)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    missing = tmp_path / "x.jsonl"
    expect_one_line(None, {"path": str(missing)}, f"{missing}: no such file", "sources.hub", "`path`")
    expect_one_line(tmp_path, {}, "humaneval-x/data/cpp/data/humaneval.jsonl: no such file")
    few = write_file(tmp_path / "few.jsonl", [{name: ROW[name] for name in ("task_id", "prompt", "test")}])
    expect_one_line(None, {"path": str(few)}, f"{few}: no column 'canonical_solution'; found: task_id, prompt, test")
    null = write_file(tmp_path / "null.jsonl", [ROW, {**ROW, "test": None}])
    expect_one_line(None, {"path": str(null)}, f"{null}, row 1: 'test': expected str, found None")
    cut = write_file(tmp_path / "cut.jsonl", [ROW, ROW])
    cut.write_bytes(cut.read_bytes()[:-40])
    expect_one_line(None, {"path": str(cut)}, str(cut))
    empty = write_file(tmp_path / "empty.jsonl", [])
    expect_one_line(None, {"path": str(empty)}, str(empty))


def test_neither_path_nor_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    expect_one_line(None, {}, "THUDM/humaneval-x: revision: missing; pin a commit", "sources.hub")


def test_for_training_it_is_refused() -> None:
    with pytest.raises(InputError, match=r"^here\.split: found 'train': HumanEval-X is a benchmark and never trained"):
        HumanEvalCppSettings.parse({"split": "train"}, "here")


def test_a_comment_behind_the_head(tmp_path: Path) -> None:
    comments = ("    /*\n    As in inc(1) {\n    */\n", "    // As in inc(1) {\n", "")
    rows = [{**ROW, "prompt": ROW["prompt"] + comment} for comment in comments]
    tasks = load(path=str(write_file(tmp_path / "x.jsonl", rows)))
    assert [task.entry_point for task in tasks] == ["inc"] * 3


@pytest.mark.hub
@mirrored
def test_every_head_names_its_function() -> None:
    tasks = load(path=str(MIRROR / "humaneval_x_cpp.parquet"))
    assert [task.task_id for task in tasks] == [f"CPP/{number}" for number in range(164)]
    for task in tasks:
        assert task.entry_point is not None, task.task_id
        assert re.search(rf"\b{task.entry_point} *\(", task.tests), task.task_id


@pytest.mark.hub
@pytest.mark.slow
@mirrored
def test_all_but_three_pass(tmp_path: Path) -> None:
    """Without boost's headers two do not compile; where they are installed, those two do."""
    found = prepared(tmp_path, "humaneval_cpp", {"path": str(MIRROR / "humaneval_x_cpp.parquet")})
    left_out = set(found.metrics["dropped_compile_error_ids"])
    assert "CPP/162" in left_out <= NOT_COMPILED
    assert found.metrics["verified"] == found.metrics["benchmark"] == 164 - len(left_out)
    assert found.metrics["dropped"] == len(left_out)
