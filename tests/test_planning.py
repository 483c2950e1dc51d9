"""What `make plan` works out, beside real models, real training and real sampling."""

import gc
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import Qwen2Config, Qwen2ForCausalLM

from stages.common.errors import InputError
from stages.common.params import Params
from stages.lm import devices
from stages.lm.capacity import cache_bytes
from stages.lm.decoding import Decoder
from stages.lm.metering import training_flops
from stages.lm.rows import NAME
from stages.lm.tiny import build_tokenizer
from stages.lm.trainer import make_trainer
from stages.planning import memory, work
from stages.planning.shapes import QWEN, Shape, read_config, shape_of
from stages.settings.model import BaseSettings
from stages.settings.sampling import SampleSettings
from stages.settings.training import LoraSettings, TrainSettings
from tests.conftest import ROOT

SMALL = Shape(256, 6, 4, 2, 704, 4096, True)
LENGTH = 256
TOLERANCE = 0.3


def config(shape: Shape) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate,
        tie_word_embeddings=shape.tied,
    )


def peak(events: profile) -> int:
    """Bytes of tensors at the fullest moment, above those at the start."""
    now = most = 0
    memory_events = [e for e in events.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(memory_events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


PUBLISHED = {"0.5B": 0.49, "1.5B": 1.54, "3B": 3.09, "7B": 7.61, "14B": 14.7, "32B": 32.5}  # billions


@pytest.mark.parametrize(("size", "billions"), PUBLISHED.items())
def test_parameters_are_the_published_ones_and_the_model_s(size: str, billions: float) -> None:
    shape = QWEN[size]
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.012)
    with torch.device("meta"):
        model = Qwen2ForCausalLM(config(shape))
    assert sum(p.numel() for p in model.parameters()) == shape.parameters
    assert cache_bytes(model.to(torch.bfloat16)) == shape.cache_bytes(2)


def test_adapters_and_flops_are_the_trainer_s() -> None:
    from peft import LoraConfig, get_peft_model

    model = Qwen2ForCausalLM(config(SMALL))
    assert SMALL.training_flops(LENGTH, adapter=False, again=False) * LENGTH == pytest.approx(
        training_flops(model, LENGTH, LENGTH**2)
    )
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert adapted.num_parameters(only_trainable=True) == SMALL.adapter(8)
    for targets in (["q_proj", "v_proj"], ["self_attn.o_proj", "down_proj"], r".*\.mlp\.(gate|up)_proj"):
        model = Qwen2ForCausalLM(config(SMALL))
        adapted = get_peft_model(model, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
        assert adapted.num_parameters(only_trainable=True) == SMALL.adapter(4, targets)


def expect_estimated(folder: Path, shape: Shape, settings: TrainSettings, dtype: str) -> None:
    """Two steps, so that the optimizer's states are there when the second's activations are."""
    devices.use_threads(1)
    tokenizer = build_tokenizer([f"def f(x): return x + {n}" for n in range(99)], 400)
    count = 2 * settings.batch
    rows = [{"input_ids": [(7 * n + i) % 4000 for i in range(settings.max_length)]} for n in range(count)]
    rows = [{**row, "labels": row["input_ids"]} for row in rows]
    model = Qwen2ForCausalLM(config(shape)).to(getattr(torch, dtype))
    before = sum(p.numel() * p.element_size() for p in model.parameters())
    gc.collect()  # what earlier tests left would be freed while this is measured
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        trainer = make_trainer(model, tokenizer, rows, [], settings, 0, folder)
        trainer.args.save_strategy = "no"
        trainer.train()
    estimate = memory.training(shape, settings, dtype, "cpu")
    assert sum(estimate.values()) == pytest.approx(before + peak(seen), rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=16)])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_takes_what_was_estimated(tmp_path: Path, lora: LoraSettings | None, checkpointing: bool) -> None:
    settings = TrainSettings(
        learning_rate=1e-3, batch=4, max_length=LENGTH, warmup=0, lora=lora, gradient_checkpointing=checkpointing
    )
    expect_estimated(tmp_path, SMALL, settings, "float32")


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=16)])
@pytest.mark.parametrize("vocabulary", [32_000, 64_000])
def test_the_output_head_of_a_large_vocabulary(tmp_path: Path, lora: LoraSettings | None, vocabulary: int) -> None:
    """Most of what training takes here is the head's: on both sides of the columns that it takes at a time."""
    settings = TrainSettings(learning_rate=1e-3, batch=1, max_length=LENGTH, warmup=0, lora=lora)
    expect_estimated(tmp_path, replace(SMALL, vocabulary=vocabulary), settings, "bfloat16")


def test_sampling_takes_what_was_estimated() -> None:
    settings = SampleSettings(n=8, batch=32, max_new_tokens=24)
    model = Qwen2ForCausalLM(config(SMALL)).eval()
    model.set_attn_implementation(NAME)
    before = sum(p.numel() * 4 for p in model.parameters())
    prompts = [[(7 * n + i) % 4000 for i in range(400)] for n in range(4)]
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        Decoder(model, [], 1.0, 0.95, 24, 32).draw(prompts, 8, [24] * 4, 0)
    estimate = memory.sampling(SMALL, settings, "float32", prompt=400)
    assert sum(estimate.values()) == pytest.approx(before + peak(seen), rel=TOLERANCE)


def test_where_a_shape_is_known_from(tmp_path: Path) -> None:
    nowhere = tmp_path / "models/base"
    assert shape_of(BaseSettings(hub="Qwen/Qwen2.5-Coder-3B-Instruct"), nowhere)[0] == QWEN["3B"]
    with pytest.raises(InputError, match="the shape of other/model is not known"):
        shape_of(BaseSettings(hub="other/model"), nowhere)
    with pytest.raises(InputError, match="GPTQ-Int4 is quantised"):
        shape_of(BaseSettings(hub="Qwen/Qwen2.5-Coder-7B-Instruct-GPTQ-Int4"), nowhere)
    nowhere.mkdir(parents=True)
    config(SMALL).save_pretrained(nowhere)
    assert shape_of(BaseSettings(hub="other/model"), nowhere)[0] == SMALL
    assert shape_of(BaseSettings(hub=str(nowhere)), tmp_path)[0] == SMALL
    (nowhere / "config.json").write_text('{"hidden_size": 3}')
    with pytest.raises(InputError, match="no shape of a decoder in it"):
        read_config(nowhere / "config.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": -256}, "hidden_size: found -256, expected a whole number from 1"),
        ({"num_attention_heads": 0}, "num_attention_heads: found 0"),
        ({"vocab_size": "4096"}, "vocab_size: found '4096'"),
        ({"num_key_value_heads": 3}, "num_key_value_heads must divide"),
        ({"head_dim": 128}, "head_dim: found 128"),
    ],
)
def test_an_absurd_shape_is_one_line(tmp_path: Path, change: dict, message: str) -> None:
    config(SMALL).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(InputError) as error:
        read_config(file)
    assert str(error.value).startswith(f"{file}: ")
    assert message in str(error.value)


def plan(folder: Path, *arguments: str, code: int = 0, change: tuple[str, str] = ("", ""), memory: int = 80) -> str:
    """The plan of the shipped params.yaml with one change; stdout, or stderr where it must fail."""
    text = (ROOT / "params.yaml").read_text()
    assert change[0] in text
    text = (text.replace(*change) if change[0] else text).replace("memory_gib: 80", f"memory_gib: {memory}")
    (folder / "params.yaml").write_text(text)
    command = [
        sys.executable,
        "-m",
        "stages.plan",
        "--disk-gib",
        "500",
        "--params",
        str(folder / "params.yaml"),
        *arguments,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


@pytest.mark.parametrize("profile", ["tiny", "smoke", "gfx1151", "cuda"])
def test_every_shipped_profile_fits(tmp_path: Path, profile: str) -> None:
    told = plan(tmp_path, "--profile", profile)
    assert f"profile {profile}: " in told
    assert all(name in told for name in ("sft", "sample", "raft", "benchmark.sample", "disk: ", "memory: "))


def test_what_cannot_fit_is_refused_and_told_how(tmp_path: Path) -> None:
    told = plan(tmp_path, "--profile", "cuda", code=1, memory=16)
    assert told.startswith("error: profiles.cuda: sft needs 16.3 GiB, may use 14.4 (plan.memory_gib")
    assert "lora.quantize: nf4, or take a smaller base.hub" in told
    quantized = ("lora: {rank: 16, alpha: 32, targets: all-linear}", "lora: {rank: 16, quantize: nf4}")
    told = plan(tmp_path, "--profile", "cuda", code=1, change=quantized, memory=6)
    assert "lower sft.train.max_length, or take a smaller base.hub" in told
    told = plan(tmp_path, "--profile", "cuda", code=1, change=quantized, memory=12)
    assert "sample needs" in told
    assert "take a smaller base.hub: its weights alone do not fit" in told
    full = ("        lora: {rank: 16, alpha: 32, targets: all-linear}\n", "")
    told = plan(tmp_path, "--profile", "cuda", code=1, change=full, memory=40)
    assert "set sft.train.lora" in told
    assert plan(tmp_path, "--profile", "nope", code=1).startswith(
        "error: --profile: found 'nope', expected one of: tiny"
    )


def test_one_override_takes_another_size(tmp_path: Path) -> None:
    smaller = ("hub: Qwen/Qwen2.5-Coder-7B-Instruct", "hub: Qwen/Qwen2.5-Coder-1.5B-Instruct")
    told = json.loads(plan(tmp_path, "--profile", "gfx1151", "--json", change=smaller))
    assert told["parameters"] == QWEN["1.5B"].parameters
    assert {stage["stage"] for stage in told["stages"]} >= {"sft", "sample", "raft"}


def test_the_benchmark_has_one_greedy_answer_more_per_task(tmp_path: Path) -> None:
    told = json.loads(plan(tmp_path, "--profile", "gfx1151", "--json"))
    row = next(stage for stage in told["stages"] if stage["stage"] == "benchmark.sample")
    sampling = Params(ROOT / "params.yaml").raw["profiles"]["gfx1151"]["benchmark"]["sample"]
    settings, rates = SampleSettings(**sampling), work.rates_of("gfx1151", "bfloat16", 0)
    tasks = sum(size[2] for size in (work.DATASETS["mbpp"], work.DATASETS["humaneval"]))

    def drawn(n: int, batch: int) -> tuple[int, float]:
        own = settings.model_copy(update={"n": n, "batch": batch})
        return work.sampling_hours(QWEN["7B"], own, "bfloat16", tasks, rates)

    greedy = drawn(1, settings.shard)
    assert drawn(1, 10 * settings.shard) == greedy, "a shard has as many greedy answers as tasks"
    many = drawn(settings.n, settings.batch)
    assert row["tokens"] == many[0] + greedy[0] and row["hours"] == pytest.approx(many[1] + greedy[1])


def test_disk_is_what_a_checkpoint_takes(tmp_path: Path) -> None:
    from stages.planning.work import checkpoint_bytes

    model = Qwen2ForCausalLM(config(SMALL))
    model.save_pretrained(tmp_path)
    found = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert checkpoint_bytes(SMALL, TrainSettings(learning_rate=1e-3), "float32")[0] == pytest.approx(found, rel=0.01)
