"""Comparing and explaining checkpoints from git and DVC's data: a real repository with two revisions."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.common import records
from stages.common.comparison import compare
from stages.common.errors import InputError
from stages.common.prompts import demonstration
from stages.common.records import Example, Sample, Task, Verdict
from stages.settings.prompts import PromptSettings
from tests.conftest import ROOT, make_task

TASKS = [make_task(n, reference=f"def f(xs):\n    return {n}\n") for n in range(12)]
N = 4
OLDER = """
profile: p
cycles:
  "1": {parent: sft}
models: [base, sft, cycle-1, control-1]
controls: {"1": {parent: sft}}
profiles: {p: {raft: {start: parent}}}
"""
NEWER = OLDER.replace('"1": {parent: sft}\n', '"1": {parent: sft}\n  "2": {parent: cycle-1}\n').replace(
    "cycle-1, control-1", "cycle-1, cycle-2, control-1"
)


def write_results(folder: Path, name: str, kind: str, solved: int, checkpoint: str, cycle: str | None = None) -> None:
    """Samples and verdicts of all tasks; the first `solved` tasks pass with all samples but one."""
    samples, verdicts = [], []
    for index, task in enumerate(TASKS):
        for number in range(N):
            passed = index < solved and number
            samples.append(Sample(task.task_id, number, f"answer {number} [of {name}]", checkpoint, cycle, 7, 0.8))
            level, detail = ("pass", "") if passed else ("wrong_answer", "assert f([1]) == [2]")
            verdicts.append(Verdict(task.task_id, number, 1.0 if passed else 0.7, level, detail, int(bool(passed)), 1))
    where = {"benchmark": f"benchmark/{name}/{{}}.jsonl", "cycle": f"{{}}/{name}.jsonl"}[kind]
    records.write(folder / "data" / where.format("samples"), samples)
    records.write(folder / "data" / where.format("verdicts"), verdicts)
    if kind == "benchmark":
        path = folder / f"metrics/benchmark/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"pass@1": 0.1, "n": N, "temperature": 0.8}))


def answer(task: Task, cycle: str) -> str:
    """What was trained on: the text of sample 1, or the reference."""
    return demonstration(task.reference, None, PromptSettings()) if cycle == "sft" else f"answer 1 [of cycle-{cycle}]"


def trained_on(folder: Path, name: str, *cycles: str) -> None:
    """The examples of a checkpoint: sample 1 of the first three tasks of each cycle, or three demonstrations."""
    examples = [
        Example(task.task_id, int(cycle != "sft"), cycle, 1.0, task.prompt, "python", answer(task, cycle), 2)
        for cycle in cycles
        for task in TASKS[:3]
    ]
    records.write(folder / f"data/training/{name}.jsonl", examples)


class Repository:
    """A git and DVC repository with a finished cycle at `one`, and two in its workspace."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for command in ("git init -q -b main", "git config user.name T", "git config user.email t@e", "dvc init -q"):
            self.run(*command.split())
        for name in ("samples", "verdicts", "training", "mix", "benchmark/base", "benchmark/control-1"):
            (path / "data" / name).mkdir(parents=True)
        records.write(path / "data/mix/benchmark.jsonl", TASKS)
        records.write(path / "data/mix/train.jsonl", TASKS)
        for name, solved in (("sft", 3), ("cycle-1", 8)):
            (path / f"data/benchmark/{name}").mkdir()
            write_results(path, name, "benchmark", solved, name)
        write_results(path, "cycle-1", "cycle", 4, "sft", "1")
        trained_on(path, "sft", "sft")
        trained_on(path, "cycle-1", "1")
        self.commit("one", OLDER)
        (path / "data/benchmark/cycle-2").mkdir()
        write_results(path, "cycle-2", "benchmark", 7, "cycle-2")
        write_results(path, "cycle-2", "cycle", 4, "cycle-1", "2")
        trained_on(path, "cycle-2", "2", "1")
        (path / "params.yaml").write_text(NEWER)

    def commit(self, tag: str, params: str) -> None:
        """Track all data and tag it."""
        (self.path / "params.yaml").write_text(params)
        files = [str(p.relative_to(self.path)) for p in (self.path / "data").rglob("*.jsonl")]
        self.run("dvc", "add", "-q", *files)
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", tag)
        self.run("git", "tag", tag)

    def run(self, *command: str, code: int = 0) -> str:
        """What a command says; asserts its exit code."""
        environment = {
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "100",
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        }
        environment |= {"HOME": str(self.path.parent), "LANG": "C.UTF-8"}
        done = subprocess.run(command, cwd=self.path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def stage(self, *arguments: str, code: int = 0) -> str:
        """`python -m stages.NAME ...`"""
        return self.run(sys.executable, "-m", f"stages.{arguments[0]}", *arguments[1:], code=code)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    path = tmp_path_factory.mktemp("compare") / "repository"
    path.mkdir()
    return Repository(path)


def test_a_difference_is_paired_by_task() -> None:
    a = {f"t{n}": (4, n % 2 * 3) for n in range(40)}
    noise = compare(a, {task: (8, 2 * passed) for task, (_, passed) in a.items()}, list(a), 500)
    assert (noise.difference, noise.low, noise.high, noise.verdict) == (0, 0, 0, "no detectable difference")
    better = compare(a, {task: (4, passed + 1) for task, (_, passed) in a.items()}, list(a), 500)
    assert (better.difference, better.verdict) == (0.25, "B is better"), "every task gained as much: no doubt"
    assert better.won == better.lost == []
    b = {**a, "t0": (4, 4), "t1": (4, 1)}
    mixed = compare(a, b, list(a), 500)
    assert (mixed.won, mixed.lost, mixed.verdict) == (["t0"], ["t1"], "no detectable difference")
    assert mixed.low < mixed.difference < mixed.high
    few = compare(a, b, list(a)[:9], 500)
    assert few.verdict == "too few tasks to tell (fewer than 10)"
    with pytest.raises(InputError, match="no task in common"):
        compare(a, b, [], 10)


def test_two_checkpoints_of_two_revisions(repository: Repository) -> None:
    said = repository.stage("compare", "one:sft", "one")
    assert "one:sft" in said
    assert "one:cycle-1" in said, "the last of the chain, and no control"
    assert "+0.312" in said, "5 of 12 tasks, 3 of 4 samples each"
    assert "B is better in pass@1" in said
    assert "won (B solves, A does not), 5: t/3, t/4, t/5, t/6, t/7" in said
    assert "lost (A solves, B does not): none" in said
    assert "answer 0 [of sft]" in said, "a sample that failed beside ..."
    assert "answer 1 [of cycle-1]" in said, "... one that passed, brackets and all"
    assert "Write f(xs): add 3 to each number." in said
    said = json.loads(repository.stage("compare", "one", "--json"))
    assert (said["A"], said["B"], said["lost"], said["won"]) == ("one:cycle-1", "workspace:cycle-2", ["t/7"], [])
    assert said["verdict"] == "no detectable difference"
    said = repository.stage("compare", "one:sft", "one:cycle-1", "--task", "t/0")
    assert "3 of 4 pass; sample 1: reward 1, pass" in said


def test_tasks_whose_tests_changed_are_left_out(repository: Repository) -> None:
    path = repository.path / "data/mix/benchmark.jsonl"
    before = path.read_bytes()
    changed = [make_task(0, tests="assert f([1]) == [5]\n"), *TASKS[2:], make_task(99)]
    path.unlink()
    records.write(path, changed)
    try:
        said = repository.stage("compare", "one")
        assert "left out: 1 tasks that A alone has, 1 of B, 1 whose tests differ" in said
        assert "10 tasks, paired" in said
    finally:
        path.write_bytes(before)


def test_why_goes_back_to_samples_and_verdicts(repository: Repository) -> None:
    said = repository.stage("why", "--task", "t/1")
    assert "6          3 of cycle 2, 3 of cycle 1" in said
    assert "3 demonstrations" in said
    assert said.index("cycle-2") < said.index("cycle-1 ") < said.index("sft ") < said.index("base ")
    assert "sample 1 of cycle 2, drawn by cycle-1 (temperature 0.8, seed 7)" in said
    assert "verdict: reward 1, pass, 1 of 1 tests" in said
    assert "a demonstration: the reference solution of the task, from its source" in said
    assert "cycle-2 was trained on, 2 times an epoch" in said
    assert "every example has its sample and its verdict" in said
    found = json.loads(repository.stage("why", "one", "--task", "t/1", "--json"))
    assert [step["checkpoint"] for step in found["chain"]] == ["cycle-1", "sft", "base"]
    assert found["examples"][0]["sample"]["seed"] == 7


def test_what_cannot_be_traced_is_an_error(repository: Repository) -> None:
    path = repository.path / "data/training/cycle-2.jsonl"
    before = path.read_text()
    try:
        for what, other in (('"sample": 1', '"sample": 0'), ("answer 1", "another answer"), ("1.0", "0.7")):
            path.write_text(before.replace(what, other, 1))
            error = repository.stage("why", code=1)
            number = int(what != '"sample": 1')
            told = f"cycle-2: t/0 (sample {number} of cycle 2)"
            assert error == f"error: examples that are not as their sample and verdict: {told}\n"
    finally:
        path.write_text(before)


def test_verdicts_that_changed_since_a_revision(repository: Repository, tmp_path: Path) -> None:
    path = repository.path / "data/verdicts/cycle-1.jsonl"
    before = path.read_text()
    lines = before.splitlines(keepends=True)
    lines[1] = lines[1].replace('"reward": 1.0, "level": "pass"', '"reward": 0.5, "level": "timeout"')
    judge = repository.path / "stages/verifiers/python.py"
    judge.parent.mkdir(parents=True)
    try:
        path.write_text("".join(lines))
        judge.write_text("# newer\n")
        repository.run("git", "add", "-N", "stages")
        said = repository.stage("verify_diff", "--against", "one", "--out", str(tmp_path / "flips.jsonl"))
    finally:
        path.write_text(before)
        repository.run("git", "reset", "-q")
        shutil.rmtree(repository.path / "stages")
    assert "cycle-1: 48 verdicts, 1 changed\n  t/0 sample 1: 1 pass -> 0.5 timeout\n" in said
    assert "  changed: stages/verifiers/python.py\n" in said
    assert "benchmark of sft: 48 verdicts, 0 changed" in said
    assert "cycle-2: not there at one" in said
    assert json.loads((tmp_path / "flips.jsonl").read_text())["task_id"] == "t/0"


def test_a_version_stands_for_its_releases_tag(repository: Repository) -> None:
    repository.run("git", "tag", "coder@v0.1.0", "one")
    try:
        assert "coder@v0.1.0:sft" in repository.stage("compare", "v0.1.0:sft", "one")
        assert "cycle-1" in repository.stage("why", "v0.1.0")
        repository.run("git", "tag", "other@v0.1.0", "one")
        error = repository.stage("why", "v0.1.0", code=1)
        assert error == "error: v0.1.0: found coder@v0.1.0, other@v0.1.0; give one of these\n"
    finally:
        repository.run("git", "tag", "-d", "coder@v0.1.0", "other@v0.1.0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "v9"), "v9: git knows no such revision, and DVC no such experiment"),
        (("compare", "one:cycle-2"), "one:cycle-2: found checkpoint 'cycle-2', expected one of: base, sft, cycle-1"),
        (("compare", "one", "--task", "t/77"), "--task t/77: not benchmarked on both sides"),
        (("compare", "one:base"), "data/benchmark/base/verdicts.jsonl: no such file at one"),
        (("why", "one", "--task", "t/9"), "--task t/9: nothing that made cycle-1 was trained on it"),
        (("why", "one:control-1"), "data/training/control-1.jsonl: no such file at one"),
    ],
)
def test_bad_input_is_one_line(repository: Repository, arguments: tuple[str, ...], message: str) -> None:
    error = repository.stage(*arguments, code=1)
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


def test_content_that_is_nowhere_is_one_line(repository: Repository, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    repository.run("git", "clone", "-q", str(repository.path), str(clone))
    elsewhere = Repository.__new__(Repository)
    elsewhere.path = clone
    error = elsewhere.stage("compare", "one", "one:sft", code=1)
    assert "the content at one is neither in DVC's cache nor on a remote; run `dvc fetch --all-tags`" in error
    shutil.copytree(repository.path / ".dvc/cache", clone / ".dvc/cache")
    assert "A is better" in elsewhere.stage("compare", "one", "one:sft")
