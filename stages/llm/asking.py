"""Asking many questions: several at once, not too many a minute, again after a passing failure, never past the cap.

Threads that wait for a server are left behind when a run ends early: what they were asking is in the ledger at its
reserve. Progress shows rate, time left and money spent.
"""

import functools
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.common.api import Failure
from stages.common.errors import HaloForgeError
from stages.common.files import value_hash
from stages.common.progress import Progress
from stages.common.secrets import Secrets
from stages.llm.backends import Backend, Messages, money, priced
from stages.llm.ledger import Answer, CapReached, Ledger
from stages.settings.generate import GenerateSettings

LONGEST_PAUSE = 60.0  # seconds between attempts, unless the server asks for more
LONGEST_WAIT = 900.0  # seconds that a server may ask for; beyond it the request is given up
MESSAGE_TOKENS = 64  # beside the text: roles, the template


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt for one example: `index` is CATEGORY/LEVEL/NUMBER, `key` tells the request from every other one."""

    index: str
    messages: Messages
    key: str


def question(index: str, messages: Messages, settings: GenerateSettings, origin: Sequence[Any] = ()) -> Question:
    """A question with its key: a hash of all that decides the answer. `origin` is that of a local model's weights."""
    asked = [settings.backend, settings.model_name, settings.temperature, settings.max_tokens, *origin]
    return Question(index, messages, value_hash([asked, messages, index]))


class Limiter:
    """When the next request may begin."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = self._until = time.monotonic()
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Return when it may, or when `stop` is set."""
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._next)
            self._next = begin + self._gap
        # An ended pause is looked at again: another thread may have been told to wait longer.
        while not stop.is_set() and (left := max(begin, self._paused_until()) - time.monotonic()) > 0:
            stop.wait(left)

    def _paused_until(self) -> float:
        with self._lock:
            return self._until

    def pause(self, seconds: float) -> None:
        """Let no request begin for that long: a server that has had too many means all of them."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)


@dataclass
class Asked:
    """What asking has come to, over all rounds of a run."""

    now: int = 0  # answers that came in this run
    found: int = 0  # answers that were in the file
    given_up: int = 0  # questions without an answer after all attempts
    stopped: str | None = None  # the cap that was reached
    seconds: float = 0.0
    tokens: int = 0  # of the answers that came in this run
    waits: int = 0  # pauses before another attempt
    last: str = ""  # of the failures, in words
    row: int = field(default=0, repr=False)  # questions given up one after the other


class Asker:
    """Puts questions to a backend, through the ledger. `connect` makes the backend when there is something to ask."""

    def __init__(
        self, connect: Callable[[], Backend], ledger: Ledger, settings: GenerateSettings, secrets: Secrets
    ) -> None:
        self._connect, self.ledger, self.settings, self.secrets = connect, ledger, settings, secrets
        self.asked = Asked()
        self._limiter = Limiter(settings.requests_per_minute)
        self._lock = threading.Lock()

    @functools.cached_property
    def backend(self) -> Backend:
        """Who answers. InputError where its key is missing, HaloForgeError where its client is."""
        return self._connect()

    def answers(self, questions: Sequence[Question], label: str) -> dict[str, Answer]:
        """The answers by key. Those that are not in the ledger are asked for, in order.

        A question that stays without an answer is left out. Raises HaloForgeError for a failure that lasts, such as a
        wrong key, and where question after question is given up.
        """
        missing = [q for q in questions if self.ledger.answer(q.key) is None]
        self.asked.found += len(questions) - len(missing)
        if missing and not self.asked.stopped:
            started = time.monotonic()
            self._ask_all(missing, label)
            self.asked.seconds += time.monotonic() - started
        found = {q.key: self.ledger.answer(q.key) for q in questions}
        return {key: answer for key, answer in found.items() if answer is not None}

    def _ask_all(self, questions: Sequence[Question], label: str) -> None:
        size = self.backend.batch
        waiting: queue.SimpleQueue[Sequence[Question]] = queue.SimpleQueue()
        for start in range(0, len(questions), size):
            waiting.put(questions[start : start + size])
        done: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
        stop = threading.Event()
        threads = 1 if size > 1 else min(self.settings.concurrency, len(questions))
        for _ in range(threads):
            threading.Thread(target=self._work, args=(waiting, done, stop), daemon=True).start()
        working = threads
        failed: BaseException | None = None
        try:
            with Progress(label, len(questions), "answers") as progress:
                while working:
                    result = done.get()
                    if isinstance(result, BaseException):
                        # What the others are asking is paid for: their answers are waited for.
                        failed, result = failed or result, 0
                        stop.set()
                    working -= result == 0
                    progress.update(result, self._money())
        finally:
            stop.set()
        if failed is not None:
            raise failed

    def _money(self) -> str:
        spent = self.ledger.spent
        return f"{spent.tokens:,} tokens" + (f", {spent.money:.4f} spent" if self.settings.costs else "")

    def _work(self, waiting: Any, done: Any, stop: threading.Event) -> None:
        """Ask until nothing is left; puts how many were asked, 0 at the end, or what went wrong."""
        try:
            while not stop.is_set() and not self.asked.stopped:
                try:
                    batch = waiting.get_nowait()
                except queue.Empty:
                    break
                self._ask(batch, stop)
                done.put(len(batch))
            done.put(0)
        except BaseException as error:  # raised again in the main thread
            done.put(error)

    def _ask(self, batch: Sequence[Question], stop: threading.Event) -> None:
        for attempt in range(self.settings.retries + 1):
            try:
                failure = self._try(batch, stop)
            except CapReached as cap:
                self.asked.stopped = f"{cap.which} cap"
                return
            if failure is None or stop.is_set():
                with self._lock:
                    self.asked.row = 0
                return
            self.asked.last = str(failure)
            # Where nothing has ever answered, nothing will: the server is not running.
            absent = failure.kind == "unreachable" and not self.asked.now and attempt > 0
            if failure.lasting or absent:
                raise HaloForgeError(f"backend '{self.settings.backend}': {failure}")
            if attempt == self.settings.retries or (failure.wait or 0) > LONGEST_WAIT:
                break
            self._pause(failure, attempt, stop)
        self._give_up(len(batch))

    def _pause(self, failure: Failure, attempt: int, stop: threading.Event) -> None:
        pause = min(self.settings.backoff_seconds * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1.5)
        if failure.wait:
            self._limiter.pause(failure.wait)
            pause = failure.wait + random.uniform(0, self.settings.backoff_seconds)
        with self._lock:
            self.asked.waits += 1
        told = f"{failure.kind}: {failure}; attempt {attempt + 2} of {self.settings.retries + 1} in {pause:.1f} s"
        print(self.secrets.redact(told), file=sys.stderr, flush=True)
        stop.wait(pause)

    def _give_up(self, count: int) -> None:
        with self._lock:
            self.asked.given_up += count
            self.asked.row += 1
            hopeless = self.asked.row >= max(3, self.settings.concurrency)
        if hopeless:
            raise HaloForgeError(
                f"backend '{self.settings.backend}' does not answer: {self.secrets.redact(self.asked.last)}; "
                f"{self.asked.now} answers of this run are kept, run again to go on"
            )

    def _try(self, batch: Sequence[Question], stop: threading.Event) -> Failure | None:
        """One attempt, through the ledger."""
        self._limiter.wait(stop)
        if stop.is_set():
            return None
        reserves = [self._reserve(q) for q in batch]
        numbers: list[int] = []
        for q, reserve in zip(batch, reserves, strict=True):
            try:
                # To wait for the others of one's own batch would be to wait for ever.
                numbers.append(self.ledger.ask(q.key, q.index, reserve.cost, patient=not numbers))
            except CapReached as cap:
                if not numbers:
                    raise
                self.asked.stopped = f"{cap.which} cap"
                batch, reserves = batch[: len(numbers)], reserves[: len(numbers)]
                break
        try:
            replies = self.backend.ask([q.messages for q in batch])
        except Failure as failure:
            self._close(batch, numbers, failure.kind, failure.free)
            return failure
        for q, number, reply, reserve in zip(batch, numbers, replies, reserves, strict=True):
            answer = priced(reply, reserve, self.settings.prices)
            finish = self.secrets.redact(answer.finish)[:40] if isinstance(answer.finish, str) else None
            text = self.secrets.redact(answer.text)
            answer = Answer(text, finish, answer.tokens_in, answer.tokens_out, answer.money)
            self.ledger.answered(q.key, number, answer)
            with self._lock:
                self.asked.now += 1
                self.asked.tokens += answer.tokens_out
        return None

    def _close(self, batch: Sequence[Question], numbers: Sequence[int], kind: str, free: bool) -> None:
        for q, number in zip(batch, numbers, strict=True):
            self.ledger.failed(q.key, number, kind, free)

    def _reserve(self, q: Question) -> Answer:
        """The most that an answer can cost: a token is a byte at least."""
        tokens_in = sum(len(m["content"].encode()) + MESSAGE_TOKENS for m in q.messages)
        tokens_out = self.settings.max_tokens
        return Answer("", None, tokens_in, tokens_out, money(tokens_in, tokens_out, self.settings.prices))
