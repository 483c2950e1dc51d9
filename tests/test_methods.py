"""The comparison of the methods: which checkpoints are set beside each other, and what becomes of the page."""

from pathlib import Path

import pytest

from benchmarks import methods
from benchmarks.clones import measured, stage_command
from stages.common.errors import HaloForgeError, InputError
from tests.conftest import ROOT


def row(arm: str, checkpoint: str, samples: int, seconds: float, value: float, seed: int = 0) -> methods.Row:
    names = {"profile": "tiny", "seed": seed, "arm": arm, "checkpoint": checkpoint, "samples": samples}
    figures = {"pass@1": value, "pass@1_low": value - 0.1, "pass@1_high": value + 0.1}
    return {**names, "wall_seconds": seconds, "cpu_seconds": seconds, **figures}


ROWS = [
    *(row("raft", "sft" if not n else f"cycle-{n}", 100 * n, 50.0 * n, 0.3 + 0.1 * n) for n in range(4)),
    *(row("grpo", "sft" if not n else f"step-{n}", 60 * n, 26.0 * n, 0.3 + 0.01 * n) for n in range(7)),
]


def test_a_cycle_stands_beside_the_checkpoint_that_is_nearest_in_time() -> None:
    lines = methods.table(ROWS).splitlines()
    assert lines[0] == "| seed | after | RAFT | GRPO |"
    assert lines[2] == "| 0 | SFT | 0.300 (0.200-0.400) | 0.300 (0.200-0.400) |"
    cycle = "| 0 | cycle 1 | 0.400 (0.300-0.500), 50 s, 50 s CPU, 100 samples | 0.320 (0.220-0.420), 52 s, 52 s CPU,"
    assert lines[3].startswith(cycle)
    assert lines[-1] == "| mean | cycle 3 | 0.600 | 0.360 |"
    with_control = methods.table([*ROWS, row("control", "control-1", 100, 50.0, 0.2)]).splitlines()
    assert with_control[0].endswith("| no verifier |")
    assert with_control[2].endswith("|  |"), "there is no control of SFT"


def test_the_page_is_renewed_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(methods, "PAGE", page)
    page.write_text(f"before\n{methods.BEGIN}\nold\n{methods.END}\nafter\n")
    methods.write_page(ROWS)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert methods.table(ROWS) in text
    assert "old" not in text
    methods.write_page(ROWS)
    assert page.read_text() == text
    page.write_text("nothing")
    with pytest.raises(InputError, match="expected the lines"):
        methods.write_page(ROWS)


def test_commands_are_those_of_the_graph(tmp_path: Path) -> None:
    command = stage_command(ROOT, "raft", "2", {"parent": "cycle-1"})
    assert command[:6] == ["python", "-m", "stages.raft", "--cycle", "2", "--parent"]
    assert "models/cycle-1" in command
    assert not any("$" in word for word in command)
    cost = measured(["python", "-c", "sum(range(10**6))"], tmp_path, tmp_path)
    assert cost.cpu > 0
    assert (cost + cost).wall > 0
    with pytest.raises(HaloForgeError, match="ended with exit code 3"):
        measured(["python", "-c", "exit(3)"], tmp_path, tmp_path)


def test_a_generation_s_steps_are_those_of_the_settings() -> None:
    from stages.settings.grpo import GrpoSettings

    for changes in (
        {},
        {"steps_per_generation": 4},
        {"steps_per_generation": 4, "accumulation": 2, "num_iterations": 3},
    ):
        settings = GrpoSettings.parse({"num_generations": 2, "batch": 4, **changes}, "p")
        assert methods.generation_steps(settings.model_dump()) == settings.generation_steps
