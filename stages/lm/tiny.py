"""A tiny base model built from scratch: byte-level BPE tokenizer, Qwen2 decoder, pretraining on raw text.

It is saved in the ordinary Hugging Face layout, so that everything after it treats it as any other model.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from stages.common.errors import HaloForgeError
from stages.common.outputs import work_directory
from stages.lm import load
from stages.lm.chat import text_row
from stages.lm.training import TrainResult, finished, train
from stages.settings.model import TinySettings

PAD, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_tokenizer(texts: Sequence[str], vocabulary: int) -> Qwen2Tokenizer:
    """Train a byte-level BPE tokenizer by Qwen2's rules, under which every digit is a token of its own.

    transformers chooses a tokenizer's class by the model's type, so a Qwen2 model needs one of that class.
    """
    untrained = Qwen2Tokenizer(unk_token=END, eos_token=END, pad_token=PAD, vocab={END: 0})
    tokenizer = untrained.train_new_from_iterator(
        texts, vocabulary, new_special_tokens=[SYSTEM, USER, ASSISTANT], show_progress=False
    )
    tokenizer.padding_side = "left"
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(settings: TinySettings, tokenizer: Qwen2Tokenizer, seed: int) -> Qwen2ForCausalLM:
    """A Qwen2 decoder with random weights, fp32, tied embeddings."""
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            num_key_value_heads=settings.kv_heads,
            intermediate_size=settings.intermediate,
            max_position_embeddings=settings.positions,
            initializer_range=settings.initializer_range,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build(settings: TinySettings, texts: Sequence[str], seed: int, out: Path) -> TrainResult:
    """Build tokenizer and model, pretrain on `texts`, save to `out`; returns the run's metrics.

    Raises HaloForgeError if the saved tokenizer, loaded as users load it, gives other ids: transformers chooses a
    class by the model's type, and another pre-tokenizer would keep the text but break what was learned.
    """
    work = work_directory(out)
    tokenizer = build_tokenizer(texts, settings.vocabulary)
    model = build_model(settings, tokenizer, seed)
    rows = [text_row(tokenizer, text) for text in texts]
    origin = settings.model_dump(exclude={"train"})
    result = train(model, tokenizer, rows, settings.train, seed=seed, work=work, label="base", origin=origin)
    load.save(out, result.model, tokenizer)
    _expect_same_ids(tokenizer, out, texts[:200])
    finished(work)
    return result


def _expect_same_ids(tokenizer: Qwen2Tokenizer, saved: Path, texts: Sequence[str]) -> None:
    loaded = AutoTokenizer.from_pretrained(saved)
    for text in texts:
        if loaded(text)["input_ids"] != tokenizer(text)["input_ids"]:
            raise HaloForgeError(
                f"{saved}: the tokenizer, loaded as {type(loaded).__name__}, gives other ids than saved"
            )
