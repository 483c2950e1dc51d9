"""What was measured of this machine's devices, in the user's cache folder: `make plan` and utilisation read it.

It lies outside the repository, where no stage depends on it, `make clean` leaves it, and clones share it. No result
depends on it: it tells how long things take.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.errors import InputError
from stages.common.files import write_json
from stages.common.json_reader import read_json

DOCTOR, TRAINING = "make doctor", "a training"  # who has measured


@dataclass(frozen=True, slots=True)
class Device:
    """A device as its figures are filed: `kind` is cpu, cuda, or an AMD architecture such as gfx1151; `threads` is 0 on
    accelerators."""

    kind: str
    name: str
    threads: int
    torch: str

    @property
    def key(self) -> str:
        """What tells its figures from others': another number of threads or version of torch is another device."""
        threads = f", {self.threads} threads" if self.threads else ""
        return f"{self.name}{threads}, torch {self.torch}"


@dataclass(frozen=True, slots=True)
class Measured:
    """FLOPs per second of matrix products (`forward`, and `dgrad` and `wgrad`, its gradients' of the activations and of
    the weights, where they were measured), bytes per second of copies where they were, and whose figures these are."""

    name: str
    by: str
    forward: float
    dgrad: float | None
    wgrad: float | None
    bandwidth: float | None


def path() -> Path:
    """The file, which need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "halo-forge" / "machine.json"


def record(device: Device, *, by: str, bandwidth: float | None = None, **flops: dict[str, float]) -> None:
    """File a device's figures, in place of earlier ones: bytes per second, and by type the FLOPs per second of
    products, `float32={"forward": 1e11}`. Does nothing where the folder cannot be written: it is a cache."""
    known = _read()
    entry = known.pop(device.key, {})  # the newest comes last
    entry = {
        "kind": device.kind,
        "name": device.name,
        "threads": device.threads,
        "torch": device.torch,
        "bandwidth": entry.get("bandwidth") if bandwidth is None else bandwidth,
        "flops": {**_table(entry.get("flops")), **{dtype: {**rates, "by": by} for dtype, rates in flops.items()}},
    }
    with contextlib.suppress(OSError, RuntimeError):
        write_json(path(), {**known, device.key: entry})


def of_device(device: Device, dtype: str) -> Measured | None:
    """The figures of a device for a type such as `bfloat16`; None where there are none."""
    return _measured(_table(_read().get(device.key)), dtype)


def newest(kind: str, dtype: str, threads: int = 0) -> Measured | None:
    """The newest figures of a device of that kind, bandwidth and all; None where there are none."""
    entries = [entry for entry in map(_table, _read().values()) if entry.get("kind") == kind]
    found = [_measured(entry, dtype) for entry in entries if not threads or entry.get("threads") == threads]
    return next((figures for figures in reversed(found) if figures and figures.bandwidth), None)


def _read() -> dict[str, Any]:
    try:
        return _table(read_json(path()))
    except (OSError, InputError, RuntimeError):  # the last of a user without a home
        return {}


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _measured(entry: dict[str, Any], dtype: str) -> Measured | None:
    rates = _table(_table(entry.get("flops")).get(dtype))
    forward, dgrad, wgrad = (_number(rates.get(product)) for product in ("forward", "dgrad", "wgrad"))
    if forward is None:
        return None
    told = str(entry.get("name")), str(rates.get("by"))
    return Measured(*told, forward, dgrad, wgrad, _number(entry.get("bandwidth")))
