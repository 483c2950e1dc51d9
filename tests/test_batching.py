"""How examples share a forward pass changes what it costs, and nothing else."""

from pathlib import Path

import pytest
import torch
from pytest import MonkeyPatch
from trl import SFTTrainer

from stages.lm import load
from stages.lm.trainer import as_dataset, make_trainer, sequences
from stages.lm.training import TrainResult
from stages.settings.compute import ComputeSettings
from stages.settings.training import LoraSettings, TrainSettings
from tests.training import COMPUTE, fit, rows

STEP = {"learning_rate": 1e-2, "warmup": 0.0, "log_steps": 1, "max_length": 100}


def weights(result: TrainResult) -> dict[str, torch.Tensor]:
    return result.model.state_dict()


def expect_close(a: TrainResult, b: TrainResult) -> None:
    """Equal but for rounding: AdamW's first steps are about as long as the rate, whatever the gradient's size."""
    assert a.metrics["train_loss"] == pytest.approx(b.metrics["train_loss"], rel=1e-4)
    assert all(torch.allclose(weights(a)[name], weights(b)[name], atol=2e-4) for name in weights(a))


def test_packed_rows_hold_every_example_whole(checkpoint: Path) -> None:
    data = rows(checkpoint, 20)
    packed = as_dataset(data, TrainSettings(**STEP, batching="packed"))
    assert len(packed) < 20 / 2
    assert all(len(row["input_ids"]) <= 100 for row in packed)
    cut = []
    for row in packed:
        start = 0
        for length in row["seq_lengths"]:
            cut.append((row["input_ids"][start : start + length], row["labels"][start : start + length]))
            start += length
    assert sorted(cut) == sorted((row["input_ids"], row["labels"]) for row in data)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_packed_example_sees_itself_only(checkpoint: Path, tmp_path: Path, attention: str) -> None:
    """Its logits are those that it has alone, whatever it shares a row with."""
    compute = ComputeSettings(threads=1, dtype="float32", attention=attention)
    model, tokenizer = load.load_model(checkpoint, compute), load.load_tokenizer(checkpoint)
    settings = TrainSettings(**STEP, batching="packed")
    trainer = make_trainer(model, tokenizer, rows(checkpoint, 6), [], settings, 0, tmp_path)
    batch = trainer.data_collator(list(trainer.train_dataset.select([0])))
    assert (batch["position_ids"] == 0).sum() > 1, "several examples share the row"
    model.eval()
    together = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"]).logits[0]
    alone = torch.cat([model(input_ids=torch.tensor([ids])).logits[0] for ids in sequences(batch)])
    assert torch.allclose(together, alone, atol=1e-5)
    other = model(input_ids=batch["input_ids"]).logits[0]
    assert not torch.allclose(other, alone, atol=1e-2), "without positions they would see each other"


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)])
def test_a_packed_step_is_an_unpacked_one(checkpoint: Path, tmp_path: Path, lora: LoraSettings | None) -> None:
    data = rows(checkpoint, 12)
    packs = len(as_dataset(data, TrainSettings(**STEP, batching="packed")))
    padded = fit(checkpoint, tmp_path / "a", TrainSettings(**STEP, batch=12, lora=lora), data)
    packed = fit(checkpoint, tmp_path / "b", TrainSettings(**STEP, batch=packs, batching="packed", lora=lora), data)
    expect_close(padded, packed)
    assert packed.timing["padding_share"] == 0 < padded.timing["padding_share"]


@pytest.mark.parametrize("most", [0, 2**24], ids=["TRL's head", "logits"])
@pytest.mark.parametrize("batching", ["shuffled", "packed"])
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)], ids=["full", "lora"])
def test_loss_and_gradients_are_trl_s(
    checkpoint: Path, tmp_path: Path, batching: str, lora: LoraSettings | None, most: int, monkeypatch: MonkeyPatch
) -> None:
    """Without a mask, and from the taught tokens' logits alone."""
    monkeypatch.setattr("stages.lm.trainer.MOST_LOGITS", most)
    settings = TrainSettings(**STEP, batch=5, batching=batching, lora=lora)
    model, tokenizer = load.load_model(checkpoint, COMPUTE, trainable=True), load.load_tokenizer(checkpoint)
    trainer = make_trainer(model, tokenizer, rows(checkpoint, 5), [], settings, 0, tmp_path)
    batch = trainer.data_collator(list(trainer.train_dataset))
    if batching == "shuffled":
        assert (batch["attention_mask"] == 0).any()
    for items in (None, torch.tensor(77)):
        gradients = []
        for loss_of in (SFTTrainer.compute_loss, type(trainer).compute_loss):
            trainer.model.zero_grad()
            loss = loss_of(trainer, trainer.model, dict(batch), num_items_in_batch=items)
            loss.backward()
            found = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
            gradients.append((loss.item(), found))
        (a, theirs), (b, ours) = gradients
        assert a == pytest.approx(b, rel=1e-5)
        assert theirs.keys() == ours.keys()
        assert all(torch.allclose(theirs[name], ours[name], atol=1e-6) for name in theirs)


def test_accumulation_weighs_every_token_alike(checkpoint: Path, tmp_path: Path) -> None:
    data = rows(checkpoint, 12)
    whole = fit(checkpoint, tmp_path / "a", TrainSettings(**STEP, batch=12), data)
    parts = fit(checkpoint, tmp_path / "b", TrainSettings(**STEP, batch=2, accumulation=6), data)
    expect_close(whole, parts)


def test_examples_of_like_length_pad_less(checkpoint: Path, tmp_path: Path) -> None:
    data = rows(checkpoint, 120)
    settings = {"learning_rate": 1e-3, "batch": 4}
    shuffled = fit(checkpoint, tmp_path / "a", TrainSettings(**settings), data)
    by_length = fit(checkpoint, tmp_path / "b", TrainSettings(**settings, batching="by_length"), data)
    assert by_length.timing["padding_share"] < shuffled.timing["padding_share"] / 2
    assert by_length.timing["steps"] == shuffled.timing["steps"] == 30


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)])
def test_gradient_checkpointing_changes_no_gradient(
    checkpoint: Path, tmp_path: Path, lora: LoraSettings | None
) -> None:
    plain = fit(checkpoint, tmp_path / "a", TrainSettings(**STEP, batch=4, lora=lora))
    again = fit(checkpoint, tmp_path / "b", TrainSettings(**STEP, batch=4, lora=lora, gradient_checkpointing=True))
    assert again.model.is_activation_checkpointing or lora
    expect_close(plain, again)


def test_the_tasks_of_a_batch_are_known(checkpoint: Path, tmp_path: Path) -> None:
    model, tokenizer = load.load_model(checkpoint, COMPUTE), load.load_tokenizer(checkpoint)
    for batching in ("shuffled", "packed"):
        settings = TrainSettings(**STEP, batch=3, batching=batching)
        trainer = make_trainer(model, tokenizer, rows(checkpoint, 6), [], settings, 0, tmp_path)
        batch = next(iter(trainer.get_train_dataloader()))
        names = [name for row in sequences(batch) for name in trainer.task_ids[row]]
        assert len(names) == len(set(names)) >= 2
