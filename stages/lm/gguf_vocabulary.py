"""A tokenizer as GGUF metadata: tokens, merges, pre-tokenizer, special tokens, chat template.

llama.cpp splits a text by rules compiled into it, which a file only names, so a tokenizer is written where its rules
are known to be those, and refused otherwise. One thing differs: llama.cpp does not bring text into Unicode's form NFC,
as Qwen2's tokenizer does, so text in another form has other tokens there.
"""

import json
from typing import Any

from gguf import GGUFWriter, TokenType
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from stages.lm.chat import end_ids

# Split pattern: the name that llama.cpp has for it (llama_vocab's regex_exprs).
PRE_TOKENIZERS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)"
    r"|\s+": "qwen2",
}
PLAIN = {"dropout": None, "unk_token": None, "byte_fallback": False, "ignore_merges": False}
EMPTY = ("continuing_subword_prefix", "end_of_word_suffix")
STRICT = ("single_word", "lstrip", "rstrip")  # ways to match an added token that llama.cpp has not


def unwritable(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Why llama.cpp would not give the tokenizer's ids; None where it would."""
    if not tokenizer.is_fast:
        return f"the tokenizer {type(tokenizer).__name__} has no fast form"
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    model, normalizer = parts["model"], parts["normalizer"] or {"type": "none"}
    plain = model["type"] == "BPE" and all(model.get(k) == v for k, v in PLAIN.items())
    odd = [token["content"] for token in parts["added_tokens"] if any(token[key] for key in STRICT)]
    wrong = {
        "the tokenizer is no plain byte-level BPE": not plain or any(map(model.get, EMPTY)),
        f"the tokenizer normalises text ({normalizer['type']})": normalizer["type"] not in ("none", "NFC"),
        "the tokenizer splits text by other rules than Qwen2's": _pre_tokenizer(parts["pre_tokenizer"]) is None,
        "the tokenizer puts special tokens around texts": len(tokenizer("x").input_ids) > len(tokenizer.tokenize("x")),
        f"the tokenizer's {odd[:1]} takes blanks, or whole words only": bool(odd),
        "the tokenizer has no chat template, or several": not isinstance(tokenizer.chat_template, str),
    }
    return next((reason for reason, found in wrong.items() if found), None)


def _pre_tokenizer(parts: dict[str, Any] | None) -> str | None:
    """llama.cpp's name for a pre-tokenizer: a split by a known pattern, then bytes; None for any other."""
    steps = (parts or {}).get("pretokenizers", [])
    if [step["type"] for step in steps] != ["Split", "ByteLevel"]:
        return None
    split, byte_level = steps
    plain = split["behavior"] == "Isolated" and not split["invert"]
    plain = plain and not byte_level["add_prefix_space"] and not byte_level["use_regex"]
    return PRE_TOKENIZERS.get(split["pattern"].get("Regex")) if plain else None


def add_vocabulary(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, rows: int) -> None:
    """Write the tokenizer of a model whose embedding has `rows` rows; those without a token are marked unused.

    A token is of type CONTROL where it is special and USER_DEFINED where it is added otherwise: both are recognised in
    a text before it is split. The end token of turns is written beside that of texts where the two differ.
    """
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens, types = [f"[PAD{n}]" for n in range(rows)], [TokenType.UNUSED] * rows
    for token, number in parts["model"]["vocab"].items():
        tokens[number], types[number] = token, TokenType.NORMAL
    for added in parts["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], kind
    writer.add_tokenizer_model("gpt2")  # llama.cpp's name for byte-level BPE
    writer.add_tokenizer_pre(_pre_tokenizer(parts["pre_tokenizer"]))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in parts["model"]["merges"]])
    writer.add_add_bos_token(False)
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else config.bos_token_id
    if isinstance(bos, int):
        writer.add_bos_token_id(bos)
    end, *turn = end_ids(tokenizer)
    writer.add_eos_token_id(end)
    if turn:
        writer.add_eot_token_id(turn[0])
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
