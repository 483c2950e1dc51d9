"""Decoding a model of Qwen2.5-Coder's shape with random weights, beside what the memory's bandwidth allows."""

import random
import time
from collections.abc import Sequence
from typing import Any

import torch
from rich.table import Table
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.library import plain_generate
from stages.lm import devices
from stages.lm.capacity import cache_bytes, fitting_batch, free_memory
from stages.lm.decoding import Decoder, Drawn
from stages.lm.measuring import bandwidth, wait
from stages.lm.rows import NAME

SHAPES = {  # hidden, layers, heads, key-value heads, intermediate, vocabulary: the models' config.json
    "tiny": (64, 2, 4, 2, 128, 512),
    "0.5B": (896, 24, 14, 2, 4864, 151_936),
    "1.5B": (1536, 28, 12, 2, 8960, 151_936),
}
PROMPTS, SAMPLES, PROMPT_TOKENS, NEW_TOKENS = 512, 8, (64, 512), 512
STOPPING = 256  # answers have so many tokens in the mean, as far as the limit lets them


def shapes() -> Sequence[str]:
    """The sizes that can be measured."""
    return list(SHAPES)


def build(name: str) -> Any:
    """A model of that shape with random weights on the device, in bfloat16 on an accelerator."""
    hidden, layers, heads, kv_heads, intermediate, vocabulary = SHAPES[name]
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=intermediate,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
    )
    device = devices.device()
    torch.manual_seed(0)
    with device:
        model = Qwen2ForCausalLM(config)
    return model.to(torch.bfloat16 if device.type == "cuda" else torch.float32).eval()


def bytes_moved(weights: int, steps: int, token: int, prompts: Sequence[int], drawn: Sequence[Sequence[Drawn]]) -> int:
    """Bytes that decoding must read: the weights once a step, and for each drawn token the keys and values, of `token`
    bytes each, of all that came before it."""
    cached = sum(
        length * len(answer.ids) + len(answer.ids) * (len(answer.ids) - 1) // 2
        for length, answers in zip(prompts, drawn, strict=True)
        for answer in answers
    )
    return weights * steps + token * cached


def measure_shape(name: str, prompts: int = PROMPTS, samples: int = SAMPLES, new_tokens: int = NEW_TOKENS) -> Table:
    """Tokens per second of the loop of ours and of `generate` with batch 8 padded (a part of the prompts), and the
    share of the roofline: the time that moving the bytes takes at the measured bandwidth, over the time it took."""
    model = build(name)
    vocabulary = model.config.vocab_size
    draw = random.Random(0)
    asked = [[draw.randrange(vocabulary) for _ in range(draw.randint(*PROMPT_TOKENS))] for _ in range(prompts)]
    ends = draw.sample(range(vocabulary), max(1, vocabulary // STOPPING))  # random weights stop at random
    padded = _padded(model, asked[: max(8, prompts // 16)], new_tokens, ends)
    cuda = devices.device().type == "cuda"
    batch = fitting_batch(free_memory(), cache_bytes(model), PROMPT_TOKENS[1] + new_tokens, vocabulary)
    model.set_attn_implementation(NAME)
    decoder = Decoder(model, [], 1.0, 0.95, new_tokens, batch, every=8 if cuda else 1, compiled=cuda)
    for prompt in (max(asked, key=len), min(asked, key=len)):  # every width is compiled before the clock starts
        decoder.draw([prompt], 1, [new_tokens if cuda else 1], 0)
    decoder.ends, decoder.steps = ends, 0
    began = time.perf_counter()
    drawn = decoder.draw(asked, samples, [new_tokens] * prompts, 0)
    wait()
    seconds = time.perf_counter() - began
    tokens = sum(len(answer.ids) for answers in drawn for answer in answers)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    moved = bytes_moved(weights, decoder.steps, cache_bytes(model), [len(p) for p in asked], drawn)
    rate, device = bandwidth(), torch.cuda.get_device_name() if cuda else "CPU"
    table = Table(
        "", "tokens/s", "ratio", "of the roofline", title=f"{name} on {device}: {prompts} prompts x {samples}"
    )
    table.add_row("generate, batch 8, padded", f"{padded:,.0f}", "1.00", "")
    share = moved / rate / seconds
    table.add_row(
        f"loop of ours, batch {batch}", f"{tokens / seconds:,.0f}", f"{tokens / seconds / padded:.2f}", f"{share:.0%}"
    )
    return table


def _padded(model: Any, prompts: list[list[int]], new_tokens: int, ends: list[int]) -> float:
    """Tokens per second of `generate` with 8 prompts at a time, padded on the left."""
    began, tokens = time.perf_counter(), 0
    for start in range(0, len(prompts), 8):
        rows = plain_generate(model, prompts[start : start + 8], 1, new_tokens, ends, 0, temperature=1.0, top_p=0.95)
        tokens += sum(map(len, rows))
    wait()
    return tokens / (time.perf_counter() - began)
