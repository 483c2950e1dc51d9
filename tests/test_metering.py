"""What a training reports of the device, and the ways to train that the tiny profile does not take."""

import time
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit

from stages.common import machine
from stages.common.energy import Energy
from stages.common.errors import HaloForgeError, InputError
from stages.lm import attention, load, measuring, metering
from stages.settings.compute import ComputeSettings
from stages.settings.training import LoraSettings, TrainSettings
from tests.training import COMPUTE, fit, rows


def sensor(root: Path, folder: str, **files: object) -> Path:
    (root / folder).mkdir(parents=True)
    for name, value in files.items():
        (root / folder / name).write_text(f"{value}\n")
    return root / folder


def test_energy_is_read_from_the_kernel_s_counters(tmp_path: Path) -> None:
    package = sensor(tmp_path, "powercap/intel-rapl:0", name="package-0", energy_uj=900, max_energy_range_uj=1000)
    sensor(tmp_path, "powercap/intel-rapl:0:0", name="core", energy_uj=1)
    sensor(tmp_path, "hwmon/hwmon1", name="nvme", energy1_input=5)
    gpu = sensor(tmp_path, "hwmon/hwmon2", name="amdgpu", energy1_input=1_000_000)
    with Energy(tmp_path) as energy:
        (package / "energy_uj").write_text("300")  # it has wrapped around
        (gpu / "energy1_input").write_text("4000000")
    assert energy.joules == {"package-0": pytest.approx(400e-6, abs=1e-3), "amdgpu": 3.0}


def test_energy_of_a_sensor_that_tells_power(tmp_path: Path) -> None:
    sensor(tmp_path, "hwmon/hwmon0", name="amdgpu", power1_average=50_000_000)
    started = time.monotonic()
    with Energy(tmp_path) as energy:
        time.sleep(0.05)
    assert 50 * 0.05 <= energy.joules["amdgpu"] <= 50 * (time.monotonic() - started)
    assert Energy(tmp_path / "none").joules == {}


def test_a_machine_without_counters_reports_none(tmp_path: Path) -> None:
    package = sensor(tmp_path, "powercap/intel-rapl:0", name="package-0", energy_uj=1)
    (package / "energy_uj").unlink()  # closed to this user
    with Energy(tmp_path) as energy:
        pass
    assert energy.joules == {}


def test_the_matmul_rate_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    drawn = torch.get_rng_state()
    rate, by = metering.matmul_rate(torch.float32)
    assert torch.equal(torch.get_rng_state(), drawn), "a training must not depend on whether it had to measure"
    assert 1e9 < rate < 1e14
    assert by == machine.TRAINING
    assert metering.matmul_rate(torch.float32) == (rate, by)
    machine.record(measuring.this_device(), by=machine.DOCTOR, float32={"forward": 5.0})
    assert metering.matmul_rate(torch.float32) == (5.0, "make doctor")
    (tmp_path / "halo-forge" / "machine.json").write_text("broken")
    assert metering.matmul_rate(torch.float32)[0] > 1e9


def test_what_a_training_reports(checkpoint: Path, tmp_path: Path) -> None:
    data = rows(checkpoint, 8)
    timing = fit(checkpoint, tmp_path, TrainSettings(learning_rate=1e-3, batch=4, epochs=2), data).timing
    tokens = 2 * sum(len(row["input_ids"]) for row in data)
    assert timing["train_tokens_per_second"] * timing["train_seconds"] == pytest.approx(tokens, rel=0.01)
    longest = 2 * sum(max(len(row["input_ids"]) for row in data) for _ in range(8))
    assert 0 < timing["padding_share"] < 1 - tokens / longest + 1e-4
    assert 0 < timing["model_flops_utilisation"] < 1
    assert timing["matmul_tflops"] > 0
    assert timing["matmul_measured_by"] in (machine.DOCTOR, machine.TRAINING)
    assert timing["processes"] == 1


def test_flash_attention_is_trusted_only_if_it_is_right() -> None:
    device = torch.device("cpu")
    assert attention.deviation(attention.reference, device) is None
    wrong = attention.deviation(lambda q, k, v: attention.reference(q * 1.2, k, v), device)
    assert "away from float32 in its output" in wrong
    no_gradient = attention.deviation(lambda q, k, v: attention.reference(q, k, v.detach()) + 0 * v.sum(), device)
    assert "in its dv" in no_gradient
    assert "fails" in attention.deviation(lambda q, k, v: q @ k, device)


def test_auto_says_what_it_chose(capsys: pytest.CaptureFixture[str]) -> None:
    attention._automatic.cache_clear()
    assert attention.resolve("auto", "bfloat16") == "sdpa"
    assert capsys.readouterr().out == "attention: sdpa (on the CPU)\n"
    assert attention.resolve("eager", "float32") == "eager"


def test_an_adapter_on_weights_of_four_bits(checkpoint: Path, tmp_path: Path) -> None:
    lora = LoraSettings(rank=4, quantize="nf4")
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    compute = ComputeSettings(threads=1, dtype="bfloat16")
    settings = TrainSettings(learning_rate=2e-2, epochs=6, batch=4, log_steps=1, lora=lora)
    result = fit(checkpoint, tmp_path / "w", settings, compute=compute)
    layers = [layer for layer in result.model.modules() if isinstance(layer, Linear4bit)]
    assert layers
    assert all(layer.weight.quant_type == "nf4" and layer.weight.quant_state.nested for layer in layers)
    assert result.curve[-1]["loss"] < result.curve[0]["loss"]
    load.save(tmp_path / "adapter", result.model, load.load_tokenizer(checkpoint))
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before
    ids = torch.tensor([rows(checkpoint, 1)[0]["input_ids"]])
    whole = load.load_model(tmp_path / "adapter", compute)
    assert not any(isinstance(layer, Linear4bit) for layer in whole.modules()), "sampled with all bits"
    trained = result.model(ids).logits.float()
    alike, untrained = (
        torch.cosine_similarity(model(ids).logits.float(), trained, dim=-1).mean()
        for model in (whole, load.load_model(checkpoint, compute))
    )
    assert alike > max(0.8, untrained), "the adapter does on all bits what it does on four, nearly"


def test_bf16_trains_on_the_cpu(checkpoint: Path, tmp_path: Path) -> None:
    compute = ComputeSettings(threads=1, dtype="bfloat16")
    settings = TrainSettings(learning_rate=1e-2, epochs=4, batch=4, log_steps=1)
    curve = fit(checkpoint, tmp_path, settings, compute=compute).curve
    assert curve[-1]["loss"] < curve[0]["loss"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"liger": True}, "train.liger: its kernels are for GPUs"),
        ({"early_stop": {"every": 10, "patience": 1}}, "train.early_stop: there are no validation examples"),
    ],
)
def test_what_cannot_be_is_one_line(checkpoint: Path, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(checkpoint, tmp_path, TrainSettings.parse({"learning_rate": 1e-3, **changes}, "sft.train"))


@pytest.mark.parametrize(("schedule", "last"), [("cosine", 0.05), ("linear", 1 / 16), ("constant", 1.0)])
def test_the_rate_follows_its_schedule(checkpoint: Path, tmp_path: Path, schedule: str, last: float) -> None:
    settings = TrainSettings(learning_rate=1e-3, epochs=16, batch=8, warmup=0, log_steps=1, schedule=schedule)
    rates = [point["learning_rate"] for point in fit(checkpoint, tmp_path, settings).curve]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-3 * last, rel=0.25)


def test_a_loss_that_is_no_number_names_step_and_tasks(checkpoint: Path, tmp_path: Path) -> None:
    settings = TrainSettings(learning_rate=1e30, clip=1e30, epochs=4, batch=2, warmup=0)
    with pytest.raises(HaloForgeError, match=r"in step 2, in a batch of the tasks t/\d, t/\d;"):
        fit(checkpoint, tmp_path, settings)


def test_other_weights_are_refused_beside_an_adapter_s_settings(checkpoint: Path, tmp_path: Path) -> None:
    result = fit(checkpoint, tmp_path / "w", TrainSettings(learning_rate=1e-3, batch=8, lora=LoraSettings(rank=4)))
    load.save(tmp_path / "adapter", result.model, load.load_tokenizer(checkpoint))
    with pytest.raises(InputError, match="is an adapter of rank 4, alpha 32 and dropout 0, found rank 8"):
        fit(tmp_path / "adapter", tmp_path / "x", TrainSettings(learning_rate=1e-3, lora=LoraSettings(rank=8)))
    assert load.load_model(tmp_path / "adapter", COMPUTE) is not None
