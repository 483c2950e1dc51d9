"""The verify stage from outside: files in, files out, and how it ends when something is wrong."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stages.common import records
from stages.common.records import Sample, Verdict
from tests.conftest import ROOT, Run, make_task

GOOD = "def f(xs):\n    return [x + 1 for x in xs]\n"
ANSWERS = [GOOD, "def f(xs):\n    return xs\n", "def f(xs):\n    return y\n", "def f(xs:\n", "import os\nos._exit(0)\n"]
REWARDS = [1.0, 0.7, 0.5, 0.0, 0.3]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with tasks.jsonl and samples.jsonl."""
    records.write(tmp_path / "tasks.jsonl", [make_task(1), make_task(2)])
    samples = [Sample("t/1", n, answer) for n, answer in enumerate(ANSWERS)]
    records.write(tmp_path / "samples.jsonl", [*samples, Sample("t/2", 0, GOOD)])
    return tmp_path


FLAGS = ("--tasks", "tasks.jsonl", "--samples", "samples.jsonl", "--out", "out/verdicts.jsonl")


def test_verdicts_metrics_and_timing(stage: Run, files: Path) -> None:
    done = stage("verify", *FLAGS, "--metrics", "metrics.json", "--timing", "timing.json")
    verdicts = list(records.read(Verdict, files / "out/verdicts.jsonl"))
    assert [(v.task_id, v.sample) for v in verdicts] == [*(("t/1", n) for n in range(5)), ("t/2", 0)]
    assert [v.reward for v in verdicts] == [*REWARDS, 0.7]
    metrics = json.loads((files / "metrics.json").read_text())
    assert metrics["pass_rate"] == round(1 / 6, 6)
    assert metrics["tasks_solved"] == 0.5
    assert metrics["mean_reward"] == round(3.2 / 6, 6)
    timing = json.loads((files / "timing.json").read_text())
    assert timing["verifiers"]["pytest"]["python"] and timing["programs_per_second"] > 0
    assert "6 verdicts, pass rate 0.167" in done.stderr


def test_a_rerun_gives_the_same_bytes(stage: Run, files: Path) -> None:
    """Verdicts and metrics are pure functions of their inputs."""
    for turn in ("a", "b"):
        stage("verify", *FLAGS[:4], "--out", f"{turn}.jsonl", "--metrics", f"{turn}.json")
    for kind in ("json", "jsonl"):
        assert (files / f"a.{kind}").read_bytes() == (files / f"b.{kind}").read_bytes()


def test_torch_is_never_imported() -> None:
    code = "import sys, stages.verify, stages.verifiers.python, stages.verifiers.gcc\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def expect_error(stage: Run, files: Path, *parts: str) -> None:
    """One line on stderr with all of `parts`, exit code 1, no output."""
    done = stage("verify", *FLAGS, code=1)
    errors = [line for line in done.stderr.splitlines() if not line.startswith("verify samples:")]
    assert len(errors) == 1, done.stderr
    for part in ("error: ", *parts):
        assert part in errors[0]
    assert not list((files / "out").glob("*")) if (files / "out").exists() else True


def test_no_sandbox(stage: Run, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bubblewrap nothing is run, nothing is paid, nothing is written."""
    monkeypatch.setenv("PATH", str(files))
    expect_error(stage, files, "bwrap", "apt-get install bubblewrap")


@pytest.mark.parametrize(
    "script", ["exit 1", "echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "exec sleep 0.1"]
)
def test_broken_sandbox(stage: Run, files: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    fake = files / "bwrap"
    fake.write_text(f"#!{shutil.which('sh')}\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{files}:{os.environ['PATH']}")
    expect_error(stage, files, "the sandbox does not start")


def test_bad_lines(stage: Run, files: Path) -> None:
    with (files / "samples.jsonl").open("a") as file:
        file.write('{"task_id": "t/2", "sample": 1, "comple')
    expect_error(stage, files, "samples.jsonl:7: not JSON", "truncated")


def test_duplicate_sample(stage: Run, files: Path) -> None:
    with (files / "samples.jsonl").open("a") as file:
        file.write(records.encode(Sample("t/1", 2, "")) + "\n")
    expect_error(stage, files, "samples.jsonl:7: duplicate task_id 't/1', sample 2")


def test_sample_of_an_unknown_task(stage: Run, files: Path) -> None:
    records.write(files / "samples.jsonl", [Sample("t/1", 0, GOOD), Sample("t/7", 0, GOOD)])
    expect_error(stage, files, "task 't/7'", "no such task")


def test_unknown_verifier(stage: Run, files: Path) -> None:
    records.write(files / "tasks.jsonl", [make_task(1), make_task(2, verifier="gc")])
    expect_error(stage, files, "task 't/2'", "unknown verifier 'gc'", "did you mean 'gcc'?")


def test_unknown_field_values_of_tasks(stage: Run, files: Path) -> None:
    records.write(files / "tasks.jsonl", [make_task(1), make_task(2, language="cobol")])
    expect_error(stage, files, "tasks.jsonl: task 't/2': language 'cobol'", "expects python")


def test_duplicate_task(stage: Run, files: Path) -> None:
    records.write(files / "more.jsonl", [make_task(2)])
    done = stage("verify", "--tasks", "tasks.jsonl", "more.jsonl", *FLAGS[2:], code=1)
    assert done.stderr == "error: more.jsonl: duplicate task_id 't/2', already in an earlier file\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"task_id": "t/2", "sample": 1}', "field 'completion' is missing"),
        (b'{"task_id": "t/2", "sample": 1, "completion": ["x"]}', "field 'completion': expected string, found"),
        (b'{"task_id": "t/2", "sample": true, "completion": ""}', "field 'sample': expected integer, found true"),
        (b'{"task_id": "t/2", "sample": -1, "completion": ""}', "field 'sample': expected 0..99999, found -1"),
        (b'{"task_id": "t/2", "sample": 1, "completion": "\xff"}', "not UTF-8 at byte 47"),
        (b'["t/2", 1, ""]', "expected a JSON object, found list"),
        (b'{"task_id": "t/2", "sample": 1, "completion": "", "meta": ' + b"[" * 200_000, "JSON nested too deeply"),
    ],
    ids=["missing", "mistyped", "boolean", "negative", "not UTF-8", "no object", "deep"],
)
def test_broken_samples(stage: Run, files: Path, line: bytes, message: str) -> None:
    """The file, the line and the field are named."""
    with (files / "samples.jsonl").open("ab") as file:
        file.write(line + b"\n")
    expect_error(stage, files, "samples.jsonl:7: ", message)


def test_no_samples(stage: Run, files: Path) -> None:
    (files / "samples.jsonl").write_text("\n")
    expect_error(stage, files, "samples.jsonl: no samples; expected at least one")


ODD = "t\0/\ud800\u00e9"  # a task's name
PROGRAMS = {
    "NUL": (GOOD + "# \0\n", 0.0),
    "only NUL": ("\0", 0.0),
    "lone surrogate": ("s = '\ud800'\n" + GOOD, 0.0),
    "5 MB comment": (GOOD + "# " + "x" * 5_000_000 + "\n", 1.0),
    "5 MB of blank lines": (GOOD + "\n" * 5_000_000, 1.0),
    "5 MB string": (GOOD + "s = '" + "\u00e9" * 2_500_000 + "'\n", 1.0),
    "5 MB of fences": ("```\n" * 1_250_000, 0.0),
    "open parentheses": ("(" * 100_000, 0.0),
    "nested lists": (GOOD + "x = " + "[" * 3000 + "]" * 3000 + "\n", 0.0),
    "nested blocks": (GOOD + "".join(" " * n + "if 1:\n" for n in range(95)) + " " * 95 + "pass\n", 1.0),
    "signs": (GOOD + "x = " + "-" * 100_000 + "1\n", 0.0),
    "attributes": (GOOD + "x = a" + ".b" * 200_000 + "\n", 0.0),
    "old Mac line ends": (GOOD.replace("\n", "\r"), 1.0),
    "prose": ("I am sorry, I cannot do that.", 0.0),
    "nothing": ("", 0.0),
    "white space": (" \t\r\n", 0.0),
}


def test_odd_programs(stage: Run, files: Path) -> None:
    """Each is judged for what it is, and the names stay what they are; from the cache as from a judge."""
    records.write(files / "tasks.jsonl", [make_task(1, task_id=ODD)])
    records.write(files / "samples.jsonl", [Sample(ODD, n, code) for n, (code, _) in enumerate(PROGRAMS.values())])
    stage("verify", *FLAGS)
    verdicts = list(records.read(Verdict, files / "out/verdicts.jsonl"))
    assert {name: v.reward for name, v in zip(PROGRAMS, verdicts, strict=True)} == {
        k: r for k, (_, r) in PROGRAMS.items()
    }
    assert [(v.task_id, v.sample) for v in verdicts] == [(ODD, n) for n in range(len(PROGRAMS))]
    assert all(len(v.detail) <= 200 and v.detail.isprintable() for v in verdicts)
    first = (files / "out/verdicts.jsonl").read_bytes()
    stage("verify", *FLAGS, "--timing", "timing.json")
    assert (files / "out/verdicts.jsonl").read_bytes() == first
    timing = json.loads((files / "timing.json").read_text())
    assert timing["judged"] == 0 and timing["cache_hits"] + timing["repeated"] == len(PROGRAMS)


def test_broken_tests_are_counted_apart(stage: Run, files: Path) -> None:
    """They say nothing about the sample, which is paid for no more than running."""
    broken = {"t/3": "assert f([1]) == [2\n", "t/4": "import no_such_module\nassert f([1]) == [2]\n"}
    tasks = [make_task(1), *(make_task(n + 3, tests=tests) for n, tests in enumerate(broken.values()))]
    records.write(files / "tasks.jsonl", tasks)
    records.write(files / "samples.jsonl", [Sample(task.task_id, 0, GOOD) for task in tasks])
    done = stage("verify", *FLAGS, "--metrics", "metrics.json")
    verdicts = list(records.read(Verdict, files / "out/verdicts.jsonl"))
    assert [v.level for v in verdicts] == ["pass", "task_error", "task_error"]
    assert max(v.reward for v in verdicts[1:]) < 1
    assert json.loads((files / "metrics.json").read_text())["task_errors"] == round(2 / 3, 6)
    assert "2 samples not judged: the tests of their tasks are broken" in done.stderr


def test_bad_setting(stage: Run, files: Path) -> None:
    (files / "params.yaml").write_text("profile: a\nprofiles:\n  a:\n    verify:\n      limits: {cpu_secons: 3}\n")
    expect_error(stage, files, "profiles.a.verify.limits.cpu_secons", "did you mean 'cpu_seconds'?")


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """What the stage has started, once that is two sandboxes with a running sample each."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.Error):  # one that has ended since
            found = process.children(recursive=True)
            if sum("zygote" in " ".join(p.cmdline()) for p in found if p.is_running()) >= 6:
                return found
        time.sleep(0.05)
    raise AssertionError("the samples did not start")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_stage(files: Path, number: int) -> None:
    """However it ends: all sandboxes end with it, and no half-written output stays."""
    loops = [Sample("t/1", n, f"import os\nos.fork()\nwhile True:\n    pass\n# {n}") for n in range(4)]
    records.write(files / "samples.jsonl", loops)
    command = [sys.executable, "-m", "stages.verify", *FLAGS]
    stage = subprocess.Popen(command, cwd=files, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    children = descendants(psutil.Process(stage.pid))
    stage.send_signal(number)
    assert stage.wait(20) != 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    assert not (files / "out/verdicts.jsonl").exists()
    if number != signal.SIGKILL:
        assert list((files / "out").iterdir()) == []
    assert b"Traceback" not in stage.stderr.read()


def test_verdicts_that_a_lower_limit_changes(stage: Run, tmp_path: Path) -> None:
    """What is recorded is judged again, nothing is written over, and what changed is told."""
    busy = (
        "import time\ndef f(xs):\n    while time.process_time() < 1.5:\n        pass\n    return [x + 1 for x in xs]\n"
    )
    for name in ("mix", "samples"):
        (tmp_path / "data" / name).mkdir(parents=True)
    records.write(tmp_path / "data/mix/train.jsonl", [make_task(1)])
    samples = [Sample("t/1", n, code) for n, code in enumerate((GOOD, busy))]
    records.write(tmp_path / "data/samples/cycle-1.jsonl", samples)
    settings = tmp_path / "params.yaml"
    settings.write_text("verify: {limits: {cpu_seconds: 5}}\n")
    files = ("--tasks", "data/mix/train.jsonl", "--samples", "data/samples/cycle-1.jsonl")
    out = ("--out", "data/verdicts/cycle-1.jsonl", "--timing", "metrics/timing/verify-cycle-1.json")
    stage("verify", *files, *out)
    recorded = (tmp_path / "data/verdicts/cycle-1.jsonl").read_bytes()
    assert "cycle-1: 2 verdicts, 0 changed" in stage("verify_diff").stdout
    settings.write_text("verify: {limits: {cpu_seconds: 1}}\n")
    said = stage("verify_diff", "--only", "cycle-1", "--out", "flips.jsonl").stdout
    assert "cycle-1: 2 verdicts, 1 changed\n  t/1 sample 1: 1 pass -> 0.5 timeout" in said
    assert "  limits.cpu_seconds: 5 -> 1\n" in said
    assert json.loads((tmp_path / "flips.jsonl").read_text())["sample"] == 1
    assert (tmp_path / "data/verdicts/cycle-1.jsonl").read_bytes() == recorded
    assert stage("verify_diff", "--only", "x", code=1).stderr == "error: --only: found 'x', expected one of: cycle-1\n"
