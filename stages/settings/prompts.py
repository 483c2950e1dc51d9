"""Settings of prompts: the system message by language."""

from pydantic import Field

from stages.common.params import Settings


class PromptSettings(Settings):
    """What precedes the task's prompt. The same for fine-tuning, sampling and benchmark."""

    system: dict[str, str] = Field(
        default={}, description="System message by language; the key `default` serves the others. None if absent."
    )
