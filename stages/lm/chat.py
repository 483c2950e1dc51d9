"""From messages to token ids by the tokenizer's own chat template: the same ids in training and in sampling."""

from typing import Any

from transformers import PreTrainedTokenizerBase

from stages.common.prompts import messages
from stages.settings.prompts import PromptSettings

IGNORED = -100  # the label that the loss leaves out (torch.nn.CrossEntropyLoss)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, language: str, settings: PromptSettings) -> list[int]:
    """Token ids of a prompt, up to and with the template's generation prompt."""
    text = tokenizer.apply_chat_template(
        messages(prompt, language, settings), add_generation_prompt=True, tokenize=False
    )
    # The template has written the special tokens; adding them again would double the first one.
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def training_row(
    tokenizer: PreTrainedTokenizerBase, prompt: str, language: str, completion: str, settings: PromptSettings
) -> dict[str, Any]:
    """`input_ids` and `labels` of one example; the loss falls on the completion and its end token only."""
    asked = prompt_ids(tokenizer, prompt, language, settings)
    answer = tokenizer(completion, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return {"input_ids": asked + answer, "labels": [IGNORED] * len(asked) + answer}


def text_row(tokenizer: PreTrainedTokenizerBase, text: str) -> dict[str, Any]:
    """`input_ids` and `labels` of raw text; the loss falls on every token."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return {"input_ids": ids, "labels": list(ids)}
