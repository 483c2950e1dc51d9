"""Clones of the committed tree to measure in: their settings, their pipeline, their stages' own commands."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.errors import HaloForgeError
from stages.common.yaml_files import round_trip
from stages.common.yaml_reader import read_yaml


@dataclass(frozen=True)
class Cost:
    """What a command took: wall-clock seconds, and CPU seconds of its processes (those in sandboxes not counted)."""

    wall: float
    cpu: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


def clone(target: Path) -> Path:
    """A clone of the committed tree at `target`."""
    subprocess.run(["git", "clone", "-q", ".", str(target)], check=True)
    return target


def edit_params(folder: Path, change: Callable[[Any], None]) -> None:
    """Change the decoded params.yaml of a clone in place."""
    document = round_trip()
    params = document.load((folder / "params.yaml").read_text(encoding="utf-8"))
    change(params)
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        document.dump(params, file)


def repro(folder: Path, label: str, *targets: str) -> dict[str, float]:
    """Reproduce a clone stage by stage; seconds by stage. HaloForgeError where it fails."""
    seconds: dict[str, float] = {}
    stage, began = "start", time.monotonic()
    process = subprocess.Popen(["dvc", "repro", *targets], cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if line.startswith("Running stage '"):
            now = time.monotonic()
            seconds[stage], stage, began = now - began, line.split("'")[1], now
            print(f"{label}: {stage}", file=sys.stderr, flush=True)
    seconds[stage] = time.monotonic() - began
    if process.wait():
        raise HaloForgeError(f"{label}: dvc repro ended with exit code {process.returncode}, see above")
    return seconds


def stage_command(folder: Path, stage: str, key: str, item: Mapping[str, Any]) -> list[str]:
    """The command of one item of a foreach stage in a clone's dvc.yaml."""
    command = read_yaml(folder / "dvc.yaml")["stages"][stage]["do"]["cmd"]
    command = command.replace("${key}", key)
    for name, value in item.items():
        command = command.replace(f"${{item.{name}}}", str(value))
    return command.split()


def measured(command: Sequence[str], folder: Path, cache: Path) -> Cost:
    """Run a stage's command by itself in a clone, with a verdict cache of its own. HaloForgeError where it fails."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache.resolve())}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code = subprocess.run([sys.executable, *command[1:]], cwd=folder, env=environment, check=False).returncode
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if code:
        raise HaloForgeError(f"{' '.join(command[:4])} ended with exit code {code}, see above")
    return Cost(wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
