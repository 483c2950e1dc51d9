"""Adapters merged into whole models, and the command line that serves either."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.common.errors import InputError
from stages.lm import adapters, load
from stages.lm.merge import merge
from stages.serve import command, servable
from stages.settings.compute import ComputeSettings
from tests.conftest import ROOT, Run

FLOAT32 = ComputeSettings(threads=1, dtype="float32")
BFLOAT16 = ComputeSettings(threads=1, dtype="bfloat16")


@pytest.fixture(scope="session")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA on all linear layers whose weights are far from zero, beside its base."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapters")
    base = shutil.copytree(checkpoint, folder / "tiny")
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load.load_model(base, FLOAT32), config)
    for name, weights in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weights, std=0.1)
    load.save(folder / "cycle-1", model, load.load_tokenizer(base))
    return folder / "cycle-1"


def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=ids).logits.float()


@pytest.mark.parametrize(("compute", "tolerance"), [(FLOAT32, 1e-5), (BFLOAT16, 2e-2)])
def test_merged_logits_are_the_adapters(
    adapter: Path, tmp_path: Path, compute: ComputeSettings, tolerance: float
) -> None:
    assert merge(adapter, tmp_path / "merged", compute)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.chat_template == load.load_tokenizer(adapter).chat_template
    ids = torch.tensor([tokenizer("def f(xs):\n    return [x + 1 for x in xs]\n")["input_ids"]])
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").eval()
    assert merged.dtype == getattr(torch, compute.dtype)
    wanted = logits(load.load_model(adapter, compute), ids)
    base = logits(load.load_model(adapters.base_of(adapter), compute), ids)
    scale = wanted.abs().max()
    assert (logits(merged, ids) - wanted).abs().max() / scale < tolerance
    assert (base - wanted).abs().max() / scale > 10 * tolerance  # else there is nothing to tell
    assert not list((tmp_path / "merged").glob("adapter*"))


def test_a_whole_model_is_copied(checkpoint: Path, tmp_path: Path, stage: Run) -> None:
    (tmp_path / "params.yaml").write_text("compute: {threads: 1, dtype: float32}\n")
    said = stage("merge", "--model", checkpoint, "--out", "copy").stdout
    assert "needs no merging" in said
    assert load.content_hash(tmp_path / "copy") == load.content_hash(checkpoint)
    with pytest.raises(InputError, match="the checkpoint itself"):
        merge(checkpoint, checkpoint, FLOAT32)


def test_weights_that_are_not_finite_are_not_merged(adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter.parent, tmp_path / "models")
    broken = tmp_path / "models" / "cycle-1"
    config = json.loads((broken / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "models" / "tiny")
    (broken / "adapter_config.json").write_text(json.dumps(config))
    weights = load_file(broken / "adapter_model.safetensors")
    first = next(name for name in weights if "lora_A" in name)
    weights[first][0, 0] = torch.nan
    save_file(weights, broken / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="cycle-1: "):
        merge(broken, tmp_path / "merged", FLOAT32)
    assert not (tmp_path / "merged").exists()


def test_command_line_of_a_whole_model() -> None:
    words = command(Path("models/sft"), None, 0, BFLOAT16, "127.0.0.1", 8000)
    assert words[:6] == ["vllm", "serve", "models/sft", "--served-model-name", "models/sft", "sft"]
    assert words[6:12] == ["--host", "127.0.0.1", "--port", "8000", "--dtype", "bfloat16"]
    assert "--enable-lora" not in words


def test_adapters_that_vllm_cannot_run_are_known() -> None:
    plain = {"peft_type": "LORA", "r": 16, "bias": "none", "use_dora": False, "modules_to_save": None}
    assert servable(plain)
    others = {"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}, {"r": 1024}, {"peft_type": "IA3"}
    assert not any(servable({**plain, **other}) for other in others)


def served(model: Path, folder: Path, *more: str) -> tuple[list[str], str]:
    """What `stages.serve` runs, and with which environment, by a command that shows its own; no vLLM is needed."""
    show = folder / "bin" / "vllm"
    show.parent.mkdir(exist_ok=True)
    show.write_text('#!/bin/sh\nprintf "%s\\n" vllm "$@"; echo "updating=$VLLM_ALLOW_RUNTIME_LORA_UPDATING"\n')
    show.chmod(0o755)
    path = f"{show.parent}:{os.environ['PATH']}"
    (folder / "params.yaml").write_text("compute: {threads: 1, dtype: float32}\n")
    done = subprocess.run(
        [sys.executable, "-m", "stages.serve", "--model", str(model), *more],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    *words, updating = done.stdout[done.stdout.index("\nvllm\n") + 1 :].splitlines()
    return words, updating


def test_an_adapter_is_served_on_its_base(adapter: Path, tmp_path: Path) -> None:
    words, updating = served(adapter, tmp_path, "--port", "8123", "--", "--gpu-memory-utilization", "0.6")
    assert words[:3] == ["vllm", "serve", str(adapter.parent / "tiny")]
    assert words[words.index("--max-lora-rank") + 1] == "8"
    modules = words[words.index("--lora-modules") + 1 :]
    assert modules == [f"{adapter}={adapter}", "--gpu-memory-utilization", "0.6"]
    assert words[words.index("--port") + 1] == "8123" and updating == "updating=True"


def test_an_adapter_of_another_kind_is_merged_first(adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter.parent, tmp_path / "models")
    own = tmp_path / "models" / "cycle-1"
    config = json.loads((own / "adapter_config.json").read_text())
    (own / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": []} | {"bias": "lora_only"}))
    words, _ = served(own, tmp_path)
    assert words[2].startswith("build/merged/") and words[2].endswith("/cycle-1")
    assert words[4:6] == [str(own), "cycle-1"] and "--enable-lora" not in words
    assert (tmp_path / words[2] / "model.safetensors").is_file()


def test_without_vllm_one_line_says_how_to_get_it(
    checkpoint: Path, stage: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("vllm"):
        pytest.skip("vllm is installed")
    told = stage("serve", "--model", checkpoint, code=1).stderr
    assert told.count("\n") == 1 and "pip install -e '.[serve]'" in told
