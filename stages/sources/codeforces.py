"""open-r1/codeforces-cots (CC-BY-4.0): problems of Codeforces with programs that DeepSeek-R1 wrote, each a task.

The rows' examples are the cases that judge; many problems have more than one program.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from stages.common.records import Task
from stages.common.thinking import END_THINK, THINK
from stages.extraction.code import choose_program
from stages.settings.sources import CodeforcesSettings
from stages.sources import Row
from stages.sources.codeforces_judging import accepts_any, comparison
from stages.sources.hub import rows as hub_rows
from stages.sources.split import split_of

DATASET = "open-r1/codeforces-cots"
# Without these columns it is another data set; without the others a row just says less.
NEEDED = ("id", "description", "generation")
OPTIONAL = ("title", "input_format", "output_format", "examples", "note", "index", "time_limit", "memory_limit")
OPTIONAL += ("finish_reason", "interaction_format", "contest_start_year")


class Language(NamedTuple):
    """How the programs of one config are asked for and judged."""

    config: str
    language: str
    verifier: str
    ask: str


def load(source: str, how: Language, settings: CodeforcesSettings, hub: str | None) -> Iterator[Row]:
    """The rows of one config."""
    per_problem: Counter[str] = Counter()
    table = hub_rows(DATASET, how.config, "train", dict.fromkeys(NEEDED), settings.revision, hub, OPTIONAL)
    for number, row in enumerate(table):
        problem = row["id"]
        name = f"{source}/{problem if isinstance(problem, str) else None}/row-{number}"
        if reason := lacks(row, settings):
            yield Row("train", None, reason, name)
            continue
        split = split_of(problem, settings.validation, settings.benchmark)
        made = task(row, name, source, how)
        if made is not None and settings.per_problem is not None:
            per_problem[problem] += 1
            if per_problem[problem] > settings.per_problem:
                yield Row(split, None, "enough_of_the_problem", name)
                continue
        yield Row(split, made, "" if made else "no_program", name)


def lacks(row: dict, settings: CodeforcesSettings) -> str | None:
    """What the row lacks that a task needs; the first of several."""
    if not all(isinstance(row[column], str) and row[column].strip() for column in ("id", "description")):
        return "no_statement"
    found = {
        "no_program": not isinstance(row["generation"], str) or not row["generation"].strip(),
        "unfinished": row["finish_reason"] == "length",
        "interactive": bool(text(row["interaction_format"])),
        "no_examples": not cases(row["examples"]) and not settings.keep_unverified,
        "any_answer": accepts_any(*rules(row)),
    }
    return next((reason for reason, lacking in found.items() if lacking), None)


def rules(row: dict) -> tuple[str, str, str]:
    """Where a row says what counts as right: description, output format, note."""
    return text(row["description"]), text(row["output_format"]), text(row["note"])


def text(value: Any) -> str:
    """A text without white space around it; "" for what is none."""
    return value.replace("\r\n", "\n").strip() if isinstance(value, str) else ""


def cases(examples: Any) -> list[dict[str, str]]:
    """The examples as cases; those that lack input or output are left out. A program may need no input."""
    pairs = [e for e in examples or [] if isinstance(e, dict)] if isinstance(examples, list) else []
    pairs = [(e.get("input"), e.get("output")) for e in pairs]
    return [{"stdin": i, "stdout": o} for i, o in pairs if isinstance(i, str) and isinstance(o, str) and o.strip()]


def program(generation: str, language: str) -> str | None:
    """The program of an answer: the last fenced block that is one."""
    return choose_program(generation, language)


def reasoning(generation: str) -> str | None:
    """What the answer thought before it spoke."""
    before, end, _ = generation.partition(END_THINK)
    # The prompt may have opened the thought already.
    return before.partition(THINK)[2 if THINK in before else 0].strip() or None if end else None


def prompt(row: dict, how: Language) -> str:
    """The problem's statement with formats and examples."""
    parts = [how.ask]
    if title := text(row["title"]):
        parts.append(f"# {title}")
    if limits := ", ".join(
        f"{what} limit: {value:g} {unit}"
        for what, value, unit in (("Time", row["time_limit"], "s"), ("Memory", row["memory_limit"], "MB"))
        if isinstance(value, int | float)
    ):
        parts.append(limits)
    parts.append(text(row["description"]))
    for heading, column in (("Input", "input_format"), ("Output", "output_format")):
        if said := text(row[column]):
            parts.append(f"## {heading}\n{said}")
    if shown := cases(row["examples"]):
        blocks = (f"Input:\n```\n{text(c['stdin'])}\n```\nOutput:\n```\n{text(c['stdout'])}\n```" for c in shown)
        parts.append("## Examples\n" + "\n\n".join(blocks))
    if note := text(row["note"]):
        parts.append(f"## Note\n{note}")
    return "\n\n".join(parts) + "\n"


def task(row: dict, name: str, source: str, how: Language) -> Task | None:
    """The task of a row that lacks nothing; None where the answer has no program."""
    code = program(row["generation"], how.language)
    if code is None:
        return None
    said = (text(row[column]) for column in ("description", "input_format", "output_format"))
    meta = {"category": "codeforces", "problem": row["id"], "statement": "\n".join(filter(None, said))}
    if difficulty := text(row["index"]):
        meta["difficulty"] = difficulty
    if isinstance(row["contest_start_year"], int):
        meta["year"] = row["contest_start_year"]
    return Task(
        task_id=name,
        language=how.language,
        prompt=prompt(row, how),
        verifier=how.verifier,
        entry_point=None,
        tests="",
        cases=cases(row["examples"]),
        reference=code,
        reasoning=reasoning(row["generation"]),
        source=source,
        meta=meta,
        compare=comparison(*rules(row)),
    )
