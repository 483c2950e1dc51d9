"""What differs between two decoded JSON values."""

import json
from typing import Any


def changes(before: Any, after: Any, where: str = "") -> list[str]:
    """`key: before -> after` for each leaf that differs between two decoded JSON values."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = dict.fromkeys([*before, *after])
        return [c for key in keys for c in changes(before.get(key), after.get(key), f"{where}.{key}".lstrip("."))]
    return [] if before == after else [f"{where}: {json.dumps(before)} -> {json.dumps(after)}"]
