"""Requests spread over several servers: each has its threads, failed requests go back, dead servers are dropped.

A server rests after a failure, twice as long each time; the failures of requests that were under way when the rest
began count as one. When it has failed more often in a row than `servers.retries` allows, it gets no more work.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from stages.common.api import TOO_MANY, Api, Failure
from stages.common.errors import HaloForgeError
from stages.settings.servers import ServerSettings

LONGEST_REST = 60.0  # seconds, unless the server asks for more
LONGEST_WAIT = 900.0  # seconds that a server may ask for; beyond it the server is given up
OF_THE_REQUEST = (400, 413, 422)  # HTTP statuses that every server would answer
KEPT = "whole shards are kept, run again to go on"
NOT_ITS_FAULT = ("rate_limit", "unreachable")  # failures that say nothing of the request


@dataclass
class Server:
    """A server that has the model."""

    api: Api
    model: str  # as the server names it
    kind: str = ""  # what `owned_by` says: vllm, sglang, llamacpp
    context: int | None = None  # tokens, where it says (vLLM's max_model_len)
    logprobs: bool = True  # until it refuses them
    strikes: int = 0  # failures in a row
    until: float = 0.0  # monotonic time at which its rest ends
    dropped: bool = False


@dataclass
class Request:
    """One answer that is wanted."""

    shard: int
    task: int  # within the shard
    number: int  # of the sample within the task
    label: str  # the task's id, for messages
    attempts: int = field(default=0, compare=False)  # that have failed


class Pool:
    """Has `ask(server, request)` called until every request is answered. One use only."""

    def __init__(self, servers: list[Server], settings: ServerSettings, ask: Callable[[Server, Request], Any]) -> None:
        self.servers, self.settings, self._ask = servers, settings, ask
        self._again: deque[Request] = deque()  # failed, and to be tried again
        self._fresh: Iterator[Request] = iter(())
        self._under_way = 0
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._done: SimpleQueue[tuple[Request, Any] | BaseException] = SimpleQueue()

    def answers(self, requests: Iterable[Request], count: int) -> Iterator[tuple[Request, Any]]:
        """(request, answer) as they come; of the `count` requests each is taken when a server has room for it.

        Raises HaloForgeError when no server is left, or where a request is refused or fails again and again.
        """
        self._fresh = iter(requests)
        left = count
        for server in self.servers:
            for _ in range(min(self.settings.concurrency, left)):
                threading.Thread(target=self._work, args=(server,), daemon=True).start()
        try:
            while left:
                result = self._done.get()
                if isinstance(result, BaseException):
                    raise result
                left -= 1
                yield result
        finally:
            self._stop.set()
            with self._changed:
                self._changed.notify_all()

    def _work(self, server: Server) -> None:
        try:
            while (request := self._next(server)) is not None:
                try:
                    answer = self._ask(server, request)
                except Failure as failure:
                    with self._changed:
                        self._failed(server, request, failure)
                        self._under_way -= 1
                        self._changed.notify_all()
                    continue
                with self._changed:
                    server.strikes = 0
                    self._under_way -= 1
                    self._changed.notify_all()
                self._done.put((request, answer))
        except BaseException as error:  # raised again in the main thread
            self._done.put(error)

    def _next(self, server: Server) -> Request | None:
        """The next request for a server that is not resting; None when there is nothing more to do for it."""
        with self._changed:
            while not self._stop.is_set() and not server.dropped:
                rest = server.until - time.monotonic()
                if rest > 0:
                    self._changed.wait(rest)
                elif request := self._again.popleft() if self._again else next(self._fresh, None):
                    self._under_way += 1
                    return request
                elif self._under_way:
                    self._changed.wait()
                else:
                    return None
        return None

    def _failed(self, server: Server, request: Request, failure: Failure) -> None:
        """Put the request back; let the server rest, or drop it."""
        if failure.status in OF_THE_REQUEST and failure.lasting:
            raise HaloForgeError(f"task {request.label}: {server.api.base_url} refuses the request: {failure}")
        self._again.appendleft(request)
        if failure.kind not in NOT_ITS_FAULT:
            request.attempts += 1
        if server.dropped:
            return
        now = time.monotonic()
        counts = failure.lasting or now >= server.until
        server.strikes += counts
        if failure.lasting or server.strikes > self.settings.retries or (failure.wait or 0) > LONGEST_WAIT:
            self._drop(server, request, failure)
            return
        if request.attempts > self.settings.retries:
            raise HaloForgeError(
                f"task {request.label}: {request.attempts} attempts failed, the last at {server.api.base_url}: "
                f"{failure}; {KEPT}"
            )
        if not counts:
            return
        doubled = self.settings.backoff_seconds * 2 ** (server.strikes - 1)
        rest = max(min(doubled, LONGEST_REST), failure.wait or 0)
        server.until = now + rest
        said = f"{server.api.base_url}: {failure}; rests {rest:.1f} s ({server.strikes} of {self.settings.retries})"
        if failure.status != TOO_MANY or server.strikes == 1:
            print(said, file=sys.stderr, flush=True)

    def _drop(self, server: Server, request: Request, failure: Failure) -> None:
        server.dropped = True
        left = sum(not other.dropped for other in self.servers)
        if not left:
            raise HaloForgeError(
                f"no server is left; the last, {server.api.base_url}, at task {request.label}: {failure}; {KEPT}"
            )
        told = f"{server.api.base_url}: dropped: {failure}; its work goes to the {left} left"
        print(told, file=sys.stderr, flush=True)
