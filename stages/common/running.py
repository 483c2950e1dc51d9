"""Section `run` of a profile: how stages run on this machine, laid over the sections that say what they make.

Nothing in it changes what a stage makes, so no stage of dvc.yaml depends on it: a server that moves to another address
(of the same kind, with the same context), or a Ray cluster that is there today, reruns nothing. The same keys may stand
in the sections themselves, where they hold for one stage and rerun it.
"""

from typing import Any

from stages.common.errors import InputError, expect_known

SECTIONS: dict[str, tuple[str, ...]] = {  # what a part of `run` is laid over
    "sample": ("sample", "validation.sample", "benchmark.sample"),
    "train": ("base.tiny.train", "sft.train", "raft.train", "grpo"),
    "verify": ("verify",),
}
SERVERS = ("urls", "concurrency", "timeout_seconds", "retries", "backoff_seconds", "launches", "launch_seconds")
KEYS: dict[str, dict[str, tuple[str, ...]]] = {  # that each may hold, and the keys below those that are maps
    "sample": {"workers": (), "servers": (*SERVERS, "key_env")},
    "train": {"checkpoint_steps": ()},
    "verify": {"workers": (), "cache": (), "cache_mb": (), "executor": (), "ray_address": ()},
}


def check_running(run: Any, where: str) -> None:
    """Raise InputError for a key of `run` that is none, or that changes what is made; values are checked later."""
    for value, known, place in _parts(run, where):
        if not isinstance(value, dict):
            raise InputError(f"{place}: expected a map of settings, found {value!r}")
        expect_known(value, known, place)


def _parts(run: Any, where: str) -> list[tuple[Any, tuple[str, ...], str]]:
    """Each map below `run`, with the keys it may hold and its place; what is null is left out."""
    parts = [(run, tuple(KEYS), where)]
    for name, keys in KEYS.items():
        part = run.get(name) if isinstance(run, dict) else None
        if part is not None:
            parts.append((part, tuple(keys), f"{where}.{name}"))
        for key, below in keys.items():
            inner = part.get(key) if below and isinstance(part, dict) else None
            if inner is not None:
                parts.append((inner, below, f"{where}.{name}.{key}"))
    return parts


def laid_over(profile: dict[str, Any], where: str) -> dict[str, Any]:
    """The profile's sections with `run` laid over them; InputError for what does not belong there."""
    run = profile.get("run")
    if run is None:
        return profile
    check_running(run, f"{where}.run")
    merged = dict(profile)
    for name, paths in SECTIONS.items():
        for path in paths:
            if run.get(name):
                _lay(merged, path.split("."), run[name])
    return merged


def _lay(into: dict[str, Any], path: list[str], values: dict[str, Any]) -> None:
    """Lay `values` over the map at `path`; of those that are not there, a section of defaults alone is made."""
    *above, last = path
    for key in above:
        if not isinstance(into.get(key), dict):
            return
        into[key] = into = dict(into[key])
    there = into.get(last)
    if isinstance(there, dict) or (there is None and last in (*KEYS, "grpo") and not above):
        into[last] = _merged(there or {}, values)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in above.items() if value is not None}  # what is left of a map commented out
    both = {
        key: _merged(below[key], value)
        for key, value in given.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return {**below, **given, **both}
