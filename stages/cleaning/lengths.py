"""Lengths of tasks in tokens of the base model, by its tokenizer.json alone: no torch, no transformers."""

from pathlib import Path
from typing import NamedTuple

from stages.cleaning.text import writable
from stages.common.errors import InputError
from stages.common.records import Task
from stages.settings.data import LengthSettings


class Length(NamedTuple):
    """Tokens of the prompt, and of the prompt with the reference."""

    prompt: int
    example: int


class Lengths:
    """Counts tokens and tells what is too long. Neither system message nor chat template are counted.

    Raises InputError for a file that is missing or no tokenizer.
    """

    def __init__(self, path: Path, settings: LengthSettings) -> None:
        from tokenizers import Tokenizer

        if not path.is_file():
            raise InputError(f"{path}: no such file; expected the base model's tokenizer.json")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more special
            raise InputError(f"{path}: not a tokenizer: {str(error)[:160]}") from None
        self._settings = settings

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(writable(text), add_special_tokens=False))

    def of(self, task: Task) -> Length:
        """The task's lengths."""
        prompt, example = self._count(task.prompt), 0
        for text in (task.reference, task.reasoning if self._settings.reasoning else None):
            example += self._count(text) if text else 0
        return Length(prompt, prompt + example)

    def excess(self, length: Length) -> str | None:
        """Why a task of this length is not trained on; None where it may be."""
        if self._settings.prompt is not None and length.prompt > self._settings.prompt:
            return "long_prompt"
        if self._settings.example is not None and length.example > self._settings.example:
            return "long_example"
        return None
