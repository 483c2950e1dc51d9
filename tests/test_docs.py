"""The documents' code and commands work as they stand."""

import json
import re
import shutil
from pathlib import Path

from tests.conftest import ROOT, Run, write_lines

PAGE = (ROOT / "docs" / "CUSTOM_VERIFIERS.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    """The page's first block of that kind."""
    return re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[1]


def test_custom_verifier(stage: Run, tmp_path: Path) -> None:
    """The page's verifier judges the page's task, by the page's commands."""
    (tmp_path / "shell_verifier.py").write_text(block("python"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    write_lines(tmp_path / "tasks.jsonl", [block("json").strip()])
    scripts = ["cat", "echo x", "echo y", "if", "cat; exit 1", "```sh\ncat\n```"]
    samples = [{"task_id": "sh/1", "sample": n, "completion": code} for n, code in enumerate(scripts)]
    write_lines(tmp_path / "samples.jsonl", map(json.dumps, samples))
    judge, doctor = block("sh").strip().splitlines()
    stage(*judge.removeprefix("python -m stages.").split())
    verdicts = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert [verdict["reward"] for verdict in verdicts] == [1.0, 1.0, 0.7, 0.0, 0.5, 1.0]
    rows = stage(*doctor.removeprefix("python -m stages.").split()).stdout
    assert "shell_verifier:Shell" in rows
