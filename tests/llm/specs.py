"""A small spec, and the folder of a run of the stage."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT
from tests.llm.server import Scripted, example

KEY = "sk-test-0123456789abcdef"
SPEC: dict[str, Any] = {
    "name": "adding",
    "language": "python",
    "verifier": "pytest",
    "style": "tests",
    "count": 2,
    "categories": {"small": {"description": "Small numbers."}, "large": {"description": "Large numbers."}},
    "levels": {"easy": {"description": "One addition."}},
    "system": "You write exercises.",
    "guide": "Short.",
    "forbidden": [r"\beval\b"],
    "examples": [
        {
            "problem": "Write `add_two(x: int) -> int`, which adds 2 to x.",
            "solution": "def add_two(x: int) -> int:\n    return x + 2\n",
            "tests": "assert add_two(1) == 3\nassert add_two(0) == 2\n",
        }
    ],
}
assert "add_two" in example("add_two", "return x + 2", 2)


class Workplace:
    """A folder with a spec and params.yaml, in which the stage is run as it is by DVC."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"TEST_KEY": KEY}

    def write(self, server: Scripted | None, spec: dict[str, Any] | None = None, **settings: Any) -> None:
        """The files; `settings` are those of the entry in `specs`."""
        spec = {**SPEC, **(spec or {})}
        (self.folder / "specs").mkdir(exist_ok=True)
        (self.folder / "specs" / f"{spec['name']}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        entry: dict[str, Any] = {"backoff_seconds": 0.01, "max_tokens": 100, **settings}
        if server is not None:
            entry = {"backend": "server", "base_url": server.url, "model": "m", "key_env": "TEST_KEY", **entry}
        params = {"specs": {spec["name"]: entry}, "verify": {"workers": 2}}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))

    def command(self, *more: object, name: str = "adding") -> list[str]:
        """The stage's command line."""
        paths = {"spec": f"specs/{name}.yaml", "answers": f"answers/{name}.jsonl", "out": f"generated/{name}.jsonl"}
        paths |= {"metrics": "metrics.json", "timing": "timing.json"}
        flags = [word for flag, path in paths.items() for word in (f"--{flag}", path)]
        return [sys.executable, "-m", "stages.generate", *flags, *map(str, more)]

    @property
    def env(self) -> dict[str, str]:
        """Its environment."""
        return {**os.environ, "PYTHONPATH": str(ROOT), **self.environment}

    def run(self, *more: object, code: int = 0, name: str = "adding") -> str:
        """Run it; what it said on stderr. Asserts the exit code."""
        done = subprocess.run(
            self.command(*more, name=name),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The decoded lines of a JSON Lines file."""
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The tasks that were written."""
        return self.lines("generated/adding.jsonl")

    @property
    def metrics(self) -> dict[str, Any]:
        """The counts that were written."""
        return json.loads((self.folder / "metrics.json").read_text())

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The ledger's events of a kind."""
        return [event for event in self.lines("answers/adding.jsonl") if event["event"] == kind]
