"""Prompts as chat messages and what answers them, built in this one place for fine-tuning, sampling and benchmark."""

from stages.common.thinking import END_THINK, THINK, drop_thinking
from stages.settings.prompts import PromptSettings


def messages(prompt: str, language: str, settings: PromptSettings) -> list[dict[str, str]]:
    """The conversation that asks for a solution: an optional system message, then the task's prompt."""
    system = settings.system.get(language, settings.system.get("default"))
    asked = [{"role": "user", "content": prompt}]
    return [{"role": "system", "content": system}, *asked] if system else asked


def demonstration(reference: str, reasoning: str | None, settings: PromptSettings) -> str:
    """The answer that a published solution makes: with the thoughts that came with it, where they are kept."""
    thoughts = (reasoning or "").strip()
    if settings.reasoning == "drop" or not thoughts:
        return reference
    return f"{THINK}\n{thoughts}\n{END_THINK}\n\n{reference}"


def trained_answer(completion: str, settings: PromptSettings) -> str:
    """A sampled completion as it is trained on: thoughts, and the blank lines behind them, go unless they are kept.

    Thoughts are what code extraction takes for thoughts, so that what is left holds the program that was judged. Of a
    completion that its thoughts fill, "" is left.
    """
    answer = completion if settings.reasoning == "keep" else drop_thinking(completion)
    return completion if answer == completion else answer.lstrip("\r\n")


def continuation(asked: str, answer: str) -> str:
    """What follows the generation prompt `asked` so that no thought is opened twice or left open.

    Where the template ends the prompt inside a thought, an answer's own `<think>` goes, a sample that went on from
    there stays, and before an answer without thoughts the empty thought is closed. Where the template ends it behind
    a closed thought, which says not to think, the answer's leading thought goes.
    """
    if asked.rstrip().endswith(THINK):
        line = "" if asked.endswith("\n") else "\n"
        if answer.lstrip().startswith(THINK):
            return line + answer.lstrip().removeprefix(THINK).removeprefix("\n")
        thought, closed, _ = answer.partition(END_THINK)
        return answer if closed and THINK not in thought else f"{line}\n{END_THINK}\n\n{answer}"
    if asked.rstrip().endswith(END_THINK) and answer.lstrip().startswith(THINK):
        _, closed, rest = answer.partition(END_THINK)
        return rest.lstrip("\r\n") if closed else answer
    return answer
