"""The reward ladder and the outcomes of judging: the one place that says what each may pay.

| reward | reached                                                        |
|--------|----------------------------------------------------------------|
| 0.0    | does not parse or compile                                      |
| 0.3    | compiles with warnings; Python: parses, but does not import    |
| 0.5    | compiles clean; Python: parses and imports                     |
| 0.7    | runs without a crash                                           |
| 1.0    | every test passes, seen from outside the untrusted process     |

| level                  | meaning                                                    | rewards       |
|------------------------|------------------------------------------------------------|---------------|
| pass                   | every test passed                                          | 1.0           |
| wrong_answer           | ran to its end; a test found a wrong result                | 0.7           |
| runtime_error          | an exception, a crash, a non-zero exit, an early exit      | 0.0, 0.3, 0.5 |
| timeout                | out of CPU or wall time                                    | 0.0, 0.3, 0.5 |
| resource_limit         | out of memory, output, files or processes                  | 0.0, 0.3, 0.5 |
| compile_error          | does not parse or compile, or holds no code                | 0.0           |
| task_error             | the task's own tests are broken: nothing can be said       | 0.3, 0.5      |
| ran                    | no usable tests; ran without a crash                       | 0.7           |
| compiled               | no usable tests, not run; compiles clean                   | 0.5           |
| compiles_with_warnings | no usable tests, not run; compiles with warnings           | 0.3           |

A 0.0 with runtime_error, timeout or resource_limit is a compilation that did not end, or a sample that broke its
sandbox.
"""

import re
from dataclasses import dataclass

BROKEN, WARNINGS, CLEAN, RUNS, SOLVED = 0.0, 0.3, 0.5, 0.7, 1.0
LADDER = (BROKEN, WARNINGS, CLEAN, RUNS, SOLVED)

PASS, WRONG_ANSWER, RUNTIME_ERROR, COMPILE_ERROR = "pass", "wrong_answer", "runtime_error", "compile_error"
TIMEOUT, RESOURCE_LIMIT, TASK_ERROR = "timeout", "resource_limit", "task_error"
RAN, COMPILED, COMPILED_WITH_WARNINGS = "ran", "compiled", "compiles_with_warnings"

_PAYS = {
    PASS: (SOLVED,),
    WRONG_ANSWER: (RUNS,),
    RUNTIME_ERROR: (BROKEN, WARNINGS, CLEAN),
    TIMEOUT: (BROKEN, WARNINGS, CLEAN),
    RESOURCE_LIMIT: (BROKEN, WARNINGS, CLEAN),
    COMPILE_ERROR: (BROKEN,),
    TASK_ERROR: (WARNINGS, CLEAN),
    RAN: (RUNS,),
    COMPILED: (CLEAN,),
    COMPILED_WITH_WARNINGS: (WARNINGS,),
}
LEVELS = tuple(_PAYS)
# Of several failing tests the worst tells the level.
SEVERITY = (WRONG_ANSWER, RUNTIME_ERROR, RESOURCE_LIMIT, TIMEOUT)
DETAIL_LENGTH = 200  # characters


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict before it is put on a sample. ValueError for a reward that its level may not carry."""

    reward: float
    level: str
    detail: str = ""
    tests_passed: int = 0
    tests_total: int = 0

    def __post_init__(self) -> None:
        if self.level not in _PAYS or self.reward not in _PAYS[self.level]:
            raise ValueError(f"level {self.level!r} does not pay {self.reward}")
        if (self.level == PASS) != (0 < self.tests_total == self.tests_passed):
            raise ValueError(f"level {self.level!r} with {self.tests_passed} of {self.tests_total} tests passed")
        object.__setattr__(self, "detail", tidy(self.detail))


_NOISE = (
    (re.compile(r"0x[0-9a-fA-F]{4,}"), "0x..."),
    (re.compile(r"/(?:tmp|forge|root|home|usr|proc|dev|var|opt)/[\w./+-]*/"), ""),
    (re.compile(r"/tmp/"), ""),
    (re.compile(r"[^\x20-\x7e\u00a1-\ud7ff\ue000-\U0010ffff]+"), " "),
    (re.compile(r" {2,}"), " "),
)


def tidy(text: str) -> str:
    """One line without addresses, folders or control characters, at most 200 characters long."""
    text = text[: 20 * DETAIL_LENGTH]
    for noise, replacement in _NOISE:
        text = noise.sub(replacement, text)
    text = text.strip()
    return text if len(text) <= DETAIL_LENGTH else text[: DETAIL_LENGTH - 3] + "..."


def same_output(found: str, expected: str) -> bool:
    """As judges compare: CRLF is LF; white space at line ends and blank lines at the end do not count."""
    return lines_of(found) == lines_of(expected)


def lines_of(text: str) -> list[str]:
    """The lines of an output, without what does not count."""
    lines = [line.rstrip(" \t\r\f\v") for line in text.replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
