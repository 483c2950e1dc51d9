"""GGUF files: read by transformers, which has a reader of its own, by llama.cpp where it is installed, and beside its
converter's where LLAMA_CPP names a checkout."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
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
    Qwen2Config,
    Qwen2ForCausalLM,
)

from stages.common.errors import HaloForgeError, InputError
from stages.export_gguf import KINDS, export, pinned, revision
from stages.lm import gguf_file, load
from stages.lm.gguf_check import read_back
from stages.lm.gguf_vocabulary import unwritable
from stages.lm.merge import merge
from stages.settings.compute import ComputeSettings
from tests.conftest import ROOT, Run

FLOAT32 = ComputeSettings(threads=1, dtype="float32")
TEXTS = (
    "<|user|>Write f(xs): add 7 to each number.<|assistant|>def f(xs):\n    return [x + 7 for x in xs]\n<|end|>",
    "I'LL they're we'Ve it's\tx  =  12345.678e-9;\r\n\r\n\n   \n  # trailing   ",
    "Ünïcödé 漢字かな नमस्ते مرحبا 🙂👩‍👩‍👧 ½ ²³ ٣٤ ǅ \u200b\u00a0x\u3000y",
    "a<|pad|>b <|system|> <|nothing|> <| end |>\x00\x7f",
    "#include <vector>\nint main(){std::vector<int>v{1,2,3};return v[0]!=1||~v.size();}// !?…",
    "",
)


def save_qwen2(path: Path, tokenizer: Path, tied: bool) -> Path:
    """A Qwen2 model as Qwen2.5-Coder's: grouped queries, biases, more rows than tokens; untied in several files."""
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        rope_theta=1e6,
        rms_norm_eps=1e-5,
        tie_word_embeddings=tied,
        bos_token_id=2,
        eos_token_id=0,
    )
    model = Qwen2ForCausalLM(config)
    for name, weight in model.named_parameters():  # biases and norms are of one value at first
        torch.nn.init.normal_(weight, mean=float("norm" in name), std=0.15)
    model.save_pretrained(path, max_shard_size="100KB" if not tied else "1GB")
    load.load_tokenizer(tokenizer).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def models(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("qwen2")
    made = {kind: save_qwen2(folder / kind, checkpoint, kind == "tied") for kind in ("tied", "untied")}
    assert len(list(made["untied"].glob("*.safetensors"))) > 2
    return {"tiny": checkpoint, **made}


Exported = Callable[..., Path]


def test_make_passes_on_what_it_is_given() -> None:
    """The line of docs/RELEASE.md, and all that can be given."""
    page = (ROOT / "docs/RELEASE.md").read_text(encoding="utf-8")
    lines = [*re.findall(r"^(make gguf .*?)\s+#", page, re.MULTILINE), "make gguf MODEL=m OUT=o TYPE=f32 CONVERTER=c"]
    said = [
        subprocess.run([*line.split(), "-n"], cwd=ROOT, capture_output=True, text=True, check=True) for line in lines
    ]
    words = [shlex.split(done.stdout.splitlines()[-1])[3:] for done in said]
    wanted = ["--model models/release --type q8_0", "--model m --out o --type f32 --converter c"]
    assert words == [line.split() for line in wanted]


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    """Export to `tmp_path/out`; returns the file."""

    def exported(model: Path, kind: str = "f32", converter: Path | None = None) -> Path:
        said = export(model, tmp_path / "out", kind, FLOAT32, converter)
        file = tmp_path / "out" / f"{model.name}-{kind}.gguf"
        assert said[0].startswith(f"{file}: {file.stat().st_size} bytes by ")
        return file

    return exported


def test_the_command(checkpoint: Path, tmp_path: Path, stage: Run) -> None:
    (tmp_path / "params.yaml").write_text("compute: {threads: 1, dtype: float32}\n")
    said = stage("export_gguf", "--model", checkpoint, "--type", "q8_0").stdout
    made = tmp_path / "build/gguf/tiny-q8_0"
    assert {path.name for path in made.iterdir()} == {"tiny-q8_0.gguf", "Modelfile"}
    assert f"{(made / 'tiny-q8_0.gguf').stat().st_size} bytes by the gguf package; read back: 11 f32, 15 q8_0" in said


def logits(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0].float()


def rounded(weight: torch.Tensor, kind: str) -> torch.Tensor:
    """A weight as it is once stored, by torch alone: vectors are kept, rows of Q8_0 are blocks of 32."""
    if kind == "f32" or weight.dim() == 1:
        return weight
    if kind != "q8_0":
        return weight.to({"f16": torch.float16, "bf16": torch.bfloat16}[kind]).float()
    blocks = weight.reshape(-1, 32)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    return ((blocks / scale).nan_to_num().round() * scale.half().float()).reshape(weight.shape)


def reference(path: Path, kind: str) -> torch.nn.Module:
    """The model with its weights rounded."""
    model = load.load_model(path, FLOAT32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(rounded(weight, kind))
    return model


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


def refused(model: Path, folder: Path, converter: Path | None = None) -> str:
    """What is said of an export that must fail in one line and leave nothing."""
    with pytest.raises(HaloForgeError) as caught:
        export(model, folder / "out", "f16", FLOAT32, converter)
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists() and not list(folder.glob(".out*"))
    return str(caught.value)


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
    with pytest.raises(InputError, match=r"holds 'notes.txt', which is no export"):
        export(checkpoint, tmp_path, "f16", FLOAT32)
    assert (tmp_path / "notes.txt").exists()


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


NAMED = """
import runpy, sys
sys.path.insert(0, {folder!r})
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
runpy.run_path({folder!r} + "/convert_hf_to_gguf.py", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.skipif(
    "LLAMA_CPP" not in os.environ, reason="LLAMA_CPP names no checkout of llama.cpp (toolbox/llama-cpp.env)"
)
def test_llama_cpps_converter_writes_the_same(models: dict[str, Path], tmp_path: Path, exported: Exported) -> None:
    """It knows a tokenizer by a hash over its vocabulary, so that of a test's has to be named to it."""
    folder = Path(os.environ["LLAMA_CPP"]).resolve()
    assert "pre-tokenizer" in refused(models["untied"], tmp_path, folder)
    (tmp_path / "convert_hf_to_gguf.py").write_text(NAMED.format(folder=str(folder)))
    for kind in KINDS:
        ours = GGUFReader(shutil.copy(exported(models["untied"], kind), tmp_path / "ours.gguf"))
        theirs = GGUFReader(exported(models["untied"], kind, tmp_path))
        said, wanted = ({k: f.contents() for k, f in r.fields.items()} for r in (ours, theirs))
        differ = {key for key in said.keys() | wanted.keys() if said.get(key) != wanted.get(key)}
        own = {"general.size_label", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.unknown_token_id"}
        assert differ <= own | {"GGUF.kv_count"}
        assert sorted([t.name for t in ours.tensors]) == sorted(t.name for t in theirs.tensors)
        there = {tensor.name: tensor for tensor in theirs.tensors}
        for tensor in ours.tensors:
            assert tensor.tensor_type == there[tensor.name].tensor_type
            assert np.array_equal(tensor.data, there[tensor.name].data), tensor.name


def greedy(step: Callable[[list[int]], np.ndarray], ids: list[int], count: int) -> tuple[list[int], float]:
    """The `count` likeliest tokens after `ids`, and the smallest lead of one over the next likeliest (in logits)."""
    tokens, lead, new = [], np.inf, ids
    for _ in range(count):
        scores = np.asarray(step(new), dtype=np.float64)
        second, first = np.sort(scores)[-2:]
        lead = min(lead, first - second)
        new = [int(scores.argmax())]
        tokens += new
    return tokens, float(lead)


def by_transformers(model: torch.nn.Module) -> Callable[[list[int]], np.ndarray]:
    ids: list[int] = []

    def step(new: list[int]) -> np.ndarray:
        ids.extend(new)
        return logits(model, ids)[-1].numpy()

    return step


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["tiny", "tied", "untied"])
def test_llama_cpp_gives_the_same_tokens(models: dict[str, Path], exported: Exported, name: str, kind: str) -> None:
    """In float32 the greedy tokens are the same, to the last; else logits are near those of the rounded weights."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="no llama-cpp-python: pip install -e '.[gguf-test]' builds it")
    file = exported(models[name], kind)
    plain = {"n_ctx": 256, "n_threads": 1, "logits_all": True, "verbose": False, "type_k": 0, "type_v": 0}  # 0: float32
    llm = llama_cpp.Llama(str(file), **plain)
    tokenizer, model = load.load_tokenizer(models[name]), reference(models[name], kind)
    for text in TEXTS:
        assert llm.tokenize(text.encode(), add_bos=True, special=True) == tokenizer(text)["input_ids"]
    assert llm.token_eos() == tokenizer.eos_token_id

    def step(new: list[int]) -> np.ndarray:
        llm.eval(new)
        return llm.scores[llm.n_tokens - 1].copy()

    for text in TEXTS[:5]:
        ids = tokenizer(text)["input_ids"]
        llm.reset()
        if kind == "f32":
            wanted, lead = greedy(by_transformers(model), ids, 32)
            assert lead > 1e-4, "too near a tie to compare; another seed is wanted"
            assert greedy(step, ids, 32)[0] == wanted
        else:
            wanted = logits(model, ids)[-1].numpy()
            near = 0.15 if kind == "q8_0" else 0.02  # it rounds activations as well, to the weights' type
            assert np.abs(step(ids) - wanted).max() / np.abs(wanted).max() < near


@pytest.mark.slow
def test_llama_cpp_answers_a_chat_by_the_template(models: dict[str, Path], exported: Exported) -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason="no llama-cpp-python: pip install -e '.[gguf-test]' builds it")
    plain = {"n_ctx": 256, "n_threads": 1, "verbose": False, "type_k": 0, "type_v": 0}
    llm = llama_cpp.Llama(str(exported(models["untied"])), **plain)
    messages = [{"role": "user", "content": "Write f(xs): add 7 to each number."}]
    said = llm.create_chat_completion(messages, temperature=0, repeat_penalty=1.0, max_tokens=24)
    tokenizer, model = load.load_tokenizer(models["untied"]), load.load_model(models["untied"], FLOAT32)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    tokens, _ = greedy(by_transformers(model), ids, 24)
    if tokenizer.eos_token_id in tokens:
        tokens = tokens[: tokens.index(tokenizer.eos_token_id)]
    assert said["usage"]["prompt_tokens"] == len(ids)
    text = tokenizer.decode(tokens, skip_special_tokens=True).replace("\ufffd", "")  # no UTF-8: left out there
    assert said["choices"][0]["message"]["content"] == text and len(text) > 10
