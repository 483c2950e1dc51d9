"""The loss curve of a training, as a file."""

from pathlib import Path

from stages.common.files import write_csv

CURVE = ["step", "epoch", "loss", "learning_rate"]


def write_curve(path: Path | None, curve: list[dict[str, float | int]]) -> None:
    """Write a loss curve as CSV, with a header even where nothing was trained; nothing if `path` is None."""
    if path is not None:
        validated = any("validation_loss" in point for point in curve)
        write_csv(path, [*CURVE, *(["validation_loss"] if validated else [])], curve)
