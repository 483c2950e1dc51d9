"""Settings of LLM-written examples: one entry of the top-level map `specs`, `NAME: {backend: ..., ...}`."""

import re
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from stages.common.errors import InputError
from stages.common.params import Params, Settings

SPEC_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")  # a stage's key, a file's name and a task id's first part


@dataclass(frozen=True, slots=True)
class Preset:
    """What a backend's name stands for. A price of None is not known: those of companies change."""

    base_url: str | None = None
    key_env: str | None = None  # name of the environment variable that holds the key; None: no key is sent
    model: str | None = None
    price: float | None = 0.0  # money per million tokens, in and out
    length_field: str = "max_tokens"  # the request's field for the longest answer


PRESETS = {
    "local": Preset(model="local"),
    "deepseek": Preset("https://api.deepseek.com", "DEEPSEEK_API_KEY", "deepseek-chat", None),
    "openai": Preset("https://api.openai.com/v1", "OPENAI_API_KEY", None, None, "max_completion_tokens"),
    "openrouter": Preset("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", None, None),
    "anthropic": Preset("https://api.anthropic.com", "ANTHROPIC_API_KEY", None, None),
    "ollama": Preset("http://127.0.0.1:11434/v1"),
    "llama.cpp": Preset("http://127.0.0.1:8080/v1", model="default"),
    "vllm": Preset("http://127.0.0.1:8000/v1"),
    "server": Preset(price=None),
}
BackendName = Literal["local", "deepseek", "openai", "openrouter", "anthropic", "ollama", "llama.cpp", "vllm", "server"]


class CapSettings(Settings):
    """What a spec's answers may cost, over all runs that share its file of answers."""

    cost: float | None = Field(None, gt=0, description="Money, in the currency of the prices; null: no limit.")
    tokens: int | None = Field(5_000_000, ge=1, description="Tokens in and out; null: no limit.")


class GenerateSettings(Settings):
    """Who writes a spec's examples, and what it may cost."""

    backend: BackendName = Field("local", description="A preset; `server`: any OpenAI-compatible one at base_url.")
    model: str | None = Field(None, min_length=1, description="As the backend names it; null: the preset's.")
    base_url: str | None = Field(None, min_length=1, description="Where the API lies; null: the preset's address.")
    key_env: str | None = Field(
        None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Environment variable with the key; null: the preset's."
    )
    count: int | None = Field(None, ge=1, description="Examples per category and level; null: the spec's own.")
    attempts: float = Field(3.0, ge=1, allow_inf_nan=False, description="Most answers asked per example wanted.")
    temperature: float | None = Field(
        0.8,
        ge=0,
        le=2,
        allow_inf_nan=False,
        description="Softmax temperature; null: not sent. anthropic: only if set.",
    )
    max_tokens: int = Field(4096, ge=16, description="Longest answer in tokens, with its reasoning.")
    timeout_seconds: float = Field(300.0, gt=0, allow_inf_nan=False, description="Patience with one answer (s).")
    retries: int = Field(5, ge=0, description="Attempts after a failed one: 429, 5xx, timeouts, lost connections.")
    backoff_seconds: float = Field(
        2.0, ge=0, allow_inf_nan=False, description="Pause before the first of them (s), give or take half; doubles."
    )
    concurrency: int = Field(4, ge=1, le=256, description="Requests at once; local: prompts in one batch.")
    requests_per_minute: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Most requests begun per minute; null: no limit."
    )
    price_input: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Money per million tokens sent; null: not known, local ones 0."
    )
    price_output: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Money per million tokens answered; null: not known, local ones 0."
    )
    cap: CapSettings = CapSettings()

    @property
    def preset(self) -> Preset:
        """The backend's."""
        return PRESETS[self.backend]

    @property
    def model_name(self) -> str:
        """As the backend names it."""
        return self.model or self.preset.model or ""

    @property
    def prices(self) -> tuple[float, float] | None:
        """Money per million tokens, in and out; None where one of them is not known."""
        preset = self.preset.price
        found = (
            preset if self.price_input is None else self.price_input,
            preset if self.price_output is None else self.price_output,
        )
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    @property
    def costs(self) -> bool:
        """Whether answers cost money, as far as is known."""
        return bool(self.prices and any(self.prices))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.backend != "local":
            self._check_server()
        if self.model is None and self.preset.model is None:
            raise ValueError(f"backend '{self.backend}' needs model: the name that it has there")
        if self.cap.cost is not None and self.prices is None:
            raise ValueError("cap.cost needs price_input and price_output: money per million tokens")
        return self

    def _check_server(self) -> None:
        if self.base_url is None:
            if self.preset.base_url is None:
                raise ValueError(f"backend '{self.backend}' needs base_url, such as http://127.0.0.1:8000/v1")
            return
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url: expected http://HOST:PORT/v1 or the like")
        # One company's key is not sent to another address by a setting that was half changed.
        if self.preset.key_env and self.key_env is None:
            raise ValueError(f"base_url is not that of '{self.backend}': say by key_env which key goes there")


def check_specs(params: Params) -> dict[str, GenerateSettings]:
    """The entries of `specs`, validated. Raises InputError for the first fault."""
    entries = params.raw.get("specs")
    if not isinstance(entries, dict):
        raise InputError(f"{params.path}: specs: expected a map, {{}} for none; found {type(entries).__name__}")
    found = {}
    for name, entry in entries.items():
        if not isinstance(name, str) or not SPEC_NAME.fullmatch(name):
            raise InputError(f"{params.path}: specs.{name}: expected a name of lower-case letters, digits and _")
        address = entry.get("base_url") if isinstance(entry, dict) else None
        if isinstance(address, str) and re.search(r"[@?#]", address):  # said without showing it: it may hold a key
            raise InputError(
                f"{params.path}: specs.{name}.base_url: expected an address and nothing else, such as "
                "http://HOST:PORT/v1; a key comes from the environment variable that key_env names"
            )
        found[name] = GenerateSettings.parse(entry, f"{params.path}: specs.{name}")
    return found
