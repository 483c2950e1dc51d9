"""The decode loop draws what the model says, whatever shares a batch with what."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from stages.lm.capacity import cache_bytes, fitting_batch
from stages.lm.choosing import CANDIDATES, choose
from stages.lm.decoding import BUCKET, Decoder, Drawn, bucket
from stages.lm.generating import Drawing, generate
from stages.lm.rows import NAME, agrees

SHAPE = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "eos_token_id": None,
    "pad_token_id": None,
    "bos_token_id": None,
}
KINDS = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}
PROMPTS = [[5, 6, 7, 8, 9, 10], [3], [11, 12], [4, 4, 4, 4, 4, 4, 4, 4, 4], [20, 21, 22]]
END = 7


def model_of(kind: str, **changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    config, model = KINDS[kind]
    return model(config(**{**SHAPE, **changes})).eval()


def decoder(model: torch.nn.Module, **changes: object) -> Decoder:
    assert agrees(model, SHAPE["vocab_size"])
    model.set_attn_implementation(NAME)
    how = {"ends": [END], "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 16, "batch": 8}
    return Decoder(model, **{**how, **changes})


def adapter_on(model: torch.nn.Module) -> torch.nn.Module:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    return get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)).eval()


def rooms(count: int = len(PROMPTS)) -> list[int]:
    return [16] * count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 2, 64])
def test_greedy_tokens_are_those_of_generate(kind: str, batch: int) -> None:
    model = model_of(kind)
    right = []
    for prompt in PROMPTS:
        out = model.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=16, eos_token_id=END, pad_token_id=0
        )
        right.append(out[0, len(prompt) :].tolist())
    drawn = decoder(model, temperature=0.0, batch=batch).draw(PROMPTS, 3, rooms(), seed=0)
    assert [answers[0].ids for answers in drawn] == right
    assert all(answers[0] == answers[1] == answers[2] for answers in drawn)


def test_a_text_does_not_depend_on_what_shares_its_batch() -> None:
    model = model_of("qwen2", num_key_value_heads=1)
    texts = []
    for changes in ({"batch": 4}, {"batch": 100}, {"batch": 8, "every": 5}):
        drawn = decoder(model, **changes).draw(PROMPTS, 4, rooms(), seed=3)
        texts.append([[answer.ids for answer in answers] for answers in drawn])
    assert texts[0] == texts[1] == texts[2]
    assert len({tuple(ids) for answers in texts[0] for ids in answers}) > 15, "drawn, not repeated"
    assert any(ids[-1] == END and len(ids) < 16 for answers in texts[0] for ids in answers)
    other = decoder(model).draw(PROMPTS, 4, rooms(), seed=4)
    assert [[a.ids for a in answers] for answers in other] != texts[0]


def test_the_log_probability_is_the_model_s() -> None:
    model = model_of("qwen2")
    drawn = decoder(model, temperature=0.7, top_p=0.9).draw(PROMPTS, 3, rooms(), seed=0)
    model.set_attn_implementation("sdpa")
    expect_logprobs(model, drawn)


def expect_logprobs(model: torch.nn.Module, drawn: list[list[Drawn]]) -> None:
    """Those of a forward pass over the whole text, at temperature 0.7 and top_p 0.9."""
    for prompt, answers in zip(PROMPTS, drawn, strict=True):
        for answer in answers:
            logits = model(torch.tensor([prompt + answer.ids])).logits[0, len(prompt) - 1 : -1] / 0.7
            total = 0.0
            for row, token in zip(logits.log_softmax(-1), answer.ids, strict=True):
                ordered = row.exp().sort(descending=True)
                before = ordered.values.cumsum(0) - ordered.values
                inside = ordered.indices[before < 0.9]
                assert token in inside
                total += (row[token] - row[inside].logsumexp(0)).item()
            assert answer.logprob == pytest.approx(total / len(answer.ids), abs=1e-4)


@pytest.mark.parametrize("sort", [True, False])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 0.95), (1.5, 0.5), (1.0, 0.01)])
def test_tokens_come_as_often_as_they_should(temperature: float, top_p: float, sort: bool) -> None:
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(1)) * 2
    logits[0, 4] = -torch.inf  # as padding of the vocabulary may have
    uniforms = torch.rand(40_000, generator=torch.Generator().manual_seed(2))
    tokens, logprobs = choose(logits.expand(len(uniforms), -1), uniforms, temperature, top_p, sort)
    right = (logits[0] / temperature).softmax(-1)
    ordered = right.sort(descending=True)
    outside = ordered.indices[ordered.values.cumsum(0) - ordered.values >= top_p]
    right[outside] = 0
    right /= right.sum()
    found = torch.bincount(tokens, minlength=30) / len(tokens)
    assert (found - right).abs().sum() / 2 < 0.01, "total variation"
    assert not found[outside].any()
    assert torch.allclose(logprobs, right[tokens].log(), atol=1e-4)


@pytest.mark.parametrize("sort", [True, False])
def test_a_nucleus_of_many_tokens_is_whole(sort: bool) -> None:
    """More than are looked at first; likelihoods fall so slowly that the halving must go far."""
    vocabulary = 4 * CANDIDATES
    uniforms = torch.linspace(0, 1, 10 * vocabulary + 1)[:-1]
    logits = torch.linspace(1e-3, 0, vocabulary)
    tokens, _ = choose(logits.expand(len(uniforms), -1), uniforms, 1.0, 0.9, sort)
    assert len(set(tokens.tolist())) == pytest.approx(0.9 * vocabulary, abs=2)
    assert max(tokens.tolist()) < 0.9 * vocabulary + 2, "the likeliest"


def test_an_answer_ends_where_its_room_does() -> None:
    drawn = decoder(model_of("llama"), ends=[]).draw(PROMPTS[:3], 2, [1, 5, 99], seed=0)
    assert [[len(a.ids) for a in answers] for answers in drawn] == [[1, 1], [5, 5], [16, 16]]


def compile_by(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step as a graph; which code is made of it is the compiler's matter, and slow to make on a CPU."""
    torch._dynamo.reset()
    compile_as_is = torch.compile

    def graph(step: Any, dynamic: bool, fullgraph: bool, mode: str) -> Any:
        return compile_as_is(step, dynamic=dynamic, fullgraph=fullgraph, backend=backend)

    monkeypatch.setattr(torch, "compile", graph)


@pytest.mark.parametrize("adapted", [False, True])
def test_a_compiled_step_draws_the_same_and_is_compiled_once_a_width(
    monkeypatch: pytest.MonkeyPatch, adapted: bool
) -> None:
    counter = CompileCounterWithBackend("eager" if adapted else "aot_eager")
    compile_by(counter, monkeypatch)
    model = model_of("qwen2", max_position_embeddings=512, num_hidden_layers=1)
    model = adapter_on(model) if adapted else model
    prompts = [[5] * 245, [3, 4], [6] * 20]
    plain, compiled = decoder(model, top_p=0.8, batch=4), decoder(model, top_p=0.8, batch=4, compiled=True, every=4)
    plain._sort = False
    graphs = []
    for chosen in (prompts, prompts[1:], prompts[:1], prompts):
        texts = [how.draw(chosen, 2, [16] * len(chosen), seed=len(chosen)) for how in (plain, compiled)]
        assert [[a.ids for a in x] for x in texts[0]] == [[a.ids for a in x] for x in texts[1]]
        graphs.append(len(counter.graphs))
    assert compiled.compiled
    assert graphs[0] == graphs[-1] == 2, "256 and 384 columns, whatever the tasks of a shard"


def test_a_compiler_that_fails_is_done_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_compiler(*_: Any) -> Any:
        raise RuntimeError("no compiler here\nand much more")

    compile_by(no_compiler, monkeypatch)
    model = model_of("llama")
    plain, compiled = decoder(model, batch=4), decoder(model, batch=4, compiled=True)
    texts = [[a.ids for x in how.draw(PROMPTS, 2, rooms(), seed=0) for a in x] for how in (plain, compiled)]
    assert texts[0] == texts[1]
    said = capsys.readouterr().out
    assert said.startswith("torch.compile fails, sampling goes on without it: BackendCompilerFailed: ")
    assert said.count("\n") == 1
    assert not compiled.compiled


def test_widths_are_few_and_near() -> None:
    widths = [bucket(columns) for columns in range(1, 32_769)]
    assert all(columns <= width <= max(1.5 * columns, BUCKET) for columns, width in enumerate(widths, 1))
    assert len(set(widths)) == 15


def test_half_precision_and_adapters() -> None:
    """Greedy answers of a model with an adapter are those of the merged one, as far as 16 bits tell."""
    model = adapter_on(model_of("qwen2"))
    found = decoder(model, temperature=0.0).draw(PROMPTS, 1, rooms(), seed=0)
    right = decoder(model.merge_and_unload(), temperature=0.0).draw(PROMPTS, 1, rooms(), seed=0)
    assert [x[0].ids for x in found] == [x[0].ids for x in right]
    half = decoder(adapter_on(model_of("qwen2").to(torch.bfloat16)), temperature=0.0)
    drawn = half.draw(PROMPTS, 1, rooms(), seed=0)
    assert sum(a[0].ids[0] == b[0].ids[0] for a, b in zip(drawn, right, strict=True)) >= 4


def test_layers_that_see_a_window_only_are_left_to_transformers() -> None:
    window = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 0}
    model = model_of("qwen2", **window)
    assert not agrees(model, SHAPE["vocab_size"])
    how = Drawing(n=3, temperature=0.7, top_p=0.9)
    limits = [16, 16, 2, 16, 16]
    drawn = generate(model, SimpleNamespace(pad_token_id=0), [END], how, 6, PROMPTS, limits, seed=0)
    expect_logprobs(model, drawn)
    lengths = [max(len(answer.ids) for answer in answers) for answers in drawn]
    assert lengths[2] == 2
    assert max(lengths) == 16, "an answer of little room does not cut the others"


def test_the_batch_that_fits() -> None:
    model = model_of("qwen2")
    assert cache_bytes(model) == 2 * 2 * 2 * 8 * 4
    # Qwen2.5-Coder-7B: 28 layers, 4 key-value heads of 128, bfloat16: 56 KiB a token.
    token = 2 * 28 * 4 * 128 * 2
    assert fitting_batch((100 << 30, "cuda"), token, 2048, 152_064) == 512
    assert fitting_batch((10 << 30, "cuda"), token, 2048, 152_064) == 64
    assert fitting_batch((1 << 20, "cuda"), token, 2048, 152_064) == 1
    assert fitting_batch((100 << 30, "cpu"), 100, 100, 768) == 256
