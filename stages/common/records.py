"""The records that stages exchange, as JSON Lines: task, sample, verdict.

Reading is strict where a wrong value would change a reward (a missing, mistyped or duplicate field names file, line
and field) and lenient where it would not: unknown fields are ignored. All readers stream; what they keep in memory
grows with the number of tasks, never with the number of samples.
"""

import difflib
import json
import re
import types
import typing
from collections.abc import Collection, Iterable, Iterator
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from itertools import islice
from keyword import iskeyword
from pathlib import Path
from typing import Any

from stages.common.comparing import EXACT, parse_comparison
from stages.common.errors import InputError
from stages.common.files import replacing
from stages.common.json_reader import decode

MAX_SAMPLES_PER_TASK = 100_000
WIDEST = 1 << 63
SEARCHED = 10_000  # task ids that are compared with a wrong one
CONTEXT = "context"  # finish_reason of samples whose prompt leaves no room in the model's context
_to_json = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Task:
    """A programming task and how its solutions are judged.

    `verifier` is a registry name or `module:Class`. `tests` is test source ("" if none); `cases` are
    {"stdin", "stdout"} pairs ([] if none), compared as `compare` says (common/comparing.py). `reference` is a
    known-good solution where one is published, `reasoning` the thoughts that came with it (what stood between <think>
    and </think>).
    """

    task_id: str
    language: str
    prompt: str
    verifier: str
    entry_point: str | None
    tests: str
    cases: list
    reference: str | None = None
    reasoning: str | None = None
    source: str | None = None
    meta: dict = field(default_factory=dict)
    compare: str | dict = EXACT


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion of a task. `sample` counts from 0 within the task; `tokens` counts generated tokens with the
    end token; `logprob` is the mean log probability of a generated token under the sampling distribution; `step` the
    optimizer steps that the weights had behind them, where training drew the sample itself."""

    task_id: str
    sample: int
    completion: str
    checkpoint: str | None = None
    cycle: str | None = None
    seed: int | None = None
    temperature: float | None = None
    tokens: int | None = None
    finish_reason: str | None = None
    logprob: float | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier found out about one sample. `reward` is in 0..1 (the ladder is in verifiers/verdicts.py);
    `step` is the sample's."""

    task_id: str
    sample: int
    reward: float
    level: str
    detail: str
    tests_passed: int
    tests_total: int
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt's accepted answer, as trained on: which task, which sample of which cycle, and its reward.

    `cycle` is "sft" for a demonstration (a reference solution; `sample` is then 0). An epoch has it `weight` times.
    """

    task_id: str
    sample: int
    cycle: str
    reward: float
    prompt: str
    language: str
    completion: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of a task's samples were accepted when it was last sampled; `depth` is that cycle's place in the chain,
    1 for a child of sft."""

    task_id: str
    cycle: str
    depth: int
    samples: int
    accepted: int


@cache
def _schema(kind: type) -> tuple[tuple[str, tuple[type, ...], bool], ...]:
    """(name, accepted types, required) of every field of a record class."""
    hints = typing.get_type_hints(kind)
    schema = []
    for f in fields(kind):
        hint = hints[f.name]
        accepted = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if float in accepted:
            accepted = (*accepted, int)
        required = f.default is MISSING and f.default_factory is MISSING
        schema.append((f.name, accepted, required))
    return tuple(schema)


@cache
def _defaults(kind: type) -> dict[str, Any]:
    """The values that optional fields have when they are left out."""
    return {f.name: f.default for f in fields(kind) if f.default is not MISSING}


def _names(accepted: tuple[type, ...]) -> str:
    json_names = {str: "string", int: "integer", float: "number", list: "list", dict: "object", type(None): "null"}
    return " or ".join(dict.fromkeys(json_names[t] for t in accepted if not (t is int and float in accepted)))


def parse(kind: type, value: Any, where: str) -> Any:
    """Build a record of class `kind` from decoded JSON; `where` (file:line) opens the message of an InputError."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(value).__name__}")
    arguments = {}
    for name, accepted, required in _schema(kind):
        if name not in value:
            if required:
                raise InputError(f"{where}: field '{name}' is missing")
            continue
        item = value[name]
        # bool is a subclass of int; a JSON true is no number.
        if not isinstance(item, accepted) or (isinstance(item, bool) and bool not in accepted):
            raise InputError(f"{where}: field '{name}': expected {_names(accepted)}, found {json.dumps(item)[:60]}")
        if isinstance(item, int) and not -WIDEST <= item < WIDEST:
            raise InputError(f"{where}: field '{name}': expected a number of 64 bits, found {str(item)[:60]}")
        arguments[name] = item
    record = kind(**arguments)
    _check(record, where)
    return record


def _is_bytes(text: str) -> bool:
    """Whether a program can read or write it; bytes that are no UTF-8 stand as surrogates."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _check(record: Any, where: str) -> None:
    if isinstance(record, Task):
        _check_names(record, where)
        for number, case in enumerate(record.cases):
            pair = isinstance(case, dict) and [case.get("stdin"), case.get("stdout")]
            if not pair or not all(isinstance(text, str) for text in pair):
                raise InputError(f"{where}: field 'cases': item {number}: expected strings 'stdin' and 'stdout'")
            if not all(map(_is_bytes, pair)):
                raise InputError(f"{where}: field 'cases': item {number}: found a lone surrogate, expected text")
        try:
            parse_comparison(record.compare)
        except ValueError as error:
            raise InputError(f"{where}: field 'compare': {error}") from None
    elif isinstance(record, Sample | Verdict):
        if not 0 <= record.sample < MAX_SAMPLES_PER_TASK:
            raise InputError(f"{where}: field 'sample': expected 0..{MAX_SAMPLES_PER_TASK - 1}, found {record.sample}")
        if isinstance(record, Verdict) and not 0 <= record.reward <= 1:
            raise InputError(f"{where}: field 'reward': expected 0..1, found {record.reward}")


def _check_names(task: Task, where: str) -> None:
    if not task.task_id:
        raise InputError(f"{where}: field 'task_id': expected a name, found an empty string")
    for name in ("language", "verifier"):
        if not getattr(task, name).strip():
            raise InputError(f"{where}: field '{name}': expected a name, found {json.dumps(getattr(task, name))[:60]}")
    if task.entry_point is not None and not is_entry_point(task.entry_point, task.language):
        raise InputError(
            f"{where}: field 'entry_point': expected a name such as add or Solution.add, or null; "
            f"found {json.dumps(task.entry_point)[:60]}"
        )


def is_entry_point(name: str, language: str) -> bool:
    """Whether `name` can be called in `language`: an identifier, or several joined by dots (`Solution.add`, or
    `Solution().add` for the method of an instance) or, but in Python, by `::` (`math::add`)."""
    between = r"(?:\(\))?\." if language == "python" else r"(?:\(\))?\.|::"
    parts = re.split(between, name)
    return all(part.isidentifier() and not (language == "python" and iskeyword(part)) for part in parts)


def read(kind: type, path: Path | str, unique: bool = True, known: Collection[str] | None = None) -> Iterator[Any]:
    """Stream the records of class `kind` of a JSON Lines file; blank lines are skipped. `unique` False: the caller
    looks after records that come twice, and no memory is spent on it here. `known`: the ids of the tasks that there
    are.

    Raises InputError, naming file and line, for a missing file, broken JSON, bytes that are not UTF-8, a wrong or
    missing field, a task that is not `known`, and a task, sample or verdict that comes twice.
    """
    seen: dict[str, int] = {}
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    where = f"{path}:{number}"
                    record = parse(kind, _decode(line, where), where)
                    if known is not None and record.task_id not in known:
                        raise _unknown_task(record, known, where)
                    if unique:
                        _refuse_duplicate(record, seen, where)
                    yield record
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: expected a JSON Lines file, found a directory") from None


def _unknown_task(record: Any, known: Collection[str], where: str) -> InputError:
    number = f"sample {record.sample} of " if hasattr(record, "sample") else ""
    near = difflib.get_close_matches(record.task_id, islice(known, SEARCHED), 1)
    hint = f"did you mean '{near[0]}'?" if near else f"expected one of {len(known)} tasks"
    return InputError(f"{where}: {number}task '{record.task_id[:200]}': no such task; {hint}")


def _decode(line: bytes, where: str) -> Any:
    return decode(line, where, "" if line.endswith(b"\n") else " (the last line has no end: truncated?)")


def _refuse_duplicate(record: Any, seen: dict[str, int], where: str) -> None:
    """Keep one bit per sample number and task, so that memory does not grow by an object per sample."""
    if isinstance(record, Example):
        return
    number = 0 if isinstance(record, Task | Rate) else record.sample
    bits = seen.get(record.task_id, 0)
    if bits >> number & 1:
        which = "" if isinstance(record, Task | Rate) else f", sample {number}"
        raise InputError(f"{where}: duplicate task_id '{record.task_id}'{which}")
    seen[record.task_id] = bits | 1 << number


def read_tasks(*paths: Path | str) -> list[Task]:
    """All tasks of one or more files, in order. Raises InputError if there is none, or if an id comes twice."""
    tasks: dict[str, Task] = {}
    for path in paths:
        for task in read(Task, path):
            if task.task_id in tasks:
                raise InputError(f"{path}: duplicate task_id '{task.task_id}', already in an earlier file")
            tasks[task.task_id] = task
    if not tasks:
        raise InputError(f"{', '.join(map(str, paths))}: no tasks; expected at least one")
    return list(tasks.values())


def encode(record: Any) -> str:
    """One JSON line without its end. Optional fields that are unset are left out; a lone surrogate, which UTF-8
    cannot hold, turns the line into ASCII escapes."""
    value = {}
    defaults = _defaults(type(record))
    for name, _, needed in _schema(type(record)):
        item = getattr(record, name)
        if needed or item not in (None, {}, defaults.get(name)):
            value[name] = item
    line = _to_json(value)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(value)
    return line


def write(path: Path | str, records: Iterable[Any]) -> int:
    """Write records as JSON Lines, whole or not at all; returns how many."""
    count = 0
    with replacing(path) as file:
        for record in records:
            file.write(encode(record) + "\n")
            count += 1
    return count
