"""Published faults of benchmarks, as the verifiers see them: what they say of references, of right answers and of wrong
ones is what each fault makes one expect.

known_bugs.jsonl has a line or more for each fault of ../shared/known-bugs.jsonl. `judged` is the set with the task;
`program` is judged, else the set's reference, or that of the set `reference_of`; `tests` are put in place of the
task's; an `_edit` is a pair, what to replace and by what. `passes` says whether it must earn 1.0, and `level` how it
fails. `absent`: the set does not have the task. `prompt_holds`: its prompt has this text. `explained`: a difference of
labelled.jsonl. `elsewhere`: why nothing here can be judged.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from stages.common.records import Sample, Task, Verdict
from stages.settings.sources import MbppSettings
from stages.settings.verify import VerifySettings
from stages.sources import humaneval, mbpp
from stages.verifiers import make
from stages.verifiers.pool import verify_samples
from tests import labelled
from tests.conftest import ROOT
from tests.cpython import by_cpython

SHARED = ROOT.parent / "shared"
HUB = Path(os.environ.get("HALO_FORGE_HUB", SHARED / "hub"))
FAULTS = SHARED / "known-bugs.jsonl"
CHECKS = [
    json.loads(line) for line in (Path(__file__).parent / "known_bugs.jsonl").read_text(encoding="utf-8").splitlines()
]
SETTINGS = VerifySettings.parse({"pytest": {"packages": ["numpy"]}}, "tests")
pytestmark = [
    pytest.mark.hub,
    pytest.mark.skipif(not HUB.is_dir(), reason="no mirror of the hub; name one in HALO_FORGE_HUB"),
]
JUDGED = [(at, task) for at, check in enumerate(CHECKS) if "passes" in check for task in check["tasks"]]


def rows(folder: str) -> list[dict[str, Any]]:
    """All rows of a data set's folder."""
    return [
        row
        for file in sorted((HUB / folder).rglob("*.parquet"))
        for row in pyarrow.parquet.read_table(file).to_pylist()
    ]


def mbpp_tasks(config: str) -> dict[str, Task]:
    """MBPP, all of it."""
    found = rows(f"{mbpp.DATASET}/{config}")
    return {
        str(row["task_id"]): mbpp.task({**row, "task_id": int(row["task_id"])}, MbppSettings(config=config))
        for row in found
    }


def mbpp_plus_tasks() -> dict[str, Task]:
    """MBPP+ as published, asserting helper and all."""
    found = {}
    for row in rows("evalplus/mbppplus"):
        entry = mbpp.entry_point(list(row["test_list"]), row["code"], f"mbppplus/{row['task_id']}")
        name = f"mbppplus/{row['task_id']}"
        found[str(row["task_id"])] = Task(
            name, "python", row["prompt"], "pytest", entry, row["test"], [], reference=row["code"]
        )
    return found


def multipl_e_rust_tasks() -> dict[str, Task]:
    """MultiPL-E's HumanEval in Rust; its tests begin with the brace that ends the function."""
    found = {}
    for row in rows("nuprl/MultiPL-E/humaneval-rs"):
        number = row["name"].split("_")[1]
        tests = row["tests"].lstrip().removeprefix("}")
        entry = row["name"].split("_", 2)[2]
        found[number] = Task(row["name"], "rust", row["prompt"], "rust", entry, tests, [])
    return found


@cache
def tasks(judged: str) -> dict[str, Task]:
    """The tasks of a set by their number."""
    if judged in ("mbpp", "mbpp-sanitized"):
        return mbpp_tasks("full" if judged == "mbpp" else "sanitized")
    if judged == "mbppplus":
        return mbpp_plus_tasks()
    if judged == "humaneval-rs":
        return multipl_e_rust_tasks()
    folder = {"humaneval": humaneval.DATASET, "humanevalplus": "evalplus/humanevalplus"}[judged]
    return {row["task_id"].partition("/")[2]: humaneval.task(row) for row in rows(folder)}


def edited(text: str, edit: list[str] | None) -> str:
    """The text with the edit, which must have something to replace."""
    if edit is None:
        return text
    assert edit[0] in text
    return text.replace(*edit)


def pair_of(check: dict[str, Any], number: str) -> tuple[Task, str]:
    """A check's task and the program to judge."""
    task = tasks(check["judged"])[number]
    reference = tasks(check.get("reference_of", check["judged"]))[number].reference
    program = edited(check.get("program") or reference or "", check.get("program_edit"))
    tests = edited(check.get("tests", task.tests), check.get("tests_edit"))
    return dataclasses.replace(task, tests=tests), program


def judge(change: Callable[[Task], Task]) -> dict[tuple[int, str], Verdict]:
    """The verdicts of all checks whose tools are here, in one go; `change` is done to each task."""
    by_id, samples, keys = {}, [], []
    for at, number in JUDGED:
        task, program = pair_of(CHECKS[at], number)
        if lacking(task.verifier) is None:
            task = dataclasses.replace(change(task), task_id=f"{at}/{number}")
            by_id[task.task_id] = task
            samples.append(Sample(task.task_id, 0, program))
            keys.append((at, number))
    return dict(zip(keys, verify_samples(by_id, samples, SETTINGS), strict=True))


@cache
def lacking(verifier: str) -> str | None:
    """What a verifier lacks here."""
    return make(verifier, SETTINGS).check()


@pytest.fixture(scope="module")
def verdicts() -> dict[tuple[int, str], Verdict]:
    """The project's."""
    return judge(lambda task: task)


@pytest.mark.parametrize("key", JUDGED, ids=lambda key: f"{CHECKS[key[0]]['judged']} {key[1]}: {CHECKS[key[0]]['why']}")
def test_verdict_fits_the_fault(verdicts: dict[tuple[int, str], Verdict], key: tuple[int, str]) -> None:
    if key not in verdicts:
        pytest.skip("needs rustc")
    check, verdict = CHECKS[key[0]], verdicts[key]
    assert (verdict.reward == 1) == check["passes"], f"{verdict.level}: {verdict.detail}"
    assert verdict.level == check.get("level", verdict.level), verdict.detail


def test_python_verdicts_are_those_of_plain_cpython(verdicts: dict[tuple[int, str], Verdict]) -> None:
    plain = judge(lambda task: by_cpython(task) if task.language == "python" else task)
    differing = [key for key, verdict in verdicts.items() if (verdict.reward == 1) != (plain[key].reward == 1)]
    assert differing == []


@pytest.mark.parametrize("check", [c for c in CHECKS if "absent" in c], ids=lambda check: check["why"])
def test_tasks_that_were_taken_out_are_not_there(check: dict[str, Any]) -> None:
    assert not set(check["tasks"]) & set(tasks(check["judged"]))


@pytest.mark.parametrize("check", [c for c in CHECKS if "prompt_holds" in c], ids=lambda check: check["why"])
def test_prompts_hold_what_they_should_not(check: dict[str, Any]) -> None:
    assert all(check["prompt_holds"] in tasks(check["judged"])[number].prompt for number in check["tasks"])


@pytest.mark.parametrize("check", [c for c in CHECKS if "explained" in c], ids=lambda check: check["explained"][1])
def test_labels_that_are_wrong_are_explained(check: dict[str, Any]) -> None:
    name, task_id = check["explained"]
    assert task_id in {task for task, _ in labelled.named(name)}


@pytest.mark.skipif(not FAULTS.is_file(), reason="no ../shared/known-bugs.jsonl")
def test_each_published_fault_has_its_check() -> None:
    published = [json.loads(line) for line in FAULTS.read_text(encoding="utf-8").splitlines()]
    faults = {(row["benchmark"], str(row["task_id"]), row["part"]) for row in published}
    checked = {(check["benchmark"], number, check["part"]) for check in CHECKS for number in check["tasks"]}
    assert checked == faults
