"""GGUF files: read back, and read by transformers, which has a reader of its own; what is refused."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)

from stages.common.errors import HaloForgeError, InputError
from stages.export_gguf import KINDS, export, pinned, revision
from stages.lm import gguf_file, load
from stages.lm.gguf_check import read_back
from stages.lm.gguf_vocabulary import unwritable
from stages.lm.merge import merge
from tests.conftest import ROOT, Run
from tests.exporting.models import FLOAT32, TEXTS, Exported, logits, reference, refused


def test_make_passes_on_what_it_is_given() -> None:
    """The line of docs/RELEASE.md, and all that can be given."""
    page = (ROOT / "docs/RELEASE.md").read_text(encoding="utf-8")
    lines = [*re.findall(r"^(make gguf .*?)\s+#", page, re.MULTILINE), "make gguf MODEL=m OUT=o TYPE=f32 CONVERTER=c"]
    said = [
        subprocess.run(
            [*line.split(), "-n", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for line in lines
    ]
    words = [shlex.split(done.stdout.splitlines()[-1])[3:] for done in said]
    wanted = ["--model models/release --type q8_0", "--model m --out o --type f32 --converter c"]
    assert words == [line.split() for line in wanted]


def test_the_command(checkpoint: Path, tmp_path: Path, stage: Run) -> None:
    (tmp_path / "params.yaml").write_text("compute: {threads: 1, dtype: float32}\n")
    said = stage("export_gguf", "--model", checkpoint, "--type", "q8_0").stdout
    made = tmp_path / "build/gguf/tiny-q8_0"
    assert {path.name for path in made.iterdir()} == {"tiny-q8_0.gguf", "Modelfile"}
    assert f"{(made / 'tiny-q8_0.gguf').stat().st_size} bytes by the gguf package; read back: 11 f32, 15 q8_0" in said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["tiny", "tied", "untied"])
def test_transformers_reads_the_same_model(models: dict[str, Path], exported: Exported, name: str, kind: str) -> None:
    file = exported(models[name], kind)
    there = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    here = reference(models[name], kind)
    for key in ("num_hidden_layers", "num_key_value_heads", "max_position_embeddings", "vocab_size"):
        assert getattr(there.config, key) == getattr(here.config, key)
    assert there.config.rms_norm_eps == pytest.approx(here.config.rms_norm_eps)  # float32 there
    assert there.config.rope_parameters["rope_theta"] == here.config.rope_parameters["rope_theta"]
    ids = load.load_tokenizer(models[name])(TEXTS[0])["input_ids"]
    wanted, found = logits(here, ids), logits(there, ids)
    scale = wanted.abs().max()
    assert (wanted - found).abs().max() / scale < 1e-5
    assert (wanted - logits(load.load_model(models[name], FLOAT32), ids)).abs().max() / scale > 1e-5 or kind == "f32"


def test_transformers_reads_the_same_tokenizer(models: dict[str, Path], exported: Exported) -> None:
    file = exported(models["untied"], "f16")
    there = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    here = load.load_tokenizer(models["untied"])
    for text in TEXTS:
        assert there(text)["input_ids"] == here(text)["input_ids"]
    assert there.chat_template == here.chat_template and there.eos_token == here.eos_token


def test_what_the_file_says(models: dict[str, Path], exported: Exported) -> None:
    reader = GGUFReader(exported(models["untied"], "q8_0"))
    said = {name: field.contents() for name, field in reader.fields.items()}
    tokenizer = load.load_tokenizer(models["untied"])
    assert said["general.architecture"] == "qwen2" and said["tokenizer.ggml.pre"] == "qwen2"
    tokens, types = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == 320
    assert tokens[: len(tokenizer)] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert types == [3] * 5 + [1] * (len(tokenizer) - 5) + [5] * (320 - len(tokenizer))  # control, normal, unused
    assert said["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert said["tokenizer.ggml.bos_token_id"] == 2 and said["tokenizer.ggml.add_bos_token"] is False
    assert said["qwen2.attention.head_count_kv"] == 2 and said["qwen2.context_length"] == 256
    stored = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert stored["output.weight"] == "Q8_0" and stored["blk.0.attn_q.bias"] == stored["output_norm.weight"] == "F32"


def test_an_adapter_is_merged_first(checkpoint: Path, tmp_path: Path, exported: Exported) -> None:
    from peft import LoraConfig, get_peft_model

    base = shutil.copytree(checkpoint, tmp_path / "base")
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    load.save(tmp_path / "adapter", get_peft_model(load.load_model(base, FLOAT32), config), load.load_tokenizer(base))
    file = exported(tmp_path / "adapter")
    assert file.name == "adapter-f32.gguf"
    merge(tmp_path / "adapter", tmp_path / "merged", FLOAT32)
    config = gguf_file.read_config(tmp_path / "merged")
    assert read_back(file, tmp_path / "merged", config) == {"f32": 26}
    with pytest.raises(HaloForgeError, match=r"blk\.0\.attn_\w\.weight\[0, 0\]: "):
        read_back(file, base, config)
    assert not list(tmp_path.glob(".*merged*"))


def test_types_are_those_that_can_be_written() -> None:
    assert tuple(gguf_file.TYPES) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_spoilt_value_is_found(models: dict[str, Path], exported: Exported, kind: str) -> None:
    """By one part in a hundred and more: in the middle of the last matrix, of whichever type."""
    file, model = exported(models["untied"], kind), models["untied"]
    config = gguf_file.read_config(model)
    read_back(file, model, config)
    tensor = next(t for t in GGUFReader(file, "r+").tensors if t.name == "blk.2.ffn_up.weight")
    raw = tensor.data.view(np.uint8).reshape(-1)
    raw[len(raw) // 2 + 1] ^= 0x40
    tensor.data.flush()
    with pytest.raises(HaloForgeError, match=r"blk\.2\.ffn_up\.weight\["):
        read_back(file, model, config)


def test_a_cut_file_is_found(models: dict[str, Path], exported: Exported) -> None:
    file = exported(models["tied"])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(HaloForgeError, match="is no GGUF file"):
        read_back(file, models["tied"], gguf_file.read_config(models["tied"]))


def test_of_other_architectures_finite_weights_are_asked_for(checkpoint: Path, exported: Exported) -> None:
    file, config = exported(checkpoint), gguf_file.read_config(checkpoint)
    config.architectures = ["LlamaForCausalLM"]
    assert read_back(file, checkpoint, config) == {"f32": 26}
    tensor = GGUFReader(file, "r+").tensors[-1]
    tensor.data[0] = np.inf
    tensor.data.flush()
    with pytest.raises(HaloForgeError, match=f"{tensor.name} is not finite"):
        read_back(file, checkpoint, config)


def changed(model: Path, folder: Path, weights: dict | None = None, **config: object) -> Path:
    """A copy with some weights (None: left out) or settings of config.json changed."""
    copy = shutil.copytree(model, folder / "changed")
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**settings, **config}))
    if weights:
        held = {**load_file(copy / "model.safetensors"), **weights}
        held = {name: weight for name, weight in held.items() if weight is not None}
        save_file(held, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("weights", "config", "told"),
    [
        ({}, {"use_sliding_window": True, "sliding_window": 64}, "attention has a sliding window; set LLAMA_CPP"),
        ({}, {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, "scaled (linear)"),
        ({}, {"hidden_act": "gelu"}, "hidden_act is gelu"),
        ({NORM: None}, {}, f"no weight {NORM}"),
        ({NORM: torch.ones(33)}, {}, f"{NORM}: shape (33,), expected (32,)"),
        ({NORM: torch.full((32,), torch.nan)}, {}, f"the weight {NORM} is not finite"),
        ({"model.layers.7.mlp.up_proj.weight": torch.ones(2, 2)}, {}, "an unknown weight model.layers.7.mlp"),
        ({"model.layers.0.mlp.up_proj.weight": torch.full((64, 32), 1e6)}, {}, "beyond float16; choose TYPE=bf16"),
    ],
)
def test_what_cannot_be_exported(checkpoint: Path, tmp_path: Path, weights: dict, config: dict, told: str) -> None:
    assert told in refused(changed(checkpoint, tmp_path, weights, **config), tmp_path)


def test_another_architecture_is_the_converters(checkpoint: Path, tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    load.load_tokenizer(checkpoint).save_pretrained(tmp_path / "llama")
    told = refused(tmp_path / "llama", tmp_path)
    assert "llama: the architecture is LlamaForCausalLM, not Qwen2ForCausalLM; set LLAMA_CPP to a checkout" in told
    with pytest.raises(InputError, match=r"convert_hf_to_gguf\.py: not found"):
        export(tmp_path / "llama", tmp_path / "out", "f16", FLOAT32, ready=tmp_path)


def test_what_a_converter_says_of_its_failure_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "convert_hf_to_gguf.py").write_text("import sys\nprint('INFO: x')\nraise ValueError(sys.argv[3])\n")
    told = refused(checkpoint, tmp_path, tmp_path)
    assert "convert_hf_to_gguf.py" in told and "ValueError: " in told
    (tmp_path / "convert_hf_to_gguf.py").write_text("")
    assert "ended without an error and without " in refused(checkpoint, tmp_path, tmp_path)


def test_a_folder_of_other_files_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"holds 'notes.txt', which is no export to "):
        export(checkpoint, tmp_path, "f16", FLOAT32)
    (tmp_path / "notes.txt").rename(tmp_path / "llama.gguf")
    with pytest.raises(InputError, match=r"holds 'llama.gguf', which is no export to "):
        export(checkpoint, tmp_path, "f16", FLOAT32)
    assert (tmp_path / "llama.gguf").exists()


GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("normalizer", {"type": "Lowercase"}, "normalises text"),
        (
            "pre_tokenizer",
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "splits",
        ),
        ("post_processor", None, None),
    ],
)
def test_tokenizers_that_llama_cpp_has_not(checkpoint: Path, part: str, value: object, told: str | None) -> None:
    from tokenizers import Tokenizer

    tokenizer = load.load_tokenizer(checkpoint)
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps({**parts, part: value}))
    reason = unwritable(tokenizer)
    assert reason is None if told is None else told in reason


def test_revision_of_a_checkout(tmp_path: Path) -> None:
    assert len(pinned()) == 40 and revision(tmp_path) == "?"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert revision(tmp_path) == head
    (tmp_path / "inside").mkdir()
    assert revision(tmp_path / "inside") == "?"  # of another repository that the folder lies in
    (tmp_path / "REVISION").write_text(f"v0.0.0 {pinned()}\n")
    assert revision(tmp_path) == pinned()


@pytest.mark.parametrize("converter", [None, Path("llama.cpp")])
def test_a_tokenizer_longer_than_the_embedding_is_refused(
    models: dict[str, Path], tmp_path: Path, stage: Run, converter: Path | None
) -> None:
    """In one line, before anything is written; the last row is a token's, so one more has none."""
    longer = tmp_path / "longer"
    shutil.copytree(models["tied"], longer)
    tokenizer = AutoTokenizer.from_pretrained(longer)
    tokenizer.add_tokens([f"<|extra {n}|>" for n in range(400)])
    tokenizer.save_pretrained(longer)
    length = max(tokenizer.get_vocab().values()) + 1
    assert f"longer: the tokenizer has {length} entries and the embedding 320 rows" in refused(
        longer, tmp_path, converter
    )
    said = stage("export_gguf", "--model", longer, "--out", tmp_path / "made", code=1).stderr
    assert said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "made").exists()
