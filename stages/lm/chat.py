"""From messages to token ids by the tokenizer's own chat template: the same ids in training and in sampling."""

from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from stages.common.errors import InputError
from stages.common.prompts import continuation, messages
from stages.common.records import Example
from stages.settings.prompts import PromptSettings

IGNORED = -100  # the label that the loss leaves out (torch.nn.CrossEntropyLoss)


def prompt_text(tokenizer: PreTrainedTokenizerBase, prompt: str, language: str, settings: PromptSettings) -> str:
    """A prompt as the model reads it, up to and with the template's generation prompt.

    Raises InputError where the template refuses it, as some do a system message.
    """
    asked = messages(prompt, language, settings)
    try:
        return tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    except (TemplateError, ValueError) as error:
        roles = ", ".join(message["role"] for message in asked)
        raise InputError(
            f"{tokenizer.name_or_path}: the chat template refuses the messages {roles}: {error}"
            + ("; leave prompts.system empty" if len(asked) > 1 else "")
        ) from None


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, language: str, settings: PromptSettings) -> list[int]:
    """Token ids of a prompt, up to and with the template's generation prompt."""
    return _ids(tokenizer, prompt_text(tokenizer, prompt, language, settings))


def end_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer: `eos`, which training appends, and the one with which the template ends turns.

    They differ in Qwen's base models (<|endoftext|> and <|im_end|>), which stop with either before any training.
    """
    turn = turn_end(tokenizer)
    return [tokenizer.eos_token_id] + ([turn] if turn not in (None, tokenizer.eos_token_id) else [])


def turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The added token that the template puts behind an answer; None where it puts plain text or nothing there."""
    mark = "ANSWER"
    turns = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": mark}]
    try:
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=False, tokenize=False)
    except (TemplateError, ValueError):
        return None
    _, found, behind = text.rpartition(mark)
    if not found or not behind.strip():
        return None
    first = _ids(tokenizer, behind.strip())[0]
    return first if first in tokenizer.added_tokens_decoder else None


def training_row(
    tokenizer: PreTrainedTokenizerBase, prompt: str, language: str, completion: str, settings: PromptSettings
) -> dict[str, Any]:
    """`input_ids` and `labels` of one example; the loss falls on the completion and its end token only."""
    text = prompt_text(tokenizer, prompt, language, settings)
    asked = _ids(tokenizer, text)
    answer = [*_ids(tokenizer, continuation(text, completion)), tokenizer.eos_token_id]
    return {"input_ids": asked + answer, "labels": [IGNORED] * len(asked) + answer}


def example_row(tokenizer: PreTrainedTokenizerBase, example: Example, settings: PromptSettings) -> dict[str, Any]:
    """`training_row` of an example, with the `task_id` by which a training names it."""
    row = training_row(tokenizer, example.prompt, example.language, example.completion, settings)
    return {**row, "task_id": example.task_id}


def text_row(tokenizer: PreTrainedTokenizerBase, text: str) -> dict[str, Any]:
    """`input_ids` and `labels` of raw text; the loss falls on every token."""
    ids = [*_ids(tokenizer, text), tokenizer.eos_token_id]
    return {"input_ids": ids, "labels": list(ids)}


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a text in which the template has written the special tokens; adding them would double the first one."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]
