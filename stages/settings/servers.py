"""Settings of the OpenAI-compatible servers that sample (`sample.backend: openai`)."""

import re
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from stages.common.params import Settings


class ServerSettings(Settings):
    """Where the servers are, what is asked of them, and with how much patience."""

    urls: list[str] = Field(
        default=["http://127.0.0.1:8000/v1"], min_length=1, description="Base addresses; work is spread over all."
    )
    model: str | None = Field(
        None, min_length=1, description="As the servers name it; null: the checkpoint's path or its folder's name."
    )
    endpoint: Literal["completions", "chat"] = Field(
        "completions",
        description="completions: the prompt as the checkpoint's own template renders it; chat: messages.",
    )
    adapter: Literal["served", "load", "merge"] = Field(
        "served",
        description="Of an adapter: the servers have it, are told to load it (vLLM), or `launch` gets it merged.",
    )
    request: dict[str, Any] = Field(default={}, description="More fields for the body of every request.")
    key_env: str | None = Field(
        None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Environment variable with the key; null: none is sent."
    )
    concurrency: int = Field(32, ge=1, le=1024, description="Requests at once, per server.")
    timeout_seconds: float = Field(600.0, gt=0, allow_inf_nan=False, description="Patience with one answer (s).")
    retries: int = Field(
        5, ge=0, description="Attempts after a failed one; a server that fails so often in a row is given up."
    )
    backoff_seconds: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="A server's pause behind its first failure (s); doubles."
    )
    launch: str | None = Field(
        None,
        min_length=1,
        description="Command of a server that runs for the stage's time, with {model}, {port}, {number}; null: none.",
    )
    launches: int = Field(1, ge=1, le=64, description="How many of them; {number} counts from 0.")
    launch_seconds: float = Field(
        900.0, gt=0, allow_inf_nan=False, description="Patience until a launched server lists its models (s)."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for url in self.urls:
            if re.search(r"[@?#]", url):  # said without showing it: it may hold a key
                raise ValueError("urls: expected addresses such as http://HOST:PORT/v1 and nothing else in them")
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("urls: expected http://HOST:PORT/v1 or the like")
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("urls: an address is there twice")
        if self.launch and not {"{model}", "{port}"} <= set(re.findall(r"\{\w+\}", self.launch)):
            raise ValueError("launch: expected a command line with {model} and {port} in it")
        if self.adapter == "merge" and not self.launch:
            raise ValueError("adapter 'merge' needs launch: no other server would get the merged checkpoint")
        return self
