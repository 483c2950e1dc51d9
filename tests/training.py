"""What tests of training share: rows, and a training of the tiny checkpoint in this process."""

from pathlib import Path

from stages.common.records import Example
from stages.lm import devices, load
from stages.lm.chat import example_row
from stages.lm.training import TrainResult, train
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.training import TrainSettings

COMPUTE = ComputeSettings(threads=1, dtype="float32")


def rows(checkpoint: Path, count: int = 8, first: int = 0) -> list[dict]:
    """Tokenised examples of tasks t/FIRST and following, of several lengths."""
    tokenizer = load.load_tokenizer(checkpoint)
    examples = [
        Example(f"t/{n}", 0, "sft", 1.0, f"add {n}" + " x" * (4 * (n % 5)), "python", f"def f(xs):\n    return {n}\n")
        for n in range(first, first + count)
    ]
    return [example_row(tokenizer, example, PromptSettings()) for example in examples]


def fit(
    checkpoint: Path,
    work: Path,
    settings: TrainSettings,
    data: list[dict] | None = None,
    validation: list[dict] | None = None,
    compute: ComputeSettings = COMPUTE,
) -> TrainResult:
    """Train the checkpoint on `data`, with checkpoints below `work`."""
    devices.use_threads(1)
    tokenizer = load.load_tokenizer(checkpoint)
    quantize = settings.lora and settings.lora.quantize
    model = load.load_model(checkpoint, compute, trainable=True, quantize=quantize)
    how = {"seed": 0, "work": work, "label": "test", "origin": str(checkpoint), "validation": validation}
    return train(model, tokenizer, data or rows(checkpoint), settings, **how)
