"""What the tests of GGUF files share: models like Qwen2.5-Coder, and these as they are once stored."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from stages.common.errors import HaloForgeError
from stages.export_gguf import export
from stages.lm import load
from stages.settings.compute import ComputeSettings

FLOAT32 = ComputeSettings(threads=1, dtype="float32")
TEXTS = (
    "<|user|>Write f(xs): add 7 to each number.<|assistant|>def f(xs):\n    return [x + 7 for x in xs]\n<|end|>",
    "I'LL they're we'Ve it's\tx  =  12345.678e-9;\r\n\r\n\n   \n  # trailing   ",
    "Ünïcödé 漢字かな नमस्ते مرحبا 🙂👩‍👩‍👧 ½ ²³ ٣٤ ǅ \u200b\u00a0x\u3000y",
    "a<|pad|>b <|system|> <|nothing|> <| end |>\x00\x7f",
    "#include <vector>\nint main(){std::vector<int>v{1,2,3};return v[0]!=1||~v.size();}// !?…",
    "",
)


Exported = Callable[..., Path]


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


def refused(model: Path, folder: Path, converter: Path | None = None) -> str:
    """What is said of an export that must fail in one line and leave nothing."""
    with pytest.raises(HaloForgeError) as caught:
        export(model, folder / "out", "f16", FLOAT32, converter)
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists() and not list(folder.glob(".out*"))
    return str(caught.value)
