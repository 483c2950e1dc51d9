"""What became of a source's rows: counts by split, by reason, by length, language and difficulty."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from stages.cleaning.lengths import Length
from stages.cleaning.text import writable
from stages.common.records import Task

NAMED = 100  # dropped tasks of one reason that are named one by one; languages, and difficulties, likewise
SPLITS = ("train", "validation", "benchmark")


@dataclass
class Report:
    """Filled in as rows go by."""

    rows: int = 0
    verified: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    demonstrations: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    languages: Counter[str] = field(default_factory=Counter)
    difficulties: Counter[str] = field(default_factory=Counter)
    prompts: Counter[int] = field(default_factory=Counter)
    examples: Counter[int] = field(default_factory=Counter)

    def drop(self, reason: str, name: str) -> None:
        """Count a row that is left out."""
        self.dropped[reason] += 1
        if len(self.named[reason]) < NAMED:
            self.named[reason].append(writable(name))

    def keep(self, split: str, task: Task, length: Length | None) -> None:
        """Count a task that is written."""
        self.kept[split] += 1
        self.demonstrations += split == "train" and task.reference is not None
        _count(self.languages, task.language)
        if difficulty := task.meta.get("difficulty", task.meta.get("level")):
            _count(self.difficulties, str(difficulty))
        if length is not None:
            self.prompts[_bin(length.prompt)] += 1
            self.examples[_bin(length.example)] += 1

    def metrics(self, used: bool) -> dict[str, Any]:
        """The file's content. Histograms count tasks by the power of two that their tokens do not exceed."""
        found: dict[str, Any] = {"used": used, "rows": self.rows, **{split: self.kept[split] for split in SPLITS}}
        found |= {"demonstrations": self.demonstrations, "verified": self.verified}
        found["dropped"] = self.dropped.total()
        # Rows that were read ahead before `size` was reached.
        found["unused"] = self.rows - self.kept.total() - self.dropped.total()
        for reason in sorted(self.dropped):
            found[f"dropped_{reason}"] = self.dropped[reason]
            found[f"dropped_{reason}_ids"] = self.named[reason]
        found["languages"] = _sorted(self.languages)
        found["difficulties"] = _sorted(self.difficulties)
        found["prompt_tokens"] = {str(limit): self.prompts[limit] for limit in sorted(self.prompts)}
        found["example_tokens"] = {str(limit): self.examples[limit] for limit in sorted(self.examples)}
        return found


def _count(counts: Counter[str], name: str) -> None:
    """A name that a user's file makes up for each task must not make the report grow with it."""
    name = writable(name)
    counts[name if name in counts or len(counts) < NAMED else "other"] += 1


def _bin(tokens: int) -> int:
    return 1 << max(tokens - 1, 0).bit_length()


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts)}
