"""Fine-tuning: completion-only loss, adapters, resuming after a real kill -9, a cycle with nothing to learn from."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.common import records
from stages.common.errors import HaloForgeError, InputError
from stages.common.records import Example, Sample, Verdict
from stages.lm import devices, load
from stages.lm.chat import training_row
from stages.lm.trainer import last_checkpoint
from stages.lm.training import train
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.training import LoraSettings, TrainSettings
from tests.conftest import ROOT, Run, make_task

COMPUTE = ComputeSettings(threads=1, dtype="float32")
SETTINGS = """
seed: 3
compute: {threads: 1, dtype: float32, attention: sdpa}
sft: {train: {learning_rate: 1.0e-3, epochs: 3, batch: 2, log_steps: 2, checkpoint_steps: 4, max_length: 128}}
raft: {threshold: 1.0, train: {learning_rate: 1.0e-3, batch: 2, log_steps: 1, max_length: 128}}
cycles: {"1": {parent: sft}}
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with settings and 40 tasks that have a reference."""
    (tmp_path / "params.yaml").write_text(SETTINGS)
    code = "def f(xs):\n    return [x + {} for x in xs]\n"
    records.write(tmp_path / "tasks.jsonl", [make_task(n, reference=code.format(n)) for n in range(40)])
    return tmp_path


def sft_arguments(checkpoint: Path, name: str) -> list[str]:
    files = f"--out {name} --training {name}.jsonl --metrics {name}.json --curve {name}.csv"
    return ["--model", str(checkpoint), "--tasks", "tasks.jsonl", "--validation", "tasks.jsonl", *files.split()]


def produced(folder: Path, name: str) -> dict[str, bytes]:
    files = [*(folder / name).iterdir()] + [folder / f"{name}{end}" for end in (".jsonl", ".json", ".csv")]
    return {str(p.name).replace(name, "X"): p.read_bytes() for p in files}


def test_a_killed_training_goes_on_and_ends_the_same(workplace: Path, stage: Run, checkpoint: Path) -> None:
    stage("sft", *sft_arguments(checkpoint, "whole"))
    command = [sys.executable, "-m", "stages.sft", *sft_arguments(checkpoint, "cut")]
    running = subprocess.Popen(command, cwd=workplace, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while not any(map(last_checkpoint, workplace.glob("cut.partial/*"))):
        assert running.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (workplace / "cut").exists()

    assert "sft: resuming from step" in stage("sft", *sft_arguments(checkpoint, "cut")).stdout
    assert produced(workplace, "cut") == produced(workplace, "whole")
    assert not list(workplace.glob("*.partial"))
    assert json.loads((workplace / "whole.json").read_text())["examples"] == 40
    losses = [float(row["loss"]) for row in csv.DictReader((workplace / "whole.csv").open())]
    assert len(losses) == 30
    assert losses[-1] < losses[0]


def test_a_killed_training_of_another_model_is_not_gone_on_with(checkpoint: Path, tmp_path: Path) -> None:
    """The weights at the start belong to the key of unfinished work."""
    settings = TrainSettings(learning_rate=1e-3, epochs=2, batch=2, checkpoint_steps=2)
    fit(checkpoint, tmp_path / "w", settings)
    assert list((tmp_path / "w").glob("*/checkpoint-*")), "checkpoints stay until the stage has saved its result"
    other = shutil.copytree(checkpoint, tmp_path / "other")
    tokenizer, model = load.load_tokenizer(other), load.load_model(other, COMPUTE)
    with torch.no_grad():
        model.model.norm.weight.mul_(1.5)
    load.save(other, model, tokenizer)
    fresh = fit(other, tmp_path / "fresh", settings).model.state_dict()
    again = fit(other, tmp_path / "w", settings).model.state_dict()
    assert all(torch.equal(fresh[name], again[name]) for name in fresh)


def rows(checkpoint: Path, count: int = 8) -> list[dict]:
    tokenizer = load.load_tokenizer(checkpoint)
    code = "def f(xs):\n    return [x + {} for x in xs]\n"
    return [training_row(tokenizer, f"add {n}", "python", code.format(n), PromptSettings()) for n in range(count)]


def fit(checkpoint: Path, work: Path, settings: TrainSettings, data: list[dict] | None = None) -> object:
    devices.use_threads(1)
    tokenizer, model = load.load_tokenizer(checkpoint), load.load_model(checkpoint, COMPUTE, trainable=True)
    return train(
        model, tokenizer, data or rows(checkpoint), settings, seed=0, work=work, label="test", origin=str(checkpoint)
    )


def test_the_loss_falls_on_the_completion_only(checkpoint: Path, tmp_path: Path) -> None:
    data = rows(checkpoint)
    result = fit(checkpoint, tmp_path, TrainSettings(learning_rate=1e-9, batch=8, log_steps=1), data)
    model, tokenizer = load.load_model(checkpoint, COMPUTE), load.load_tokenizer(checkpoint)
    total = count = 0
    for row in data:
        logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
        labels = torch.tensor(row["labels"][1:])
        total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        count += int((labels != -100).sum())
    assert result.metrics["train_loss"] == pytest.approx(total / count, rel=1e-4)
    assert tokenizer.decode([i for i in data[0]["labels"] if i != -100]).startswith("def f(xs)")


def test_an_adapter_is_trained_saved_and_loaded_on_its_base(checkpoint: Path, tmp_path: Path) -> None:
    lora = LoraSettings(rank=4, alpha=8)
    result = fit(checkpoint, tmp_path, TrainSettings(learning_rate=1e-2, epochs=2, batch=4, lora=lora))
    full = load.load_model(checkpoint, COMPUTE)
    assert 0 < result.timing["trained_parameters"] < full.num_parameters() / 2
    load.save(tmp_path / "adapter", result.model, load.load_tokenizer(checkpoint))
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()
    assert not (tmp_path / "adapter" / "model.safetensors").exists()

    ids = torch.tensor([rows(checkpoint, 1)[0]["input_ids"]])
    trained = result.model.eval()(ids).logits
    for loaded in (
        load.load_model(tmp_path / "adapter", COMPUTE),
        AutoModelForCausalLM.from_pretrained(tmp_path / "adapter"),
    ):
        assert torch.allclose(loaded(ids).logits, trained, atol=1e-4)
    assert not torch.allclose(full(ids).logits, trained, atol=1e-2), "the adapter has learned something"
    # A second training goes on with the same adapter.
    again = fit(tmp_path / "adapter", tmp_path / "w", TrainSettings(learning_rate=1e-2, batch=4, lora=lora))
    assert again.timing["trained_parameters"] == result.timing["trained_parameters"]
    for wrong in (None, LoraSettings(rank=8, alpha=8), LoraSettings(rank=4, alpha=8, dropout=0.1)):
        with pytest.raises(InputError, match="is an adapter of rank 4, alpha 8 and dropout 0, found"):
            fit(tmp_path / "adapter", tmp_path / "w", TrainSettings(learning_rate=1e-2, batch=4, lora=wrong))
    for targets in (["q_proj"], r".*\.q_proj"):
        wrong = LoraSettings(rank=4, alpha=8, targets=targets)
        with pytest.raises(
            InputError, match=r"lora.targets: .* is an adapter of down_proj, gate_proj, .*, found .*q_proj"
        ):
            fit(tmp_path / "adapter", tmp_path / "w", TrainSettings(learning_rate=1e-2, batch=4, lora=wrong))


def test_an_adapter_of_chosen_modules_is_gone_on_from_as_such(checkpoint: Path, tmp_path: Path) -> None:
    few = LoraSettings(rank=4, alpha=8, targets=r".*\.(q|v)_proj")
    result = fit(checkpoint, tmp_path, TrainSettings(learning_rate=1e-2, batch=8, lora=few))
    load.save(tmp_path / "adapter", result.model, load.load_tokenizer(checkpoint))
    for same in (few, few.model_copy(update={"targets": ["q_proj", "v_proj"]})):
        fit(tmp_path / "adapter", tmp_path / "w", TrainSettings(learning_rate=1e-2, batch=8, lora=same))
    with pytest.raises(
        InputError,
        match=r"of q_proj, v_proj, found all-linear, which means \d+ modules where",
    ):
        all_linear = few.model_copy(update={"targets": "all-linear"})
        fit(tmp_path / "adapter", tmp_path / "w", TrainSettings(learning_rate=1e-2, batch=8, lora=all_linear))


def test_examples_that_are_too_long_are_left_out_and_counted(checkpoint: Path, tmp_path: Path) -> None:
    data = [*rows(checkpoint), {"input_ids": [5] * 200, "labels": [5] * 200}]
    result = fit(checkpoint, tmp_path, TrainSettings(learning_rate=1e-3, batch=8, max_length=100), data)
    assert (result.metrics["examples"], result.metrics["examples_too_long"]) == (8, 1)
    with pytest.raises(InputError, match="no training example of at most 8 tokens"):
        fit(checkpoint, tmp_path, TrainSettings(learning_rate=1e-3, max_length=8))


def test_a_loss_that_is_no_number_stops_the_training(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(HaloForgeError, match="the training loss became"):
        fit(
            checkpoint, tmp_path, TrainSettings(learning_rate=1e30, clip=1e30, epochs=4, batch=2, warmup=0, log_steps=1)
        )


def raft(workplace: Path, stage: Run, checkpoint: Path, rewards: list[float]) -> str:
    task = make_task(0)
    records.write(
        workplace / "s.jsonl", [Sample(task.task_id, n, f"def f(xs): return {n}") for n in range(len(rewards))]
    )
    records.write(workplace / "v.jsonl", [Verdict(task.task_id, n, r, "l", "", 0, 1) for n, r in enumerate(rewards)])
    records.write(workplace / "e.jsonl", [Example("t/1", 0, "sft", 1.0, "p", "python", "c")])
    files = "--tasks tasks.jsonl --samples s.jsonl --verdicts v.jsonl --earlier e.jsonl --out cycle-1"
    more = "--training t.jsonl --metrics m.json --curve c.csv"
    return stage("raft", "--cycle", 1, "--parent", checkpoint, *files.split(), *more.split()).stdout


def test_a_cycle_trains_on_what_passed(workplace: Path, stage: Run, checkpoint: Path) -> None:
    raft(workplace, stage, checkpoint, [0.7, 1.0, 1.0])
    metrics = json.loads((workplace / "m.json").read_text())
    assert (metrics["accepted"], metrics["accepted_tasks"], metrics["examples"]) == (2, 1, 2)
    trained = [(e.sample, e.cycle) for e in records.read(Example, workplace / "t.jsonl")]
    assert trained == [(1, "1"), (2, "1")]
    assert (workplace / "cycle-1/model.safetensors").read_bytes() != (checkpoint / "model.safetensors").read_bytes()


def test_a_cycle_in_which_nothing_passed_carries_the_model_forward(
    workplace: Path, stage: Run, checkpoint: Path
) -> None:
    out = raft(workplace, stage, checkpoint, [0.7, 0.0])
    assert "no sample reached 1.0" in out
    assert "carried forward unchanged" in out
    for file in checkpoint.iterdir():
        assert (workplace / "cycle-1" / file.name).read_bytes() == file.read_bytes()
    assert json.loads((workplace / "m.json").read_text())["accepted"] == 0
    assert [e.cycle for e in records.read(Example, workplace / "t.jsonl")] == ["sft"], (
        "the parent's examples stay known"
    )
    assert (workplace / "c.csv").read_text() == "step,epoch,loss,learning_rate\n"


def test_sft_needs_references(workplace: Path, stage: Run, checkpoint: Path) -> None:
    records.write(workplace / "tasks.jsonl", [make_task(0)])
    error = stage("sft", *sft_arguments(checkpoint, "x"), code=1).stderr
    assert error == "error: tasks.jsonl: no task has a 'reference' to train on\n"
    assert not list(workplace.glob("x*"))
