"""API keys: read from the environment, and taken out of every text that is kept or shown."""

import base64
import os
import re
from urllib.parse import quote

from stages.common.errors import InputError

SHOWN = "[key]"  # stands where a key was
SHORTEST = 8  # characters; a shorter key could not be told from ordinary text
# Variables that clients of ours may read by themselves, whichever key is asked for.
OTHERS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "DEEPSEEK_API_KEY", "OPENROUTER_API_KEY")


class Secrets:
    """The key in the environment variable `key_env` (None: there is none), and the redaction of all known keys."""

    def __init__(self, key_env: str | None) -> None:
        self.key_env = key_env
        names = [*OTHERS, "HF_TOKEN", *([key_env] if key_env else [])]
        values = [os.environ.get(name, "").strip() for name in names]
        found = {form for value in values if len(value) >= SHORTEST for form in _forms(value)}
        # The longest first: a form that begins another would leave the other's end.
        words = sorted(found, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, words))) if words else None

    @property
    def key(self) -> str | None:
        """The key. InputError where the variable is not set or holds what cannot be a key; its value is not shown.

        Asked for when something is to be sent, and no earlier: whoever has all the answers needs none.
        """
        return _key(self.key_env) if self.key_env else None

    def redact(self, text: str) -> str:
        """The text without keys."""
        return self._pattern.sub(SHOWN, text) if self._pattern else text


def _key(name: str) -> str:
    key = os.environ.get(name, "").strip()
    if not key:
        raise InputError(f"the key is expected in the environment variable {name}, which is not set")
    if len(key) < SHORTEST:
        raise InputError(f"{name}: a key of {len(key)} characters cannot be kept out of texts; use {SHORTEST} or more")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"{name}: holds characters that no key has (spaces, line ends, accents)")
    return key


def _forms(key: str) -> set[str]:
    encoded = base64.b64encode(key.encode()).decode().rstrip("=")
    return {key, quote(key, safe=""), encoded}
