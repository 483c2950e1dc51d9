"""Settings of prompts: the system message by language, and what becomes of thoughts."""

from typing import Literal

from pydantic import Field

from stages.common.params import Settings


class PromptSettings(Settings):
    """What precedes the task's prompt, the same for fine-tuning, sampling and benchmark; and what follows it in
    fine-tuning."""

    system: dict[str, str] = Field(
        default={}, description="System message by language; the key `default` serves the others. None if absent."
    )
    reasoning: Literal["keep", "drop"] = Field(
        "drop", description="Thoughts (<think>...</think>) in what is trained on. Sampling prompts do not depend on it."
    )
