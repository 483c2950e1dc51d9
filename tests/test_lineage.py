"""Which tasks a cycle samples, and which checkpoint it goes on from."""

import json
from pathlib import Path

import pytest

from stages.common.errors import InputError
from stages.common.lineage import judged, read_lineage, start_of
from stages.common.params import Params
from stages.common.records import Rate
from stages.lm.curriculum import due
from stages.settings.cycle import depth
from stages.settings.sampling import CurriculumSettings
from tests.conftest import Run, make_task

SFT = {"checkpoint": "sft", "pass@1": 0.5, "pass@1_low": 0.4, "pass@1_high": 0.6}


def figures(value: float) -> dict[str, float]:
    return {"pass@1": value, "pass@1_low": value - 0.1, "pass@1_high": round(value + 0.1, 6)}


def test_a_fall_below_the_parent_s_interval_is_a_regress() -> None:
    lineage, left = judged("cycle-1", figures(0.4), SFT, stop=True)
    assert lineage == {"checkpoint": "cycle-1", "regressed": False}, "the intervals overlap"
    own = {"checkpoint": "cycle-1", **figures(0.4)}
    assert left == {**own, "own": own}
    lineage, left = judged("cycle-1", figures(0.29), SFT, stop=True)
    assert lineage == {"checkpoint": "sft", "regressed": True}
    assert left == {**SFT, "own": {"checkpoint": "cycle-1", **figures(0.29)}}
    assert judged("cycle-1", figures(0.29), SFT, stop=False)[0]["checkpoint"] == "cycle-1"


def test_the_next_cycle_is_compared_with_what_it_was_trained_from() -> None:
    _, left = judged("cycle-1", figures(0.1), SFT, stop=True)
    assert judged("cycle-2", figures(0.25), left, stop=True)[0] == {"checkpoint": "sft", "regressed": True}
    # Or, where it went on from the regressed one all the same, with that.
    assert not judged("cycle-2", figures(0.25), left["own"], stop=True)[0]["regressed"]
    assert judged("cycle-2", figures(0.45), left, stop=True)[0]["checkpoint"] == "cycle-2"


def test_without_validation_tasks_nothing_regresses() -> None:
    none = dict.fromkeys(("pass@1", "pass@1_low", "pass@1_high"))
    lineage, left = judged("sft", none, None, stop=True)
    assert lineage == {"checkpoint": "sft", "regressed": False}
    assert not judged("cycle-1", none, left, stop=True)[0]["regressed"]


def test_a_regressed_parent_is_passed_over_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("sft", "cycle-1"):
        (tmp_path / "models" / name).mkdir(parents=True)
    parent, lineage = tmp_path / "models/cycle-1", tmp_path / "cycle-1.json"
    lineage.write_text(json.dumps({"checkpoint": "sft", "regressed": True}))
    assert start_of(parent, lineage, use_regressed=False) == tmp_path / "models/sft"
    assert "cycle-1 has regressed: going on from sft" in capsys.readouterr().out
    assert start_of(parent, lineage, use_regressed=True) == parent
    assert start_of(parent, None, use_regressed=False) == parent
    lineage.write_text(json.dumps({"checkpoint": "cycle-0", "regressed": True}))
    with pytest.raises(InputError, match=r"goes on from 'cycle-0', and .* is not there"):
        start_of(parent, lineage, use_regressed=False)


@pytest.mark.parametrize("text", ["{", "[]", '{"checkpoint": 1, "regressed": true}', '{"checkpoint": "sft"}'])
def test_a_broken_lineage_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(InputError, match=r"l\.json"):
        read_lineage(tmp_path / "l.json")


def test_solved_tasks_are_skipped_and_come_back() -> None:
    tasks = [make_task(n) for n in range(4)]
    rates = {"t/0": Rate("t/0", "1", 1, 4, 4), "t/1": Rate("t/1", "1", 1, 4, 3), "t/2": Rate("t/2", "1", 1, 4, 0)}

    def sampled(depth: int, revisit: int) -> list[str]:
        return [task.task_id for task in due(tasks, rates, depth, CurriculumSettings(revisit=revisit))[0]]

    assert sampled(2, revisit=2) == ["t/1", "t/2", "t/3"], "solved ones are skipped, those never sampled are not"
    assert sampled(3, revisit=2) == ["t/0", "t/1", "t/2", "t/3"]
    assert sampled(9, revisit=0) == ["t/1", "t/2", "t/3"]
    assert due(tasks, rates, 2, None) == (tasks, 0)
    assert due(tasks[:1], rates, 2, CurriculumSettings()) == (tasks[:1], 0), "never none at all"


def test_the_place_in_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        'cycles: {"1": {parent: sft}, "2": {parent: cycle-1}, "7": {parent: cycle-2}, "8": {parent: sft}}\n'
    )
    assert [depth(Params(path), number) for number in ("1", "2", "7", "8")] == [1, 2, 3, 1]


def test_validation_by_hand(tmp_path: Path, stage: Run) -> None:
    """Two checkpoints whose samples are really judged: the second fails what the first passed."""
    tasks = [make_task(n) for n in range(8)]
    (tmp_path / "tasks.jsonl").write_text(
        "".join(
            json.dumps({name: getattr(task, name) for name in ("task_id", "language", "prompt", "verifier", "tests")}
                       | {"entry_point": "f", "cases": []}) + "\n"
            for task in tasks
        )
    )  # fmt: skip
    for name, wrong in (("sft", 0), ("cycle-1", 100)):
        lines = [
            {"task_id": f"t/{n}", "sample": 0, "completion": f"def f(xs): return [x + {n + wrong} for x in xs]"}
            for n in range(8)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = "--tasks tasks.jsonl --verdicts v.jsonl --metrics m.json --figures f.json"
    said = stage("validate", "--name", "sft", "--samples", "sft.jsonl", *files.split(), "--out", "sft.json").stdout
    assert said == "sft: pass@1 1.000 [1.000, 1.000] on validation\n"
    (tmp_path / "f.json").rename(tmp_path / "parent.json")
    arguments = ["--name", "cycle-1", "--samples", "cycle-1.jsonl", "--parent", "parent.json", *files.split()]
    said = stage("validate", *arguments, "--out", "cycle-1.json").stdout
    assert "cycle-1: pass@1 0.000 [0.000, 0.000] on validation, below 1.000 [1.000, 1.000] of sft: REGRESSED" in said
    assert json.loads((tmp_path / "cycle-1.json").read_text())["checkpoint"] == "sft"
    assert json.loads((tmp_path / "m.json").read_text())["regressed"] == 1
    (tmp_path / "tasks.jsonl").write_text("")
    said = stage("validate", *arguments, "--out", "none.json").stdout
    assert "no validation tasks, so no cycle is stopped" in said
