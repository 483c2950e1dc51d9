"""llama.cpp itself beside what is written for it: its converter where LLAMA_CPP names a checkout, and its tokens and
logits where llama-cpp-python is installed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader

from stages.export_gguf import KINDS
from stages.lm import load
from tests.exporting.models import FLOAT32, TEXTS, Exported, logits, reference, refused

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
