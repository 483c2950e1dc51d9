"""Servers that answer: one request, its answer or the kind of its failure. No retries here, see asking.py.

The clients of openai and anthropic are imported where they are used. Their answers are read as they come, so that the
time limit holds for the whole answer, and not just for the pause between two pieces of it.
"""

import json
import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from stages.common.errors import HaloForgeError, InputError
from stages.llm.ledger import Answer
from stages.llm.secrets import Secrets
from stages.settings.generate import GenerateSettings

LONGEST_BODY = 32 << 20  # bytes of an answer
NO_KEY = "none"  # what a server that wants no key is sent, since the clients insist on one
TOO_MANY = 429
PASSING = (408, 409, 425, TOO_MANY)  # and 5xx; other errors of the 4xx stay
GATEWAY_TIMEOUTS = (408, 504, 522, 524)
NOISY = ("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2")
Messages = list[dict[str, str]]


class Failure(Exception):
    """A request without an answer. `lasting`: another attempt would fail as well; `free`: it has cost nothing."""

    def __init__(self, kind: str, text: str, *, free: bool, lasting: bool = False, wait: float | None = None) -> None:
        super().__init__(text)
        self.kind, self.free, self.lasting = kind, free, lasting
        self.wait = wait  # seconds that the server asks to wait


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as the server has sent it; tokens are None where it does not say."""

    text: str
    finish: str | None
    tokens_in: int | None
    tokens_out: int | None


class Backend(Protocol):
    """Whatever answers prompts."""

    batch: int  # prompts answered at a time by one call

    def ask(self, prompts: list[Messages]) -> list[Reply]:
        """Answers in order. Raises Failure."""


class Server:
    """An HTTP API; `body` and `read` make it OpenAI's or Anthropic's."""

    batch = 1
    package = ""

    def __init__(self, settings: GenerateSettings, secrets: Secrets) -> None:
        self.settings, self.secrets = settings, secrets
        self.model = settings.model_name
        try:
            self.module: Any = __import__(self.package)
        except ImportError:
            raise HaloForgeError(
                f"backend '{settings.backend}' needs the package {self.package}: pip install -e '.[generate]'"
            ) from None
        # OPENAI_LOG=debug and the like would have whole requests printed.
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.base_url = settings.base_url or settings.preset.base_url or ""
        self.client = self._client(self.base_url, secrets.key or NO_KEY)

    def _client(self, base_url: str, key: str) -> Any:
        raise NotImplementedError

    def _send(self, messages: Messages) -> Any:
        """The context of the response, to be read as it comes."""
        raise NotImplementedError

    def _read(self, body: Any) -> Reply:
        """KeyError, IndexError, TypeError for a body of another form."""
        raise NotImplementedError

    def _options(self) -> dict[str, Any]:
        # No redirects: a header with the key would go along to another host.
        http = self.module.DefaultHttpxClient(follow_redirects=False)
        return {"max_retries": 0, "timeout": self.settings.timeout_seconds, "http_client": http}

    def ask(self, prompts: list[Messages]) -> list[Reply]:
        """One prompt, one request."""
        deadline = time.monotonic() + self.settings.timeout_seconds
        try:
            with self._send(prompts[0]) as response:
                body = _collect(response.iter_bytes(), deadline)
        except Exception as error:  # the clients and what they stand on have many classes of errors
            raise self._failure(error) from None
        try:
            return [self._read(json.loads(body))]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise Failure("garbage", "the answer is not what the API promises", free=False) from None

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
            return _late(self.settings.timeout_seconds)
        ours = type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2")
        if isinstance(error, module.APIConnectionError) or ours:
            return Failure("connection_lost", "the connection was lost in the middle", free=False)
        return Failure("client", f"{type(error).__name__}: {text}", free=False, lasting=True)

    def _status(self, error: Any, text: str) -> Failure:
        status = error.status_code
        if status in (401, 403):
            # Servers quote parts of the key in what they say here.
            where = self.settings.key_env or self.settings.preset.key_env
            hint = f"check the key in {where}" if where else "it wants a key: name its variable by key_env"
            return Failure("denied", f"the server refuses access ({status}); {hint}", free=True, lasting=True)
        passing = status in PASSING or status >= 500
        kind = {TOO_MANY: "rate_limit"}.get(status, "server_error" if status >= 500 else "refused_request")
        wait = _retry_after(error.response.headers.get("retry-after"))
        # A gateway that gave up waiting says nothing of the server behind it, which may have answered, and charged.
        free = status not in GATEWAY_TIMEOUTS
        return Failure(kind, f"HTTP {status}: {text}", free=free, lasting=not passing, wait=wait)


class OpenAI(Server):
    """OpenAI's chat completions, which most servers speak."""

    package = "openai"

    def _client(self, base_url: str, key: str) -> Any:
        return self.module.OpenAI(base_url=base_url, api_key=key, **self._options())

    def _send(self, messages: Messages) -> Any:
        fields: dict[str, Any] = {self.settings.preset.length_field: self.settings.max_tokens}
        if self.settings.temperature is not None:
            fields["temperature"] = self.settings.temperature
        streaming = self.client.chat.completions.with_streaming_response
        return streaming.create(model=self.model, messages=messages, **fields)

    def _read(self, body: Any) -> Reply:
        choice = body["choices"][0]
        message, usage = choice["message"], body.get("usage") or {}
        text = message.get("content") or message.get("refusal") or ""
        finish = "refusal" if message.get("refusal") else choice.get("finish_reason")
        return Reply(_string(text), finish, _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


class Anthropic(Server):
    """Anthropic's messages."""

    package = "anthropic"

    def _client(self, base_url: str, key: str) -> Any:
        client = self.module.Anthropic(base_url=base_url, api_key=key, **self._options())
        client.auth_token = None  # older clients send ANTHROPIC_AUTH_TOKEN as well, wherever base_url points
        return client

    def _send(self, messages: Messages) -> Any:
        fields: dict[str, Any] = {"max_tokens": self.settings.max_tokens}
        # Newer models take no temperature, nor does the client; who asks for one by name gets it sent.
        if self.settings.temperature is not None and "temperature" in self.settings.model_fields_set:
            fields["extra_body"] = {"temperature": self.settings.temperature}
        system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
        rest = [m for m in messages if m["role"] != "system"]
        streaming = self.client.messages.with_streaming_response
        return streaming.create(model=self.model, system=system, messages=rest, **fields)

    def _read(self, body: Any) -> Reply:
        texts = [_string(block["text"]) for block in body["content"] if block["type"] == "text"]
        usage = body.get("usage") or {}
        parts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        given = [_count(usage.get(name)) for name in parts]
        tokens_in = None if given[0] is None else sum(count or 0 for count in given)
        finish = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"}.get(
            body.get("stop_reason"), body.get("stop_reason")
        )
        return Reply("".join(texts), finish, tokens_in, _count(usage.get("output_tokens")))


def priced(reply: Reply, reserve: Answer, prices: tuple[float, float] | None) -> Answer:
    """The reply with its price; where the server does not say how many tokens it were, the reserved numbers count."""
    tokens_in = reserve.tokens_in if reply.tokens_in is None else reply.tokens_in
    tokens_out = reserve.tokens_out if reply.tokens_out is None else reply.tokens_out
    return Answer(reply.text, reply.finish, tokens_in, tokens_out, money(tokens_in, tokens_out, prices))


def money(tokens_in: int, tokens_out: int, prices: tuple[float, float] | None) -> float:
    """What tokens cost, by the prices per million; 0 where these are not known."""
    return (tokens_in * prices[0] + tokens_out * prices[1]) / 1e6 if prices else 0.0


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


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else None


def connect(settings: GenerateSettings, secrets: Secrets) -> Server:
    """The client of a backend other than `local`."""
    if settings.backend == "local":
        raise InputError("backend 'local' is no server")
    return (Anthropic if settings.backend == "anthropic" else OpenAI)(settings, secrets)
