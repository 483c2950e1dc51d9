"""What a run of GRPO reports: figures from its records, and a curve from what TRL logs."""

from typing import Any

from stages.common.records import Sample, Verdict
from stages.lm.rollouts import Rollouts

CURVE = ["step", "loss", "learning_rate", "reward", "reward_std", "uniform", "entropy", "kl", "tokens", "grad_norm"]


def curve(history: list[dict]) -> list[dict[str, float | int]]:
    """A row per optimizer step, of the columns CURVE. `uniform` is the share of groups whose rewards are all the same:
    they teach nothing; `entropy` (nats) and `kl` (where beta is not 0) are means over tokens, `tokens` is a
    completion's mean length."""
    names = {"uniform": "frac_reward_zero_std", "tokens": "completions/mean_length"}
    rows: list[dict[str, float | int]] = []
    for entry in history:
        if "loss" not in entry:
            continue
        row: dict[str, Any] = {"step": entry["step"]}
        for name in CURVE[1:]:
            value = entry.get(names.get(name, name))
            if value is None and rows:  # what TRL logs at a generation's first step holds for its others
                value = rows[-1][name]
            row[name] = None if value is None else float(f"{value:.6g}")
        rows.append(row)
    return rows


def metrics(rollouts: Rollouts, steps: int) -> dict[str, float | int | None]:
    """Repeatable figures of a run, from its records: shares of the samples, of all and of the last tenth of the
    generations. `no_signal` is the share of groups that were all paid the same."""
    tail = max(1, rollouts.generations // 10)
    figures: list[tuple[float, float, float, float]] = []
    for generation in range(rollouts.generations):
        verdicts = rollouts.read(Verdict, generation)
        samples = rollouts.read(Sample, generation)
        paid = [rollouts.judge.reward(verdict) or 0.0 for verdict in verdicts]
        size = rollouts.settings.num_generations
        groups = [paid[start : start + size] for start in range(0, len(paid), size)]
        figures.append(
            (
                sum(paid) / len(paid),
                sum(verdict.reward == 1 for verdict in verdicts) / len(verdicts),
                sum(min(group) == max(group) for group in groups) / len(groups),
                sum(sample.finish_reason == "length" for sample in samples) / len(samples),
            )
        )
    found: dict[str, float | int | None] = {
        "steps": steps,
        "samples": len(rollouts.order) * rollouts.settings.num_generations,
        "prompts_drawn": len(set(rollouts.order)),
    }
    for name, values in zip(("reward", "pass_rate", "no_signal", "truncated"), zip(*figures, strict=True), strict=True):
        found[name] = round(sum(values) / len(values), 6)
        found[f"{name}_last"] = round(sum(values[-tail:]) / tail, 6)
    return found
