"""prepare as it is run: what it writes, what it drops, what it refuses."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from benchmarks.preparing import tasks
from stages import sources
from stages.common import records
from stages.common.records import Task
from stages.settings.sources import MbppSettings
from tests.sources.hub_layout import HUMANEVAL_ROW, MBPP_ROW, write_humaneval, write_mbpp

ROOT = Path(__file__).parents[1]
MIRROR = Path(os.environ.get("HALO_FORGE_HUB", ROOT / ".." / "shared" / "hub"))
SPLITS = ("train", "validation", "benchmark")
SMALL = {"demonstrations": [2, 3, 0], "prompts": [0, 4, 0], "validation": [0, 2, 0], "benchmark": [0, 4, 2]}


def mirrored(test: Callable[..., None]) -> Callable[..., None]:
    """A test that needs a mirror of the hub on disk."""
    skip = pytest.mark.skipif(not MIRROR.is_dir(), reason="no mirror of the hub; name one in HALO_FORGE_HUB")
    return pytest.mark.hub(skip(test))


def prepare(folder: Path, source: str, settings: object, hub: Path | None = None) -> subprocess.CompletedProcess:
    """Run the script with one profile that has just this source; its files go below `folder`."""
    profile = {"verify": {}, "sources": {source: settings}}
    params = {"profile": "p", "seed": 3, "sources": {"hub": hub and str(hub)}, "profiles": {"p": profile}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    command = [sys.executable, "-m", "stages.prepare", "--source", source, "--params", folder / "params.yaml"]
    command += ["--out", folder / "tasks", "--metrics", folder / "metrics.json"]
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)


def written(folder: Path) -> dict[str, list[Task]]:
    return {split: list(records.read(Task, folder / "tasks" / f"{split}.jsonl")) for split in SPLITS}


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def expect_refusal(folder: Path, result: subprocess.CompletedProcess, *parts: str) -> None:
    assert result.returncode == 1
    (said,) = [line for line in result.stderr.splitlines() if not line.startswith("prepare: ")]  # which is progress
    assert said.startswith("error: ")
    for part in parts:
        assert part in said
    assert not (folder / "tasks").exists()
    assert not (folder / "metrics.json").exists()


def test_synthetic_with_its_references_verified(tmp_path: Path) -> None:
    result = prepare(tmp_path, "synthetic", SMALL)
    assert result.returncode == 0, result.stderr
    assert metrics(tmp_path) == {
        "used": True,
        "rows": 17,
        "train": 9,
        "validation": 2,
        "benchmark": 6,
        "demonstrations": 5,
        "verified": 13,
        "dropped": 0,
        "unused": 0,
        "languages": {"python": 17},
        "difficulties": {},
        "prompt_tokens": {},
        "example_tokens": {},
    }
    assert {split: len(tasks) for split, tasks in written(tmp_path).items()} == {
        "train": 9,
        "validation": 2,
        "benchmark": 6,
    }
    assert result.stdout == "synthetic: 17 rows: train 9, validation 2, benchmark 6; dropped 0\n"


def test_a_second_run_writes_the_same_bytes(tmp_path: Path) -> None:
    settings = {**SMALL, "check_references": False}
    contents = []
    for _ in range(2):
        assert prepare(tmp_path, "synthetic", settings).returncode == 0
        contents.append({path.name: path.read_bytes() for path in sorted((tmp_path / "tasks").iterdir())})
    assert contents[0] == contents[1]
    assert list(contents[0]) == ["benchmark.jsonl", "train.jsonl", "validation.jsonl"]


def test_a_source_set_to_null_is_empty(tmp_path: Path) -> None:
    result = prepare(tmp_path, "mbpp", None)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "mbpp: not used by profile p\n"
    assert written(tmp_path) == {split: [] for split in SPLITS}
    counts = ("rows", "train", "validation", "benchmark", "demonstrations", "verified", "dropped", "unused")
    tables = ("languages", "difficulties", "prompt_tokens", "example_tokens")
    assert metrics(tmp_path) == {"used": False, **dict.fromkeys(counts, 0), **{key: {} for key in tables}}


def test_a_task_whose_reference_fails_is_dropped(tmp_path: Path) -> None:
    wrong = {**HUMANEVAL_ROW, "task_id": "HumanEval/1", "canonical_solution": "    return x\n"}
    broken = {**HUMANEVAL_ROW, "task_id": "HumanEval/2", "canonical_solution": "    return (\n"}
    write_humaneval(tmp_path / "hub", [HUMANEVAL_ROW, wrong, broken])
    result = prepare(tmp_path, "humaneval", {}, tmp_path / "hub")
    assert result.returncode == 0, result.stderr
    assert [task.task_id for task in written(tmp_path)["benchmark"]] == ["HumanEval/0"]
    found = metrics(tmp_path)
    assert (found["benchmark"], found["dropped"]) == (1, 2)
    dropped = [ids for key, ids in found.items() if key.endswith("_ids")]
    assert sorted(dropped) == [["HumanEval/1"], ["HumanEval/2"]]


def test_a_source_without_one_good_reference_is_refused(tmp_path: Path) -> None:
    write_humaneval(tmp_path / "hub", [{**HUMANEVAL_ROW, "canonical_solution": "    return x\n"}])
    result = prepare(tmp_path, "humaneval", {}, tmp_path / "hub")
    expect_refusal(tmp_path, result, "not one of 1 reference solutions passes; HumanEval/0: wrong_answer")


def test_unchecked_references_are_kept(tmp_path: Path) -> None:
    write_mbpp(tmp_path / "hub", [MBPP_ROW, {**MBPP_ROW, "code": "def twice(x):\n    return 0\n"}])
    assert prepare(tmp_path, "mbpp", {"check_references": False}, tmp_path / "hub").returncode == 0
    assert metrics(tmp_path)["train"] == metrics(tmp_path)["demonstrations"] == 2
    assert metrics(tmp_path)["verified"] == 0


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("sintetic", {}, "source 'sintetic': unknown; did you mean 'synthetic'?"),
        (
            "synthetic",
            {"benchmrk": [0, 1, 1]},
            "profiles.p.sources.synthetic.benchmrk: unknown key; did you mean 'benchmark'?",
        ),
        ("synthetic", [1], "profiles.p.sources.synthetic: expected a map of settings, found [1]"),
        (
            "humaneval",
            {"split": "train"},
            "profiles.p.sources.humaneval.split: found 'train': HumanEval is a benchmark",
        ),
        ("mbpp", {"limit": 0}, "profiles.p.sources.mbpp.limit: found 0: "),
        ("mbpp", {"config": "all"}, "profiles.p.sources.mbpp.config: found 'all': "),
    ],
)
def test_wrong_settings(tmp_path: Path, source: str, settings: object, message: str) -> None:
    expect_refusal(tmp_path, prepare(tmp_path, source, settings), message)


def test_a_hub_that_is_not_there(tmp_path: Path) -> None:
    result = prepare(tmp_path, "mbpp", {}, tmp_path / "nowhere")
    expect_refusal(tmp_path, result, "google-research-datasets/mbpp: no such directory", "sources.hub")


# Tasks of MBPP that repeat an earlier one of its train or validation split: {the one left out: the earlier one}.
REPEATED_IN_BOTH = {"mbpp/779": "mbpp/758", "mbpp/790": "mbpp/775", "mbpp/563": "mbpp/725", "mbpp/591": "mbpp/625"}
REPEATED = REPEATED_IN_BOTH | {
    "mbpp/680": "mbpp/670",
    "mbpp/892": "mbpp/693",
    "mbpp/956": "mbpp/647",
    "mbpp/527": "mbpp/767",
    "mbpp/542": "mbpp/732",
    "mbpp/595": "mbpp/699",
}


@mirrored
@pytest.mark.parametrize(
    ("source", "settings", "sizes", "repeated"),
    [
        ("humaneval", {}, (0, 0, 164), {}),
        ("mbpp", {}, (369, 85, 500), REPEATED),
        ("mbpp", {"config": "sanitized"}, (118, 41, 257), REPEATED_IN_BOTH),
    ],
)
def test_every_published_reference_earns_its_reward(
    tmp_path: Path, source: str, settings: dict, sizes: tuple[int, ...], repeated: dict[str, str]
) -> None:
    result = prepare(tmp_path, source, settings, MIRROR)
    assert result.returncode == 0, result.stderr
    found = metrics(tmp_path)
    assert tuple(found[split] for split in SPLITS) == sizes, found
    assert found["verified"] == found["rows"] == sum(sizes) + len(repeated)
    named = found.get("dropped_duplicate_ids", []) + found.get("dropped_near_duplicate_ids", [])
    assert sorted(named) == sorted(repeated)


@mirrored
def test_what_repeats_another_task_passes_its_tests() -> None:
    """Each task of MBPP that is left out brings the program that the earlier task asks for, under another name."""
    splits = sources.load("mbpp", MbppSettings(), str(MIRROR), 0)
    tasks = {task.task_id: task for split in ("train", "validation") for task in splits[split]}
    for left_out, earlier in REPEATED.items():
        one, other = tasks[left_out], tasks[earlier]
        names: dict = {}
        exec(one.reference or "", names)
        names[other.entry_point] = names[one.entry_point]
        exec(other.tests, names)


def own_rows(folder: Path, count: int) -> list[str]:
    """A project whose source jsonl has `count` rows; the command that prepares it there."""
    records.write(folder / "data/own/rows.jsonl", tasks(count))
    source = {"train": ["data/own/rows.jsonl"], "check_references": False}
    params = {"profile": "p", "profiles": {"p": {"verify": {}, "sources": {"jsonl": source}}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    options = "--source jsonl --out tasks/jsonl --metrics metrics/jsonl.json"
    return [sys.executable, "-m", "stages.prepare", *options.split()]


def files(folder: Path) -> dict[str, bytes]:
    """Everything that prepare left."""
    found = [p for top in ("tasks", "metrics") for p in (folder / top).rglob("*") if p.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_killed_run_leaves_nothing_half_written(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = own_rows(tmp_path, 2500)
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        half = tmp_path / "tasks/.jsonl.tmp/.train.jsonl.tmp"
        while not (half.exists() and half.stat().st_size):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert [path.name for path in (tmp_path / "tasks").iterdir()] == [".jsonl.tmp"]
    assert not (tmp_path / "metrics").exists()
    other = tmp_path / "undisturbed"
    own_rows(other, 2500)
    for folder in (tmp_path, other):
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    assert files(tmp_path) == files(other)
    assert sorted(files(other)) == [
        "metrics/jsonl.json",
        *(f"tasks/jsonl/{split}.jsonl" for split in sorted(SPLITS)),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk, which takes root")
def test_a_full_disk(tmp_path: Path) -> None:
    """The output's disk has 1 MiB; what is there already stays."""
    command = own_rows(tmp_path, 4000)
    (tmp_path / "tasks").mkdir()
    mount = (
        f"mount -t tmpfs -o size=1m none tasks && mkdir tasks/jsonl && touch tasks/jsonl/old && {shlex.join(command)}"
    )
    script = f"{mount}; code=$?; find tasks -type f; exit $code"
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare:" in result.stderr or "mount:" in result.stderr:
        pytest.skip("may not mount here")
    assert (result.returncode, result.stdout) == (1, "tasks/jsonl/old\n"), result.stderr
    (said,) = [line for line in result.stderr.splitlines() if not line.startswith("prepare: ")]
    assert said.startswith("error: ")
    assert said.endswith(": no space left on the device; free some and run again")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Ten times the rows: the peak may differ by what the index on disk keeps in its cache."""
    peaks = []
    for count in (1_000, 10_000):
        command = own_rows(tmp_path / str(count), count)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=tmp_path / str(count), env=environment, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks.append(usage.ru_maxrss / 1024)
    assert peaks[1] < peaks[0] + 50, peaks
    found = json.loads((tmp_path / "10000/metrics/jsonl.json").read_text())
    assert (found["train"], found["dropped"]) == (9_000, 1_000)
