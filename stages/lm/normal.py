"""A base model's tokenizer made fit for training, once, where `models/base` is written (docs/PROMPTS.md).

After it every checkpoint has a chat template, an end token, a padding token that is another, and a tokenizer.json.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from stages.common.errors import HaloForgeError, InputError
from stages.common.json_reader import read_map
from stages.lm import load
from stages.lm.chat import end_ids, turn_end

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
    "{% else %}{{ '### Response:\n' + message['content'] + eos_token + '\n\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)
# Opens a default template where the tokenizer itself opens texts so: prompts are encoded without special tokens.
BOS = "{{ bos_token }}"

# Tokens that models have for padding, or have and never use, the best first.
PADS = (
    "<|fim_pad|>",
    "<|pad|>",
    "<pad>",
    "[PAD]",
    "<PAD>",
    "<|padding|>",
    "<|finetune_right_pad_id|>",
    "<|vision_pad|>",
    "<|reserved_special_token_0|>",
    "<unused0>",
    "<unk>",
)
NEW_PAD = "<|pad|>"
PROBE = "def f(xs):\n\treturn [x + 1 for x in xs]  # 0.5 \u00fc\n"


def normalise(directory: Path, rows: int) -> list[str]:
    """Mend the tokenizer of the checkpoint in `directory`, whose embedding has `rows` rows; a line for each change.

    What is fit stays as it is, file for file. Raises InputError for a tokenizer without end token or without a fast
    form, and for an adapter whose embedding would have to grow.
    """
    tokenizer = load.raw_tokenizer(directory)
    if not tokenizer.is_fast:
        raise InputError(f"{directory}: the tokenizer {type(tokenizer).__name__} has no tokenizer.json and makes none")
    before = tokenizer(PROBE)["input_ids"]
    changes = [*_mend_template(tokenizer), *_mend_end(tokenizer, directory), *_mend_pad(tokenizer, rows)]
    if not (directory / "tokenizer.json").is_file():
        changes.append("tokenizer.json: written from the files that the tokenizer came in")
    if changes:
        _save(tokenizer, directory)
        if load.raw_tokenizer(directory)(PROBE)["input_ids"] != before:
            raise HaloForgeError(f"{directory}: the tokenizer, saved and loaded again, gives other ids")
    needed = max(tokenizer.get_vocab().values()) + 1
    if needed > rows:
        _resize(directory, needed)
        changes.append(f"embedding: {rows} rows made {needed}, each new one the mean of the others")
    return changes


def _mend_template(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    if tokenizer.chat_template is not None:
        return []
    chat = {"<|im_start|>", "<|im_end|>"} <= tokenizer.get_vocab().keys()
    opening = BOS if tokenizer.bos_token_id in tokenizer("x")["input_ids"][:1] else ""
    tokenizer.chat_template = opening + (CHATML if chat else PLAIN)
    return [f"chat template: none, so the {'ChatML' if chat else 'plain'} one of docs/PROMPTS.md"]


def _mend_end(tokenizer: PreTrainedTokenizerBase, directory: Path) -> list[str]:
    """Make the template's turn end the end token where the model's own configuration says that it stops there."""
    turn, before = turn_end(tokenizer), tokenizer.eos_token
    ends = _configured_ends(directory)
    if turn is not None and turn in ends:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(turn)
    elif before is None:
        if not ends:
            raise InputError(f"{directory}: neither tokenizer nor configuration names an end token (eos)")
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends[0])
    return [] if tokenizer.eos_token == before else [f"eos: {before} made {tokenizer.eos_token}"]


def _configured_ends(directory: Path) -> list[int]:
    """What the checkpoint's configuration names as end tokens."""
    ends: list[int] = []
    for name in ("generation_config.json", "config.json"):
        if (directory / name).is_file():
            value = read_map(directory / name, foreign=True).get("eos_token_id")
            ends += [value] if isinstance(value, int) else value or []
    return ends


def _mend_pad(tokenizer: PreTrainedTokenizerBase, rows: int) -> list[str]:
    """Give the tokenizer a padding token unlike its end token: one that has a row in the embedding, else a new one."""
    before = tokenizer.pad_token
    if before is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return []
    vocabulary = tokenizer.get_vocab()
    taken = {*end_ids(tokenizer), tokenizer.bos_token_id}
    free = [token for token in PADS if vocabulary.get(token, rows) < rows and vocabulary[token] not in taken]
    if free:
        tokenizer.pad_token = free[0]
    else:
        tokenizer.add_special_tokens({"pad_token": NEW_PAD})
    why = "none" if before is None else f"{before}, which is eos"
    return [f"pad: {why}, so {tokenizer.pad_token} ({'of the vocabulary' if free else 'a new token'})"]


def _save(tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    tokenizer.save_pretrained(directory)
    # Older forms of what tokenizer.json and tokenizer_config.json say: loading prefers these, and they are out of date.
    for name in ("special_tokens_map.json", "added_tokens.json"):
        (directory / name).unlink(missing_ok=True)


def _resize(directory: Path, rows: int) -> None:
    """Give the embedding `rows` rows, in the weights' own type. A new row is the mean of the others: it is no likelier
    to be drawn than an average token, where zeros could be likelier than all."""
    if (directory / "adapter_config.json").is_file():
        raise InputError(f"{directory}: an adapter, to whose base model a padding token would have to be added first")
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype="auto", use_safetensors=True)
    before = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            for values in (getattr(layer, "weight", None), getattr(layer, "bias", None)):
                if values is not None:
                    values[before:] = values[:before].float().mean(0).to(values.dtype)
    for file in (*directory.glob("*.safetensors"), *directory.glob("*.safetensors.index.json")):
        file.unlink()
    model.save_pretrained(directory)
