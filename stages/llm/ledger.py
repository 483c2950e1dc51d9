"""The file of a spec's answers, which is its account book as well: JSON Lines, each appended and synced to the disk.

    {"event": "asked", "key": ..., "try": 1, "index": "category/level/3", "tokens": RESERVED, "cost": RESERVED}
    {"event": "answered", "key": ..., "try": 1, "text": ..., "finish": "stop", "tokens_in": ..., "tokens_out": ..., ...}
    {"event": "failed", "key": ..., "try": 1, "kind": "timeout", "tokens": CHARGED, "cost": CHARGED}

A question is written down, with the most that it can cost, before it is sent. One without an end (the run was killed)
counts as that much, since the server may have answered. So what was spent is never more than what the file says, and
an answer that is in the file is never paid for again.
"""

import fcntl
import json
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from stages.common.errors import HaloForgeError, InputError
from stages.common.json_reader import decode
from stages.common.outputs import expect_file_place, is_stream, open_stream
from stages.settings.generate import CapSettings


@dataclass(frozen=True, slots=True)
class Cost:
    """What something costs: tokens in and out, and money (0 where no price is known)."""

    tokens: int = 0
    money: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens + other.tokens, self.money + other.money)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens - other.tokens, self.money - other.money)


@dataclass(frozen=True, slots=True)
class Answer:
    """A raw answer: its text, why it ended (`stop`, `length`, ...), and what it cost."""

    text: str
    finish: str | None
    tokens_in: int
    tokens_out: int
    money: float = 0.0

    @property
    def cost(self) -> Cost:
        """Tokens and money."""
        return Cost(self.tokens_in + self.tokens_out, self.money)


@dataclass
class _Question:
    """What the file says about one key."""

    tries: int = 0
    answer: Answer | None = None
    failed: Counter[str] = field(default_factory=Counter)
    open: dict[int, Cost] = field(default_factory=dict)
    spent: Cost = Cost()


class CapReached(HaloForgeError):
    """The next question could cost more than is left. `which` is "cost" or "tokens"."""

    def __init__(self, which: str) -> None:
        super().__init__(f"{which} cap")
        self.which = which


class Ledger:
    """The answers in `path`; a context manager that holds the file's lock. Safe for threads.

    InputError where another run holds it or where a line is broken; a last line that a kill has cut is taken off.
    """

    def __init__(self, path: Path, cap: CapSettings) -> None:
        self.path, self.cap = path, cap
        self._stream = is_stream(path)  # a device or a pipe: answers are passed on, and none is there before
        self._questions: dict[str, _Question] = {}
        self._spent = Cost()  # with the reserves of questions without an end
        self._in_flight = 0
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        if self._stream:
            self._file = open_stream(self.path)
            return self
        expect_file_place(self.path)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError:
            os.close(self._file)
            raise InputError(f"{self.path}: in use by another run; wait for its end") from None
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            os.close(self._file)
            self._file = -1  # what a thread that was left behind still writes goes nowhere

    def _read(self) -> None:
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                event = self._decode(line, f"{self.path}:{number}")
                if event is None:
                    break
                self._count(event, f"{self.path}:{number}")
                whole += len(line)
                if not line.endswith(b"\n"):
                    os.write(self._file, b"\n")
                    return
        os.ftruncate(self._file, whole)

    @staticmethod
    def _decode(line: bytes, where: str) -> dict[str, Any] | None:
        """The event of a line; None for the last line if it was cut."""
        try:
            event = decode(line, where)
        except InputError as error:
            if not line.endswith(b"\n"):
                return None
            told = str(error).removeprefix(f"{where}: ")
            raise InputError(f"{where}: not a line of an answers file: {told}; restore it or remove the line") from None
        if not isinstance(event, dict):
            if not line.endswith(b"\n"):
                return None
            raise InputError(f"{where}: not a line of an answers file; restore it or remove the line")
        return event

    def _count(self, event: dict[str, Any], where: str) -> None:
        try:
            question = self._questions.setdefault(event["key"], _Question())
            number = event["try"]
            if event["event"] == "asked":
                question.tries = max(question.tries, number)
                self._open(question, number, Cost(event["tokens"], event["cost"]))
            elif event["event"] == "answered":
                tokens_in, tokens_out = event["tokens_in"], event["tokens_out"]
                answer = Answer(event["text"], event["finish"], tokens_in, tokens_out, event["cost"])
                self._close(question, number, answer.cost)
                question.answer = question.answer or answer
            else:
                question.failed[event["kind"]] += 1
                self._close(question, number, Cost(event["tokens"], event["cost"]))
        except (KeyError, TypeError) as error:
            raise InputError(f"{where}: not a line of an answers file: {error}") from None

    def _open(self, question: _Question, number: int, reserve: Cost) -> None:
        question.open[number] = reserve
        self._spent += reserve

    def _close(self, question: _Question, number: int, cost: Cost) -> None:
        self._spent += cost - question.open.pop(number, Cost())
        question.spent += cost

    def _write(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, ensure_ascii=True).encode() + b"\n"
        if self._file < 0:
            raise InputError(f"{self.path}: closed")
        try:
            while line:
                line = line[os.write(self._file, line) :]
            if not self._stream:
                os.fsync(self._file)
        except OSError as error:
            error.filename = str(self.path)
            raise

    def answer(self, key: str) -> Answer | None:
        """The answer to a question, if it is there."""
        with self._changed:
            question = self._questions.get(key)
            return question.answer if question else None

    def account(self, key: str) -> tuple[int, Cost, Counter[str]]:
        """A question's attempts, what they have cost, reserves of lost ones included, and the failed ones by kind."""
        with self._changed:
            question = self._questions.get(key, _Question())
            return question.tries, sum(question.open.values(), question.spent), Counter(question.failed)

    @property
    def spent(self) -> Cost:
        """What the whole file has cost, at most."""
        with self._changed:
            return self._spent

    def ask(self, key: str, index: str, reserve: Cost, patient: bool = True) -> int:
        """Write down that a question is about to be sent; the number of the attempt.

        Where `reserve` would pass the cap, waits for the questions in flight, which may cost less than reserved; with
        none in flight, or where it is not to be `patient`, raises CapReached.
        """
        with self._changed:
            while over := self._over(reserve):
                if not (self._in_flight and patient):
                    raise CapReached(over)
                self._changed.wait()
            question = self._questions.setdefault(key, _Question())
            number = question.tries + 1
            event = {"event": "asked", "key": key, "try": number, "index": index}
            self._write({**event, "tokens": reserve.tokens, "cost": reserve.money})
            question.tries = number
            self._open(question, number, reserve)
            self._in_flight += 1
            return number

    def _over(self, reserve: Cost) -> str | None:
        after = self._spent + reserve
        if self.cap.cost is not None and after.money > self.cap.cost:
            return "cost"
        if self.cap.tokens is not None and after.tokens > self.cap.tokens:
            return "tokens"
        return None

    def answered(self, key: str, number: int, answer: Answer) -> None:
        """Keep an answer."""
        event = {"event": "answered", "key": key, "try": number, "text": answer.text, "finish": answer.finish}
        event |= {"tokens_in": answer.tokens_in, "tokens_out": answer.tokens_out, "cost": answer.money}
        self._end(event, answer.cost, answer)

    def failed(self, key: str, number: int, kind: str, free: bool) -> None:
        """Keep that an attempt has failed; one that is not `free` is charged as reserved."""
        with self._changed:
            cost = Cost() if free else self._questions[key].open[number]
        event = {"event": "failed", "key": key, "try": number, "kind": kind, "tokens": cost.tokens, "cost": cost.money}
        self._end(event, cost, None)

    def _end(self, event: dict[str, Any], cost: Cost, answer: Answer | None) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()
            self._write(event)
            question = self._questions[event["key"]]
            self._close(question, event["try"], cost)
            if answer is None:
                question.failed[event["kind"]] += 1
            else:
                question.answer = question.answer or answer
