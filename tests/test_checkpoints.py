"""Checkpoints: what loads, and the one line that says why another does not."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.common.errors import InputError
from stages.lm import load
from stages.lm.chat import IGNORED, prompt_ids, training_row
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings

COMPUTE = ComputeSettings(threads=1, dtype="float32")


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "model")


def truncate(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def no_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def pickled(path: Path) -> None:
    no_weights(path)
    torch.save({}, path / "pytorch_model.bin")


def other_shape(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))


def more_layers(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    config |= {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}
    (path / "config.json").write_text(json.dumps(config))


def broken_config(path: Path) -> None:
    (path / "config.json").write_text("{")


def not_a_checkpoint(path: Path) -> None:
    (path / "config.json").unlink()


def no_tokenizer(path: Path) -> None:
    (path / "tokenizer.json").unlink()


def lost_base(path: Path) -> None:
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "models/absent"}))


def weights(path: Path, change: Callable[[dict], None]) -> None:
    """Write the weights again, changed."""
    found = load_file(path / "model.safetensors")
    change(found)
    save_file(found, path / "model.safetensors", metadata={"format": "pt"})


def not_finite(value: float) -> Callable[[Path], None]:
    def change(found: dict) -> None:
        found["model.norm.weight"][3] = value

    return lambda path: weights(path, change)


def header(path: Path, change: Callable[[dict], None]) -> None:
    """Write the header of the weights' file again, changed."""
    content = (path / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    found = json.loads(content[8 : 8 + length])
    change(found)
    text = json.dumps(found).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def overlapping(path: Path) -> None:
    def change(found: dict) -> None:
        found["model.norm.weight"]["data_offsets"] = found["model.layers.0.input_layernorm.weight"]["data_offsets"]

    header(path, change)


def of_another_type(path: Path) -> None:
    header(path, lambda found: found["model.norm.weight"].update(dtype="Q9"))


def lost_shard(path: Path) -> None:
    (path / "model.safetensors").rename(path / "model-00001-of-00002.safetensors")
    names = load_file(path / "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00002-of-00002.safetensors")}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def configured(**changes: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, **changes}))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "model.safetensors").write_bytes(b""), "header too small"),
        (lambda path: (path / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}"), "header too large"),
        (overlapping, "invalid offset"),
        (of_another_type, "unknown variant `Q9`"),
        (lost_shard, "model-00002-of-00002.safetensors"),
        (not_finite(float("nan")), "the weight model.norm.weight is not finite"),
        (not_finite(float("-inf")), "the weight model.norm.weight is not finite"),
        (configured(num_hidden_layers=-1), "`num_hidden_layers` (-1)"),
        (configured(hidden_size="big"), "expected int, got str"),
        (configured(num_attention_heads=0), "cannot load the checkpoint"),
        (configured(model_type="nonsense"), "model type `nonsense`"),
        (shutil.rmtree, "no such checkpoint directory"),
        (not_a_checkpoint, "not a checkpoint"),
        (broken_config, "cannot load the checkpoint"),
        (no_tokenizer, "no tokenizer: expected tokenizer.json"),
        (no_weights, "no *.safetensors file"),
        (pickled, "pickled weights are not loaded"),
        (truncate, "cannot load the checkpoint"),
        (other_shape, "model"),
        (more_layers, "weights missing or of the wrong shape, the first is model.layers.2"),
        (lost_base, "adapter of the base model 'models/absent', which is not there"),
    ],
)
def test_a_broken_checkpoint_is_one_line(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(copy)
    with pytest.raises(InputError) as error:
        load.load_model(copy, COMPUTE)
    assert str(error.value).startswith(f"{copy}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pad_token": "<|end|>"}, "pads with its end token"),
        ({"pad_token": None}, "must define an end token (eos) and a padding token (pad)"),
        ({"chat_template": None}, "no chat template"),
    ],
)
def test_an_unfit_tokenizer_is_refused(copy: Path, changes: dict, message: str) -> None:
    if "chat_template" in changes:
        (copy / "chat_template.jinja").unlink()
    config = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(InputError) as error:
        load.load_tokenizer(copy)
    assert message in str(error.value)
    assert "stages.base with base.hub set to this directory" in str(error.value)


def test_a_tokenizer_with_more_entries_than_the_embedding_is_refused(copy: Path) -> None:
    tokenizer = load.load_tokenizer(copy)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|more|>"] + [f"<|{n}|>" for n in range(9)]})
    tokenizer.save_pretrained(copy)
    with pytest.raises(InputError, match=r"the tokenizer has \d+ entries and the embedding \d+ rows"):
        load.expect_vocabulary(load.load_model(copy, COMPUTE), load.load_tokenizer(copy), copy)


@pytest.fixture
def adapter(copy: Path, tmp_path: Path) -> Path:
    """An adapter of the checkpoint's copy."""
    model = load.load_model(copy, COMPUTE)
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    load.save(tmp_path / "adapter", get_peft_model(model, lora), load.load_tokenizer(copy))
    return tmp_path / "adapter"


def renamed(path: Path) -> None:
    found = load_file(path / "adapter_model.safetensors")
    found["x.y"] = found.pop(min(found))
    save_file(found, path / "adapter_model.safetensors", metadata={"format": "pt"})


def adapted(**changes: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        config = json.loads((path / "adapter_config.json").read_text())
        (path / "adapter_config.json").write_text(json.dumps({**config, **changes}))

    return damage


def of_another_base(path: Path) -> None:
    weights(path.with_name("model"), lambda found: found["model.norm.weight"].add_(1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (renamed, "2 weights of the adapter are missing or unknown"),
        (adapted(r=8), "cannot load the checkpoint"),
        (adapted(target_modules=["nope"]), "Target modules {'nope'} not found"),
        (adapted(base_model_name_or_path=None), "adapter of the base model 'None', which is not there"),
        (of_another_base, "adapter of another base model"),
        (lambda p: (p / "adapter_model.safetensors").rename(p / "adapter_model.bin"), "pickled weights are not loaded"),
        (lambda p: (p / "adapter_model.safetensors").write_bytes(b"\x01" * 99), "cannot load the checkpoint"),
    ],
)
def test_a_broken_adapter_is_one_line(adapter: Path, damage: Callable[[Path], object], message: str) -> None:
    load.load_model(adapter, COMPUTE)
    damage(adapter)
    with pytest.raises(InputError) as error:
        load.load_model(adapter, COMPUTE)
    assert str(error.value).startswith(f"{adapter}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_checkpoint_loads_as_any_other_model(checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "add 3"}], add_generation_prompt=True, tokenize=False
    )
    assert text == "<|user|>add 3<|assistant|>"
    out = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=4)
    assert out.shape[1] > len(tokenizer(text)["input_ids"])


def test_equal_weights_make_equal_files(checkpoint: Path, tmp_path: Path) -> None:
    tokenizer, model = load.load_tokenizer(checkpoint), load.load_model(checkpoint, COMPUTE)
    for name in ("a", "b"):
        load.save(tmp_path / name, model, tokenizer)
    files = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert files[0] == files[1]


def test_training_and_sampling_see_the_same_prompt(checkpoint: Path) -> None:
    tokenizer = load.load_tokenizer(checkpoint)
    prompts = PromptSettings(system={"python": "Be brief.", "default": "Be kind."})
    asked = prompt_ids(tokenizer, "add 3", "python", prompts)
    row = training_row(tokenizer, "add 3", "python", "def f(): pass", prompts)
    assert tokenizer.decode(asked) == "<|system|>Be brief.<|user|>add 3<|assistant|>"
    assert row["input_ids"][: len(asked)] == asked
    assert row["labels"][: len(asked)] == [IGNORED] * len(asked)
    assert tokenizer.decode([i for i in row["labels"] if i != IGNORED]) == "def f(): pass<|end|>"
    assert "Be kind." in tokenizer.decode(prompt_ids(tokenizer, "add 3", "cpp", prompts))
