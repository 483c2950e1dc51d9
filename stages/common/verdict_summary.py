"""Verdicts in figures: a streaming summary whose memory grows with the number of tasks, not of samples."""

import hashlib
from collections import Counter

from stages.common.records import Sample, Verdict

DIGITS = 6
TASK_ERROR = "task_error"  # the level of samples whose task's own tests are broken


class VerdictSummary:
    """Counts verdicts as they come. `ladder` holds the rewards that are listed even where no sample earned them.

    Samples of a task are expected next to each other; a task that comes back counts its distinct completions anew.
    """

    def __init__(self, ladder: tuple[float, ...]) -> None:
        self.samples = 0
        self.passed = 0
        self.distinct = 0
        self._ladder = ladder
        self._counts: Counter[tuple[float, str]] = Counter()
        self._tests = 0.0
        self._reward = 0.0
        self.tally: dict[str, tuple[int, int]] = {}  # (samples, passed) by task
        self._task: str | None = None
        self._seen: set[bytes] = set()

    def add(self, sample: Sample, verdict: Verdict) -> None:
        """Count one sample and its verdict."""
        solved = verdict.reward == 1
        self.samples += 1
        self.passed += solved
        self._counts[float(verdict.reward), verdict.level] += 1
        self._tests += verdict.tests_passed / verdict.tests_total if verdict.tests_total else 0.0
        self._reward += verdict.reward
        samples, passed = self.tally.get(sample.task_id, (0, 0))
        self.tally[sample.task_id] = samples + 1, passed + solved
        if sample.task_id != self._task:
            self._task, self._seen = sample.task_id, set()
        text = sample.completion.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=8).digest()
        self.distinct += digest not in self._seen
        self._seen.add(digest)

    @property
    def task_errors(self) -> int:
        """Samples that nothing can be said of, because their task's tests are broken."""
        return sum(count for (_, level), count in self._counts.items() if level == TASK_ERROR)

    @property
    def pass_rate(self) -> float:
        """Share of samples with reward 1.0, of those whose tests are not broken."""
        judged = self.samples - self.task_errors
        return self.passed / judged if judged else 0.0

    def metrics(self) -> dict[str, float]:
        """A flat map of shares: `tasks_solved` of the tasks that have samples, `pass_rate` of the samples whose tests
        are not broken, `task_errors` (those whose tests are) and the others of all samples."""

        def share(part: float, whole: int) -> float:
            return round(part / whole, DIGITS) if whole else 0.0

        return {
            "pass_rate": round(self.pass_rate, DIGITS),
            "tasks_solved": share(sum(passed > 0 for _, passed in self.tally.values()), len(self.tally)),
            "mean_reward": share(self._reward, self.samples),
            "tests_passed": share(self._tests, self.samples),
            "distinct": share(self.distinct, self.samples),
            "task_errors": share(self.task_errors, self.samples),
        }

    def table(self) -> list[dict[str, float | str | int]]:
        """The histogram: rows of `reward`, `level` and `samples`, rising in reward."""
        counts = dict(self._counts)
        for reward in self._ladder:
            if not any(reward == known for known, _ in counts):
                counts[reward, ""] = 0
        return [{"reward": r, "level": level, "samples": counts[r, level]} for r, level in sorted(counts)]
