"""Servers that answer: one request, its answer or the kind of its failure. No retries here, see asking.py."""

from dataclasses import dataclass
from typing import Any, Protocol

from stages.common.api import Api, Failure, garbage
from stages.common.errors import InputError
from stages.common.secrets import Secrets
from stages.llm.ledger import Answer
from stages.settings.generate import GenerateSettings

Messages = list[dict[str, str]]


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


class Server(Api):
    """An HTTP API; `body` and `read` make it OpenAI's or Anthropic's."""

    batch = 1

    def __init__(self, settings: GenerateSettings, secrets: Secrets) -> None:
        self.settings = settings
        self.model = settings.model_name
        base_url = settings.base_url or settings.preset.base_url or ""
        super().__init__(f"backend '{settings.backend}'", base_url, settings.timeout_seconds, secrets)

    def _send(self, messages: Messages) -> Any:
        """The context of the response, to be read as it comes."""
        raise NotImplementedError

    def _read(self, body: Any) -> Reply:
        """KeyError, IndexError, TypeError for a body of another form."""
        raise NotImplementedError

    def ask(self, prompts: list[Messages]) -> list[Reply]:
        """One prompt, one request."""
        body = self.receive(self._send(prompts[0]))
        try:
            return [self._read(body)]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise garbage() from None


class OpenAI(Server):
    """OpenAI's chat completions, which most servers speak."""

    def _send(self, messages: Messages) -> Any:
        fields: dict[str, Any] = {self.settings.preset.length_field: self.settings.max_tokens}
        if self.settings.temperature is not None:
            fields["temperature"] = self.settings.temperature
        streaming = self.client.chat.completions.with_streaming_response
        return streaming.create(model=self.model, messages=messages, **fields)

    def _read(self, body: Any) -> Reply:
        choice = body["choices"][0]
        if isinstance(choice.get("error"), dict):  # OpenRouter's, of an answer that broke off and may be charged
            said = self.secrets.redact(str(choice["error"].get("message")))[:200]
            raise Failure("server_error", f"the answer broke off: {said}", free=False)
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
