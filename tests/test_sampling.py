"""Sampling in shards: the same bytes whatever the number of processes, and after a real kill -9."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.common import records
from stages.common.problems import distinct, sampled_tasks
from stages.common.records import Sample
from stages.lm import load
from stages.lm.chat import prompt_ids
from stages.lm.sampling import Sampler
from stages.lm.shards import sample_to_file, sample_to_files
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings
from tests.conftest import ROOT, Run, make_task

SETTINGS = """
seed: 7
sample: {{n: 3, max_new_tokens: {tokens}, shard: 4, batch: 6, workers: {workers}}}
compute: {{threads: 1, dtype: float32, attention: sdpa}}
cycles: {{"1": {{parent: sft}}, "2": {{parent: cycle-1, temperature: 0.5}}}}
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    records.write(path, [make_task(number, prompt="Write f(xs): " + "x " * (number % 7)) for number in range(30)])
    return path


def settings(folder: Path, workers: int = 1, tokens: int = 12) -> None:
    (folder / "params.yaml").write_text(SETTINGS.format(workers=workers, tokens=tokens))


def test_the_bytes_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, stage: Run, checkpoint: Path, tasks: Path
) -> None:
    for workers in (1, 2):
        settings(tmp_path, workers)
        stage("sample", "--model", checkpoint, "--tasks", tasks, "--out", f"{workers}.jsonl", "--timing", "t.json")
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()
    samples = list(records.read(Sample, tmp_path / "1.jsonl"))
    assert [(s.task_id, s.sample) for s in samples] == [(f"t/{t}", n) for t in range(30) for n in range(3)]
    assert all(0 < s.tokens <= 12 and s.finish_reason in ("stop", "length") for s in samples)
    assert len({s.seed for s in samples}) == 8  # one seed per shard of 4 tasks
    assert len({s.completion for s in samples}) > 60  # drawn, not repeated
    assert not list(tmp_path.glob("*.partial"))
    assert json.loads((tmp_path / "t.json").read_text())["processes"] == 2


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path: Path, stage: Run, checkpoint: Path, tasks: Path) -> None:
    settings(tmp_path, workers=2, tokens=200)
    stage("sample", "--model", checkpoint, "--tasks", tasks, "--out", "whole.jsonl")
    command = [sys.executable, "-m", "stages.sample", "--model", checkpoint, "--tasks", tasks, "--out", "cut.jsonl"]
    running = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True
    )
    shards = tmp_path / "cut.jsonl.partial"
    while len(list(shards.rglob("shard-*.jsonl"))) < 2:
        assert running.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)  # its workers die by themselves
    running.wait()
    deadline = time.monotonic() + 10
    while subprocess.run(["pgrep", "-g", str(running.pid)], check=False, capture_output=True).stdout:
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)
    assert not (tmp_path / "cut.jsonl").exists()
    kept = {path: path.stat().st_mtime_ns for path in shards.rglob("shard-*.jsonl")}
    assert 2 <= len(kept) < 8

    again = stage("sample", "--model", checkpoint, "--tasks", tasks, "--out", "cut.jsonl")
    assert f"{len(kept)} of 8 shards are there" in again.stdout
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def draw(folder: Path, checkpoint: Path, tasks: Path, name: str, **changes: object) -> list[Sample]:
    """Sample in this process, with one worker."""
    drawing = {"n": 3, "max_new_tokens": 12, "shard": 4, "batch": 6, "workers": 1}
    streams = {"seed": 7, "stream": "cycle-1", **{k: changes.pop(k) for k in ("stream", "cycle") if k in changes}}
    compute = ComputeSettings(threads=1, dtype="float32")
    sampler = Sampler(checkpoint, SampleSettings(**{**drawing, **changes}), PromptSettings(), compute, **streams)
    sample_to_file(sampler, records.read_tasks(tasks), folder / name)
    return list(records.read(Sample, folder / name))


def test_shards_of_other_settings_are_not_reused(tmp_path: Path, checkpoint: Path, tasks: Path) -> None:
    stale = tmp_path / "s.jsonl.partial" / "0123" / "shard-00000.jsonl"
    stale.parent.mkdir(parents=True)
    stale.write_text("stale\n")
    draw(tmp_path, checkpoint, tasks, "s.jsonl")
    assert "stale" not in (tmp_path / "s.jsonl").read_text()


def test_cycles_draw_from_streams_of_their_own(tmp_path: Path, checkpoint: Path, tasks: Path) -> None:
    first, second = (draw(tmp_path, checkpoint, tasks, f"{c}.jsonl", stream=f"cycle-{c}", cycle=c) for c in "12")
    assert {s.cycle for s in second} == {"2"}
    assert {s.seed for s in first}.isdisjoint(s.seed for s in second)
    assert [s.completion for s in first] != [s.completion for s in second]


def test_a_cycles_own_temperature_applies(tmp_path: Path, stage: Run, checkpoint: Path, tasks: Path) -> None:
    settings(tmp_path)
    stage("sample", "--model", checkpoint, "--tasks", tasks, "--out", "s.jsonl", "--cycle", 2)
    assert {s.temperature for s in records.read(Sample, tmp_path / "s.jsonl")} == {0.5}


def test_greedy_answers_are_all_the_same(tmp_path: Path, checkpoint: Path, tasks: Path) -> None:
    by_task: dict[str, set[str]] = {}
    for sample in draw(tmp_path, checkpoint, tasks, "s.jsonl", temperature=0.0):
        by_task.setdefault(sample.task_id, set()).add(sample.completion)
    assert all(len(texts) == 1 for texts in by_task.values())


def test_what_a_checkpoint_says_of_generation_does_not_apply(tmp_path: Path, checkpoint: Path, tasks: Path) -> None:
    """Instruction-tuned models bring a top_k and a repetition penalty of their own."""
    copy = shutil.copytree(checkpoint, tmp_path / checkpoint.name)
    own = {"do_sample": True, "repetition_penalty": 1.5, "top_k": 2, "temperature": 0.1, "eos_token_id": 7}
    (copy / "generation_config.json").write_text(json.dumps(own))
    plain = draw(tmp_path, checkpoint, tasks, "plain.jsonl")
    assert [s.completion for s in draw(tmp_path, copy, tasks, "own.jsonl")] == [s.completion for s in plain]


def test_sampling_nothing_is_an_error(tmp_path: Path, stage: Run, checkpoint: Path) -> None:
    settings(tmp_path)
    text = (tmp_path / "params.yaml").read_text().replace("{n: 3", "{tasks: undemonstrated, n: 3")
    (tmp_path / "params.yaml").write_text(text)
    records.write(tmp_path / "t.jsonl", [make_task(0, reference="x")])
    error = stage("sample", "--model", checkpoint, "--tasks", "t.jsonl", "--out", "s.jsonl", code=1).stderr
    assert "t.jsonl: no task is without a reference" in error


def test_prompts_beyond_the_context_are_counted(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """512 positions: a prompt that leaves none has no answer, one that leaves a few has a short one."""
    tokenizer = load.load_tokenizer(checkpoint)
    asked = len(prompt_ids(tokenizer, "x" + " x" * 100, "python", PromptSettings())) - 100
    tasks = [make_task(n, prompt="x" + " x" * (length - asked)) for n, length in enumerate((100, 509, 512, 700))]
    records.write(tmp_path / "long.jsonl", tasks)
    samples = draw(tmp_path, checkpoint, tmp_path / "long.jsonl", "s.jsonl", n=2)
    assert [s.finish_reason for s in samples[4:]] == ["context"] * 4
    assert all((s.completion, s.tokens, s.logprob) == ("", 0, None) for s in samples[4:])
    assert all(s.tokens <= 3 for s in samples[2:4])
    assert all(s.tokens <= 12 and s.logprob < 0 for s in samples[:2])
    assert "the prompts of 2 tasks do not fit into the model's context" in capsys.readouterr().out


def test_only_tasks_without_a_demonstration_where_asked_for() -> None:
    tasks = [make_task(0), make_task(1, reference="def f(xs): ...")]
    assert sampled_tasks(tasks, "all") == tasks
    assert sampled_tasks(tasks, "undemonstrated") == tasks[:1]


def test_a_problem_that_a_demonstration_solves_is_demonstrated_by_all_its_tasks() -> None:
    tasks = [
        make_task(0),
        make_task(1),
        make_task(2, prompt=make_task(0).prompt, tests=make_task(0).tests, reference="x"),
    ]
    assert sampled_tasks(tasks, "undemonstrated") == tasks[1:2]


def test_a_problem_is_sampled_once_however_many_tasks_it_has(
    tmp_path: Path, stage: Run, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [{"stdin": "1", "stdout": "2"}]
    first = make_task(0, prompt="p", tests="", cases=cases)
    tasks = [first]
    tasks += [make_task(n, prompt="p", tests="", cases=cases, reference=f"solution {n}") for n in (1, 2)]
    others = {"prompt": "q"}, {"language": "cpp"}, {"tests": "assert f"}, {"cases": cases * 2}
    tasks += [make_task(10 + n, **{"prompt": "p", "tests": "", "cases": cases, **o}) for n, o in enumerate(others)]
    assert distinct(tasks) == [first, *tasks[3:]]
    assert capsys.readouterr().out == "7 tasks of 5 problems: each is sampled once, for its first task\n"
    assert distinct(tasks[2:]) == tasks[2:]
    assert capsys.readouterr().out == ""

    settings(tmp_path)
    (tmp_path / "params.yaml").open("a").write("benchmark: {sample: {n: 1, max_new_tokens: 4, workers: 1}}\n")
    records.write(tmp_path / "t.jsonl", tasks[:3])
    for section, count in (("sample", 1), ("benchmark.sample", 3)):  # a benchmark counts every task
        stage("sample", "--model", checkpoint, "--tasks", "t.jsonl", "--out", "s.jsonl", "--section", section)
        assert len({s.task_id for s in records.read(Sample, tmp_path / "s.jsonl")}) == count


def test_the_first_model_is_let_go_before_the_second_comes(checkpoint: Path, tasks: Path, tmp_path: Path) -> None:
    """Of two files that are drawn in a run; memory would have to hold both."""
    loaded: list[bool] = []
    settings = SampleSettings(n=1, max_new_tokens=4, workers=1)
    compute = ComputeSettings(threads=1, dtype="float32")
    first, second = (Sampler(checkpoint, settings, PromptSettings(), compute, 7, "cycle-1") for _ in range(2))
    load = second.load

    def told() -> None:
        loaded.append(hasattr(first, "model"))
        load()

    second.load = told
    sample_to_files([(first, tmp_path / "a.jsonl"), (second, tmp_path / "b.jsonl")], records.read_tasks(tasks))
    assert loaded == [False]
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()
    assert not list(tmp_path.glob("*.partial"))
