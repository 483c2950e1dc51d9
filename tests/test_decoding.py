"""The decode loop draws what the model says, whatever shares a batch with what."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from stages.lm.capacity import cache_bytes, fitting_batch
from stages.lm.choosing import CANDIDATES, choose
from stages.lm.decoding import NAME, Decoder, agrees

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


def test_the_log_probability_is_the_model_s(checkpoint: Path) -> None:
    model = model_of("qwen2")
    drawn = decoder(model, temperature=0.7, top_p=0.9).draw(PROMPTS, 3, rooms(), seed=0)
    model.set_attn_implementation("sdpa")
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


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 0.95), (1.5, 0.5)])
def test_tokens_come_as_often_as_they_should(temperature: float, top_p: float) -> None:
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(1)) * 2
    uniforms = torch.rand(40_000, generator=torch.Generator().manual_seed(2))
    tokens, logprobs = choose(logits.expand(len(uniforms), -1), uniforms, temperature, top_p)
    right = (logits[0] / temperature).softmax(-1)
    ordered = right.sort(descending=True)
    outside = ordered.indices[ordered.values.cumsum(0) - ordered.values >= top_p]
    right[outside] = 0
    right /= right.sum()
    found = torch.bincount(tokens, minlength=30) / len(tokens)
    assert (found - right).abs().sum() / 2 < 0.01, "total variation"
    assert not found[outside].any()
    assert torch.allclose(logprobs, right[tokens].log(), atol=1e-4)


def test_a_nucleus_of_many_tokens_is_whole() -> None:
    """More than are looked at first."""
    vocabulary = 4 * CANDIDATES
    uniforms = torch.linspace(0, 1, 10 * vocabulary + 1)[:-1]
    tokens, _ = choose(torch.zeros(len(uniforms), vocabulary), uniforms, 1.0, 0.99)
    assert len(set(tokens.tolist())) == pytest.approx(0.99 * vocabulary, abs=2)


def test_an_answer_ends_where_its_room_does() -> None:
    drawn = decoder(model_of("llama"), ends=[]).draw(PROMPTS[:3], 2, [1, 5, 99], seed=0)
    assert [[len(a.ids) for a in answers] for answers in drawn] == [[1, 1], [5, 5], [16, 16]]


def test_a_compiled_step_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step as a graph; which code is made of it is the compiler's matter, and slow to make on a CPU."""
    compile_as_is = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **how: compile_as_is(f, backend="eager", **how))
    model = model_of("qwen2")
    plain = decoder(model).draw(PROMPTS, 2, rooms(), seed=0)
    compiled = decoder(model, compiled=True, every=4).draw(PROMPTS, 2, rooms(), seed=0)
    assert [[a.ids for a in x] for x in plain] == [[a.ids for a in x] for x in compiled]


def test_half_precision_and_adapters() -> None:
    from peft import LoraConfig, get_peft_model

    model = model_of("qwen2").to(torch.bfloat16)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    assert all(len(a.ids) for x in decoder(adapted).draw(PROMPTS, 2, rooms(), seed=0) for a in x)


def test_layers_that_see_a_window_only_are_left_to_transformers() -> None:
    window = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 0}
    assert not agrees(model_of("qwen2", **window), SHAPE["vocab_size"])


def test_the_batch_that_fits() -> None:
    model = model_of("qwen2")
    assert cache_bytes(model) == 2 * 2 * 2 * 8 * 4
    # Qwen2.5-Coder-7B: 28 layers, 4 key-value heads of 128, bfloat16: 56 KiB a token.
    token = 2 * 28 * 4 * 128 * 2
    assert fitting_batch((100 << 30, "cuda"), token, 2048, 152_064) == 512
    assert fitting_batch((10 << 30, "cuda"), token, 2048, 152_064) == 64
    assert fitting_batch((1 << 20, "cuda"), token, 2048, 152_064) == 1
    assert fitting_batch((100 << 30, "cpu"), 100, 100, 768) == 256
