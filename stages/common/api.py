"""The HTTP clients of openai and anthropic: one request, its body or the kind of its failure. No retries here.

The clients are imported where they are used. Answers are read as they come, so that the time limit holds for the whole
answer, and not just for the pause between two pieces of it.
"""

import json
import logging
import re
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from typing import Any

from stages.common.api_errors import error_in
from stages.common.errors import HaloForgeError
from stages.common.secrets import Secrets

LONGEST_BODY = 32 << 20  # bytes of an answer
NO_KEY = "none"  # what a server that wants no key is sent, since the clients insist on one
TOO_MANY = 429
PASSING = (408, 409, 425, TOO_MANY)  # and 5xx; other errors of the 4xx stay
GATEWAY_TIMEOUTS = (408, 504, 522, 524)
NOISY = ("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2")


class Failure(Exception):
    """A request without an answer. `lasting`: another attempt would fail as well; `free`: it has cost nothing."""

    def __init__(
        self,
        kind: str,
        text: str,
        *,
        free: bool,
        lasting: bool = False,
        wait: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(text)
        self.kind, self.free, self.lasting = kind, free, lasting
        self.wait = wait  # seconds that the server asks to wait
        self.status = status  # of HTTP, where the server has answered with an error


class Api:
    """A client of the package `package` for the server at `base_url`; `who` names it in errors.

    Raises HaloForgeError where the package is missing, and InputError where
    the key is.
    """

    package = "openai"

    def __init__(self, who: str, base_url: str, timeout_seconds: float, secrets: Secrets) -> None:
        self.timeout_seconds, self.secrets, self.base_url = timeout_seconds, secrets, base_url
        try:
            self.module: Any = __import__(self.package)
        except ImportError:
            raise HaloForgeError(f"{who} needs the package {self.package}: pip install -e '.[generate]'") from None
        # OPENAI_LOG=debug and the like would have whole requests printed.
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.client = self._client(base_url, secrets.key or NO_KEY)

    def _client(self, base_url: str, key: str) -> Any:
        return self.module.OpenAI(base_url=base_url, api_key=key, **self._options())

    def _options(self) -> dict[str, Any]:
        # No redirects: a header with the key would go along to another host.
        http = self.module.DefaultHttpxClient(follow_redirects=False)
        return {"max_retries": 0, "timeout": self.timeout_seconds, "http_client": http}

    def receive(self, send: AbstractContextManager[Any]) -> Any:
        """The decoded JSON body of a streaming response. Raises Failure, also for an error that came as a success."""
        deadline = time.monotonic() + self.timeout_seconds
        try:
            with send as response:
                body = _collect(response.iter_bytes(), deadline)
        except Exception as error:  # the clients and what they stand on have many classes of errors
            raise self._failure(error) from None
        text = body.decode("utf-8", "replace")
        if found := error_in(text):
            status, words = found
            said = self.secrets.redact(" ".join(words.split()))[:200]
            # Nothing was answered, so nothing is charged, whatever the status would mean by itself.
            raise self._of_status(status, f"HTTP 200 with an error: {said}", None, free=True)
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise garbage(self.secrets.redact(" ".join(text.split()))[:80]) from None

    def get(self, path: str, seconds: float) -> Any:
        """The decoded answer to a GET below base_url. Raises Failure."""
        try:
            return self.client.get(path, cast_to=object, options={"timeout": seconds})
        except Exception as error:
            raise self._failure(error) from None

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The decoded answer, or its text, to a POST below base_url. Raises Failure."""
        try:
            return self.client.post(path, body=body, cast_to=object)
        except Exception as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> Failure:
        said = re.sub(r"^Error code: \d+ - ", "", " ".join(str(error).split()))
        text = self.secrets.redact(said)[:200]
        module = self.module
        if isinstance(error, Failure):
            return error
        if isinstance(error, module.APIStatusError):
            return self._status(error, text)
        cause = _cause(error)
        name = type(cause).__name__
        if "ConnectError" in name or "ConnectTimeout" in name:
            why = self.secrets.redact(" ".join(str(cause).split()))[:100] or name
            return Failure("unreachable", f"no connection to {self.base_url}: {why}", free=True)
        if isinstance(error, module.APITimeoutError) or "Timeout" in name:
            return _late(self.timeout_seconds)
        ours = type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2")
        if isinstance(error, module.APIConnectionError) or ours:
            return Failure("connection_lost", "the connection was lost in the middle", free=False)
        return Failure("client", f"{type(error).__name__}: {text}", free=False, lasting=True)

    def _status(self, error: Any, text: str) -> Failure:
        wait = _retry_after(error.response.headers.get("retry-after"))
        # A gateway that gave up waiting says nothing of the server behind it, which may have answered, and charged.
        free = error.status_code not in GATEWAY_TIMEOUTS
        return self._of_status(error.status_code, f"HTTP {error.status_code}: {text}", wait, free)

    def _of_status(self, status: int, text: str, wait: float | None, free: bool) -> Failure:
        if status in (401, 403):
            # Servers quote parts of the key in what they say here.
            where = self.secrets.key_env
            hint = f"check the key in {where}" if where else "it wants a key: name its variable by key_env"
            return Failure(
                "denied", f"the server refuses access ({status}); {hint}", free=True, lasting=True, status=status
            )
        passing = status in PASSING or status >= 500
        kind = {TOO_MANY: "rate_limit"}.get(status, "server_error" if status >= 500 else "refused_request")
        return Failure(kind, text, free=free, lasting=not passing, wait=wait, status=status)


def garbage(found: str = "") -> Failure:
    """A body of another form than the API's; `found` is its beginning."""
    return Failure("garbage", f"the answer is not what the API promises{found and f': {found}'}", free=False)


def _collect(chunks: Iterable[bytes], deadline: float) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if time.monotonic() > deadline:
            raise _late(None)
        if len(body) > LONGEST_BODY:
            raise Failure("garbage", "the answer has no end", free=False)
    return bytes(body)


def _late(seconds: float | None) -> Failure:
    told = f"within {seconds:g} s" if seconds else "in time"
    return Failure("timeout", f"no whole answer {told}", free=False)


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header, which gives them or a date; None for none, or for nonsense."""
    if value is None:
        return None
    try:
        return min(max(0.0, float(value)), 86_400.0) if float(value) == float(value) else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
