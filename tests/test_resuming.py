"""A training that is cut off anywhere goes on and ends in the same weights, losses and choices, bit for bit."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from stages.lm import trainer
from stages.lm.training import TrainResult
from stages.settings.training import EarlyStopSettings, LoraSettings, TrainSettings
from tests.training import fit, rows

# 10 examples in batches of 2, 2 batches a step: 3 steps an epoch, the last of them of half the size.
SETTINGS = {"learning_rate": 1e-2, "epochs": 2, "batch": 2, "accumulation": 2, "log_steps": 2, "checkpoint_steps": 1}
STEPS = 6


class Cut(Exception):
    """Stands for a kill behind an optimizer step and before its checkpoint."""


def outcome(result: TrainResult) -> tuple[dict, list]:
    return result.metrics, result.curve


def equal(a: TrainResult, b: TrainResult) -> bool:
    one, other = a.model.state_dict(), b.model.state_dict()
    return outcome(a) == outcome(b) and all(torch.equal(one[name], other[name]) for name in one)


def cut_at(step: int, patch: pytest.MonkeyPatch) -> None:
    whole = trainer.Watch.on_step_end

    def on_step_end(self: trainer.Watch, args: object, state: object, control: object, **more: object) -> None:
        whole(self, args, state, control, **more)
        if state.global_step == step:
            raise Cut

    patch.setattr(trainer.Watch, "on_step_end", on_step_end)


@pytest.mark.parametrize("kind", ["full", "lora", "packed", "by_length"])
def test_cut_off_at_every_step(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    """Step 3 ends the first epoch: what goes on behind it must begin the second, and not train nothing."""
    more = {"lora": LoraSettings(rank=4, dropout=0.2)} if kind == "lora" else {}
    more |= {"batching": kind} if kind in ("packed", "by_length") else {}
    settings = TrainSettings(**SETTINGS, **more, max_length=64)
    data = rows(checkpoint, 10 if kind != "packed" else 20)
    whole = fit(checkpoint, tmp_path / "whole", settings, data)
    for step in range(1, whole.timing["steps"] + 1) if kind in ("full", "lora") else (2, 4):
        work = tmp_path / f"cut-{step}"
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
            cut_at(step, patch)
            fit(checkpoint, work, settings, data)
        assert equal(fit(checkpoint, work, settings, data), whole), f"cut off behind step {step}"
    assert equal(fit(checkpoint, tmp_path / "whole", settings, data), whole), "killed before the result was saved"


def test_cut_off_while_a_checkpoint_is_written(checkpoint: Path, tmp_path: Path) -> None:
    settings = TrainSettings(**SETTINGS)
    whole = fit(checkpoint, tmp_path / "whole", settings)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_at(4, patch)
        fit(checkpoint, tmp_path / "cut", settings)
    (last,) = (tmp_path / "cut").glob("*/checkpoint-3")
    half = shutil.copytree(last, last.with_name("checkpoint-4"))
    (half / "model.safetensors").write_bytes((half / "model.safetensors").read_bytes()[:100])
    text = (half / "trainer_state.json").read_text()
    (half / "trainer_state.json").write_text(text[: len(text) // 2])
    assert equal(fit(checkpoint, tmp_path / "cut", settings), whole)


def test_early_stopping_keeps_the_best_and_resumes(checkpoint: Path, tmp_path: Path) -> None:
    stop = EarlyStopSettings(every=2, patience=2)
    settings = TrainSettings(learning_rate=0.1, epochs=30, batch=4, warmup=0, log_steps=2, early_stop=stop)
    data, validation = rows(checkpoint, 8), rows(checkpoint, 4, first=50)
    whole = fit(checkpoint, tmp_path / "whole", settings, data, validation)
    losses = {point["step"]: point["validation_loss"] for point in whole.curve if "validation_loss" in point}
    assert whole.metrics["validation_loss"] == min(losses.values())
    assert whole.metrics["best_step"] == min(losses, key=losses.get)
    assert whole.metrics["steps"] == whole.metrics["best_step"] + 4 < 60, "two evaluations later it was over"
    for step in (whole.metrics["best_step"] + 1, whole.metrics["steps"]):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
            cut_at(step, patch)
            fit(checkpoint, tmp_path / f"{step}", settings, data, validation)
        assert equal(fit(checkpoint, tmp_path / f"{step}", settings, data, validation), whole)
    assert equal(fit(checkpoint, tmp_path / "whole", settings, data, validation), whole), "killed before it was saved"
    kept = [p.parent for p in (tmp_path / "whole").glob("*/checkpoint-*/trainer_state.json")]
    assert len(kept) <= 2, "the newest and the best"
    assert json.loads((kept[0] / "trainer_state.json").read_text())["best_metric"]
