"""README.md: its commands exist, its table of stages is the graph."""

import re
import subprocess

import pytest
import yaml

from tests.pages import ROOT, commands

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [c for c in commands(TEXT) if c.startswith("make ")])
def test_make_commands_are_targets(command: str) -> None:
    subprocess.run([*command.split(), "-n"], cwd=ROOT, check=True, capture_output=True)


def test_every_stage_is_told_of() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    table = set(re.findall(r"^\| `([\w-]+)(?:@\w+)?` \|", TEXT, re.MULTILINE))
    assert set(stages) - {"benchmark-sample", "report"} == table - {"make"}


def test_settings_named_are_settings() -> None:
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key in ("cycles.2.threshold", "cycles.2.temperature"):
        assert f"`{key}`" in TEXT
        value = settings
        for part in key.split("."):
            value = value[part]
    for profile in re.findall(r"profile: (\w+)", TEXT):
        assert profile in settings["profiles"]
