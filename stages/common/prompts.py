"""Prompts as chat messages, built in this one place for fine-tuning, sampling and benchmark alike."""

from stages.settings.prompts import PromptSettings


def messages(prompt: str, language: str, settings: PromptSettings) -> list[dict[str, str]]:
    """The conversation that asks for a solution: an optional system message, then the task's prompt."""
    system = settings.system.get(language, settings.system.get("default"))
    asked = [{"role": "user", "content": prompt}]
    return [{"role": "system", "content": system}, *asked] if system else asked
