"""`make raft CYCLES=N` edits params.yaml as a person would: a small diff, comments kept."""

import difflib
import shutil
from pathlib import Path

import pytest

from stages.common.yaml_files import round_trip
from stages.cycles import targets
from tests.conftest import ROOT, Run


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def test_the_chain_grows_by_exactly_the_lines_that_are_new(params: Path, stage: Run) -> None:
    before = params.read_text().splitlines()
    out = stage("cycles", "--cycles", 5, "--no-run").stdout
    assert "added cycle-4, cycle-5" in out
    changes = [line for line in difflib.ndiff(before, params.read_text().splitlines()) if line[0] in "+-?"]
    assert changes == [
        '+   "4": {parent: cycle-3, temperature: null, threshold: null, learning_rate: null, use_regressed: false}',
        '+   "5": {parent: cycle-4, temperature: null, threshold: null, learning_rate: null, use_regressed: false}',
        "+   - cycle-4",
        "+   - cycle-5",
    ]
    assert "all settings valid" in stage("settings").stdout


def test_a_chain_that_is_long_enough_is_left_alone(params: Path, stage: Run) -> None:
    before = params.read_bytes()
    stage("cycles", "--cycles", 2, "--no-run")
    assert params.read_bytes() == before


def test_a_shorter_run_ends_with_that_cycles_benchmark() -> None:
    document = round_trip().load((ROOT / "params.yaml").read_text())
    assert targets(document, 2) == ["benchmark@base", "benchmark@sft", "benchmark@cycle-1", "benchmark@cycle-2"]
    assert targets(document, 3) == []


@pytest.mark.parametrize(("text", "message"), [("a: [", "not YAML"), ("seed: 1\n", "key 'profile' is missing")])
def test_a_broken_file_is_one_line(tmp_path: Path, stage: Run, text: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    assert message in stage("cycles", "--cycles", 2, "--no-run", code=1).stderr
    assert "expected 1 or more" in stage("cycles", "--cycles", 0, code=1).stderr
