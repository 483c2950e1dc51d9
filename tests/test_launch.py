"""Training in several processes: two on the CPU, over gloo, really launched by accelerate."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from zipfile import is_zipfile

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file

from stages.common import records
from stages.common.launch import _echo
from stages.common.records import Task
from stages.lm.chat import IGNORED
from stages.lm.trainer import as_dataset, filled, last_checkpoint
from stages.settings.training import TrainSettings
from tests.conftest import ROOT, Run, make_task
from tests.training import rows

CONFIGS = ROOT / "toolbox" / "accelerate"
SETTINGS = """
seed: 3
compute: {{threads: 1, dtype: float32}}
sft:
  train: {{learning_rate: 1.0e-2, epochs: 2, batch: {batch}, log_steps: 1, checkpoint_steps: 4, max_length: 128{more}}}
"""
TWO = f", launch: accelerate, launch_config: {CONFIGS / 'two_cpu_processes.yaml'}"


def train(folder: Path, stage: Run, checkpoint: Path, name: str, batch: int, more: str = "", code: int = 0) -> str:
    (folder / "params.yaml").write_text(SETTINGS.format(batch=batch, more=more))
    return stage("sft", *arguments(checkpoint, name), code=code).stderr


def arguments(checkpoint: Path, name: str) -> list[str]:
    files = f"--tasks tasks.jsonl --validation tasks.jsonl --out {name} --metrics {name}.json --curve {name}.csv"
    return ["--model", str(checkpoint), *files.split(), "--timing", f"{name}-timing.json"]


def losses(folder: Path, name: str) -> list[float]:
    return [float(row["loss"]) for row in csv.DictReader((folder / f"{name}.csv").open())]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with 24 tasks that have a reference."""
    code = "def f(xs):\n    return [x + {} for x in xs]\n"
    records.write(tmp_path / "tasks.jsonl", [make_task(n, reference=code.format(n)) for n in range(24)])
    return tmp_path


@pytest.mark.slow
def test_two_processes_train_as_one_does(workplace: Path, stage: Run, checkpoint: Path) -> None:
    train(workplace, stage, checkpoint, "one", batch=4)
    said = train(workplace, stage, checkpoint, "two", batch=2, more=TWO)
    assert "sft: 12/12 steps" in said
    assert said.count("12/12") == 1, "one process shows the progress"
    one, two = losses(workplace, "one"), losses(workplace, "two")
    assert two == pytest.approx(one, rel=1e-3)
    assert len(two) == 12
    metrics = [json.loads((workplace / f"{name}.json").read_text()) for name in ("one", "two")]
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-3)
    assert json.loads((workplace / "two-timing.json").read_text())["processes"] == 2
    weights = [load_file(workplace / name / "model.safetensors") for name in ("one", "two")]
    assert weights[0].keys() == weights[1].keys(), "an ordinary checkpoint, whole"
    assert all(weights[0][name].shape == weights[1][name].shape for name in weights[0])
    assert not list(workplace.glob("*.partial"))


def test_no_example_is_seen_twice(checkpoint: Path) -> None:
    """Rows that teach nothing fill up what two processes cannot share evenly."""
    data = rows(checkpoint, 21)
    for batching in ("shuffled", "packed"):
        shared = filled(
            as_dataset(data, TrainSettings(learning_rate=1e-3, batch=2, max_length=100, batching=batching)), 4
        )
        assert len(shared) % 4 == 0
        taught = [row for row in shared if set(row["labels"]) != {IGNORED}]
        assert sum(len(row["input_ids"]) for row in taught) == sum(len(row["input_ids"]) for row in data)
        assert [row["input_ids"] for row in shared if row not in taught] == [[0]] * (len(shared) - len(taught))


@pytest.mark.slow
def test_two_processes_that_are_killed_go_on(workplace: Path, stage: Run, checkpoint: Path) -> None:
    """With an odd number of rows, so that one process has a batch that teaches nothing."""
    tasks = list(records.read(Task, workplace / "tasks.jsonl"))[:11]
    records.write(workplace / "tasks.jsonl", tasks)
    train(workplace, stage, checkpoint, "whole", batch=1, more=TWO)
    running = subprocess.Popen(
        [sys.executable, "-m", "stages.sft", *arguments(checkpoint, "cut")],
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    # Each process writes its own part of a checkpoint, the first one its state last.
    while not (
        any(map(last_checkpoint, workplace.glob("cut.partial/*")))
        and any(map(is_zipfile, workplace.glob("cut.partial/*/*-4/rng_state_1.pth")))
    ):
        assert running.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    subprocess.run(["pkill", "-KILL", "-g", str(running.pid)], check=True)
    running.wait()
    assert not (workplace / "cut").exists()
    assert "sft: resuming from step" in stage("sft", *arguments(checkpoint, "cut")).stdout
    a, b = (load_file(workplace / run / "model.safetensors") for run in ("whole", "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert (workplace / "whole.csv").read_bytes() == (workplace / "cut.csv").read_bytes()


def test_a_checkpoint_is_whole_when_each_process_has_written_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "checkpoint-4"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text("{}")
    torch.save({"cpu": torch.get_rng_state()}, checkpoint / "rng_state_0.pth")
    assert last_checkpoint(tmp_path) == checkpoint, "of one process"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert last_checkpoint(tmp_path) is None
    written = (checkpoint / "rng_state_0.pth").read_bytes()
    (checkpoint / "rng_state_1.pth").write_bytes(written[: len(written) // 2])
    assert last_checkpoint(tmp_path) is None
    (checkpoint / "rng_state_1.pth").write_bytes(written)
    assert last_checkpoint(tmp_path) == checkpoint


@pytest.mark.slow
def test_a_fault_in_the_processes_is_one_line(workplace: Path, stage: Run, checkpoint: Path) -> None:
    said = train(workplace, stage, checkpoint.with_name("none"), "x", batch=2, more=TWO, code=1)
    assert said == f"error: {checkpoint.with_name('none')}: no such checkpoint directory\n"
    assert train(workplace, stage, checkpoint, "x", 2, ", launch: accelerate, launch_config: none.yaml", 1) == (
        "error: none.yaml: no such file\n"
    )
    assert "launch and launch_config go together" in train(
        workplace, stage, checkpoint, "x", 2, ", launch: accelerate", 1
    )


def test_a_fault_is_told_by_the_processes_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Not by the launcher's, which come before or behind them, by chance."""
    raised = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:"
    launcher = [
        "E1126 02:46:24 1 api.py:1] failed",
        "Traceback (most recent call last):",
        *["  File"] * 90,
        raised,
        "==",
    ]
    error = "error: models/none: no such checkpoint directory"
    for lines in (["train 1/12", error, *launcher], ["train 1/12", *launcher, error]):
        assert _echo(io.StringIO("\n".join(lines)))[0] == ["models/none: no such checkpoint directory"]
    first = ["Traceback (most recent call last):", "  File", "KeyError: 'x'", "", "During handling of the above except"]
    own = [*first, "", "Traceback (most recent call last):", "  File", "subprocess.TimeoutExpired: too late"]
    ranked = [f"[rank1]: {line}" for line in own]
    other = ["[rank0]: Traceback (most recent call last):", "[rank0]:   File", "[rank0]: RuntimeError: peer is gone"]
    for lines in ([*own, *launcher], [*launcher, *ranked], [*ranked, *other, *launcher], [*ranked, *launcher, *other]):
        told = _echo(io.StringIO("\n".join(["train 1/12", *lines])))
        assert told == ([], "subprocess.TimeoutExpired: too late")
    assert _echo(io.StringIO("train 1/12\n")) == ([], "train 1/12")
    assert set(capsys.readouterr().err.splitlines()) == {"train 1/12"}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_the_configurations(path: Path) -> None:
    config = load_config_from_file(str(path))
    assert config.num_processes >= 2
    assert (config.distributed_type == "FSDP") == path.stem.startswith("fsdp")
    if path.stem.startswith("fsdp"):
        assert config.fsdp_config["fsdp_state_dict_type"] == "FULL_STATE_DICT"
