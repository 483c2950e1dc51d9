"""Python programs run in the sandbox as outside: `cases/as_outside.jsonl`, with plain CPython as the oracle."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.sandbox import Sandbox, View
from stages.settings.verify import Limits

PROGRAMS = [
    json.loads(line) for line in Path(__file__).with_name("cases").joinpath("as_outside.jsonl").read_text().splitlines()
]
LIMITS = Limits(cpu_seconds=20).job()
ENVIRONMENT = {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PATH": os.environ["PATH"]}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program["name"])
def test_as_outside(sandbox: Sandbox, tmp_path: Path, program: dict) -> None:
    code, stdin = program["code"], program["stdin"]
    job = {"kind": "program", "code": code, "stdins": [stdin], "limits": LIMITS}
    report = sandbox.run(job, View())
    assert report is not None
    assert report["compile"] is None
    inside = report["runs"][0]
    (tmp_path / "solution.py").write_bytes(code.encode())
    (tmp_path / "stdin").write_bytes(stdin.encode("utf-8", "surrogateescape"))
    with (tmp_path / "stdin").open("rb") as given:
        command = [sys.executable, "solution.py"]
        done = subprocess.run(command, stdin=given, cwd=tmp_path, capture_output=True, check=False, env=ENVIRONMENT)
    ended = (done.returncode, None) if done.returncode >= 0 else (None, -done.returncode)
    written = done.stdout.decode("utf-8", "surrogateescape").replace(str(tmp_path), "FOLDER")
    assert (inside["stdout"].replace("/forge/program", "FOLDER"), inside["exit"], inside["signal"]) == (written, *ended)
    assert inside["limit"] is None
