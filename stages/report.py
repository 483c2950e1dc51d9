"""All metrics -> the tables behind the pictures of `dvc plots`, and a summary in the terminal.

python -m stages.report --metrics metrics --out metrics/report
"""

from collections import Counter
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from stages.common import records
from stages.common.cli import run
from stages.common.data_tables import data_lengths, data_rows
from stages.common.errors import InputError
from stages.common.files import write_csv
from stages.common.params import Params, argument_parser
from stages.common.records import Verdict
from stages.common.score import counts
from stages.common.stage_times import HEADER, stage_times
from stages.common.statistics import bootstrap_interval
from stages.common.tables import TRIMMED, Row, figure, read_csv, read_json, strict_names
from stages.settings.checkpoints import made_beside
from stages.settings.cycle import check_chain

CONTROL = ["cycle", "pass@1", "control_pass@1", "difference", "low", "high"]
CATEGORIES = ["checkpoint", "group", "field", "value", "tasks", "pass@1"]  # where no task has any
RESAMPLES = 2000
ENDS = {"value": "", "low": "_low", "high": "_high"}


def learning_curve(folder: Path, models: list[str]) -> list[Row]:
    """One row per checkpoint and k: pass@k with its interval."""
    rows = []
    places = {model: place for place, model in enumerate(m for m in models if not m.startswith("control-"))}
    for order, model in enumerate(models):
        path = folder / "benchmark" / f"{model}.json"
        figures = read_json(path)
        figure(figures, "pass@1", path)
        control = model.startswith("control-")
        place = model.replace("control-", "cycle-") if control else model
        arm = "control (unverified)" if control else "GRPO" if model.startswith("grpo-") else "RAFT"
        for key in strict_names(figures):
            value = {name: figure(figures, f"{key}{end}", path) for name, end in ENDS.items()}
            rows.append(
                {
                    "order": places.get(place, order),
                    "place": place,
                    "arm": arm,
                    "checkpoint": model,
                    "metric": key,
                    **value,
                }
            )
    return rows


def rewards(folder: Path, cycles: list[str]) -> list[Row]:
    """One row per cycle and reward: how many samples earned it, and their share."""
    rows = []
    for cycle in cycles:
        counts: Counter[str] = Counter()
        for row in read_csv(folder / "rewards" / f"cycle-{cycle}.csv"):
            counts[row["reward"]] += int(row["samples"])
        for reward, count in counts.items():
            share = round(count / counts.total(), 6) if count else 0.0
            rows.append({"cycle": f"cycle {cycle}", "reward": reward, "samples": count, "share": share})
    return rows


def training_loss(folder: Path, models: list[str]) -> list[Row]:
    """The points of every checkpoint's loss curve. The base model has none: it may come trained from the hub."""
    return [
        {"checkpoint": model, "step": row["step"], "loss": row["loss"]}
        for model in models
        if model != "base"
        for row in read_csv(folder / "loss" / f"{model}.csv")
    ]


def pass_by_category(folder: Path, models: list[str]) -> list[Row]:
    """Every checkpoint's figures by category; `group` names it whole, as DVC's plots write over `field`."""
    return [
        {"checkpoint": model, "group": f"{row['field']}: {row['value']}", **row}
        for model in models
        for row in read_csv(folder / "category" / f"{model}.csv")
    ]


def used_sources(folder: Path) -> dict[str, dict[str, Any]]:
    """The metrics of each source that the profile uses, by name."""
    found = {path.stem: read_json(path) for path in sorted((folder / "data").glob("*.json"))}
    return {name: metrics for name, metrics in found.items() if metrics.get("used")}


def beside_control(folder: Path | None, number: str) -> Row:
    """A cycle's pass@1 beside that of its control, and their difference with its 95 % interval, paired by task."""
    if folder is None:
        raise InputError("--verdicts: missing; a control is compared by task")
    rates = []
    for name in (f"cycle-{number}", f"control-{number}"):
        tally = counts(records.read(Verdict, folder / name / "verdicts.jsonl"))
        rates.append({task_id: passed / drawn for task_id, (drawn, passed) in tally.items()})
    differences = [rates[0][task_id] - rates[1][task_id] for task_id in rates[0]]
    low, high = bootstrap_interval(differences, RESAMPLES)
    means = [sum(rate.values()) / len(rate) for rate in rates]
    figures = (means[0], means[1], means[0] - means[1], low, high)
    return {"cycle": number, **dict(zip(CONTROL[1:], (round(f, 6) for f in figures), strict=True))}


def control_summary(rows: list[Row]) -> Table:
    """What each cycle gained over the same training on samples that no verifier chose."""
    table = Table(
        "cycle",
        "pass@1",
        "control",
        "difference",
        "95 % interval",
        title="RAFT beside its control, held-out",
        box=SIMPLE,
    )
    for row in rows:
        cells = (f"{row[name]:.3f}" for name in ("pass@1", "control_pass@1", "difference"))
        table.add_row(row["cycle"], *cells, f"{row['low']:.3f} - {row['high']:.3f}")
    return table


def regressed(folder: Path, params: Params) -> list[str]:
    """A line for each cycle whose validation pass@1 fell, and for its children."""
    lines = []
    for number, entry in params.raw["cycles"].items():
        path = folder / "validation" / f"cycle-{number}.json"
        found = read_json(path) if path.exists() else {}
        if found.get("regressed"):
            children = [n for n, other in params.raw["cycles"].items() if other["parent"] == f"cycle-{number}"]
            overruled = [n for n in children if params.raw["cycles"][n].get("use_regressed")]
            told = f"cycle-{number} REGRESSED on validation, pass@1 {found['pass@1']:.3f}, below {entry['parent']}'s"
            after = [f"cycle {n} went on from it all the same (use_regressed)" for n in overruled]
            after += [f"cycle {n} went on from what came before" for n in children if n not in overruled]
            lines.append("; ".join([told, *after]))
    return lines


def other_rates(folder: Path, models: list[str], key: str) -> dict[str, str]:
    """A figure by checkpoint, of those whose benchmark has it: `greedy_pass@1`, `pass@1_trimmed`."""
    found = {model: read_json(folder / "benchmark" / f"{model}.json").get(key) for model in models}
    return {model: f"{value:.3f}" for model, value in found.items() if value is not None}


def summary(curve: list[Row], others: dict[str, dict[str, str]]) -> Table:
    """pass@k, a line per checkpoint, with the interval of the first k; `others`: {heading: {checkpoint: figure}}."""
    metrics = list(dict.fromkeys(row["metric"] for row in curve))
    others = {name: found for name, found in others.items() if found}
    table = Table("checkpoint", metrics[0], "95 % interval", *metrics[1:], *others, title="held-out pass@k", box=SIMPLE)
    for checkpoint in dict.fromkeys(row["checkpoint"] for row in curve):
        cells = {row["metric"]: row for row in curve if row["checkpoint"] == checkpoint}
        first, *more = (f"{cells[metric]['value']:.3f}" for metric in metrics)
        interval = f"{cells[metrics[0]]['low']:.3f} - {cells[metrics[0]]['high']:.3f}"
        table.add_row(checkpoint, first, interval, *more, *(found.get(checkpoint, "") for found in others.values()))
    return table


def main() -> None:
    """Collect, write, show."""
    parser = argument_parser(__doc__)
    parser.add_argument("--metrics", type=Path, required=True, help="folder of all metrics")
    parser.add_argument("--verdicts", type=Path, help="folder of the benchmark's verdicts, to compare by task")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    parser.add_argument(
        "--timing", type=Path, help="folder of the stages' timing files; stages.csv there tells them all"
    )
    args = parser.parse_args()
    params = Params(args.params)
    cycles, models = check_chain(params, made_beside(params))
    controls = [
        number for number in params.raw.get("controls") or {} if {f"control-{number}", f"cycle-{number}"} <= set(models)
    ]
    beside = [beside_control(args.verdicts, number) for number in controls]
    curve = learning_curve(args.metrics, models)
    sources = used_sources(args.metrics)
    tables = {
        "learning_curve": (["order", "place", "arm", "checkpoint", "metric", "value", "low", "high"], curve),
        "rewards": (["cycle", "reward", "samples", "share"], rewards(args.metrics, cycles)),
        "control": (CONTROL, beside),
        "data_rows": (["source", "outcome", "rows"], data_rows(sources)),
        "data_lengths": (["source", "text", "tokens", "tasks"], data_lengths(sources)),
        "training_loss": (["checkpoint", "step", "loss"], training_loss(args.metrics, models)),
    }
    for name, (header, rows) in tables.items():
        write_csv(args.out / f"{name}.csv", header, rows)
    categories = pass_by_category(args.metrics, models)
    write_csv(args.out / "categories.csv", list(categories[0]) if categories else CATEGORIES, categories)
    if args.timing:
        write_csv(args.timing / "stages.csv", HEADER, stage_times(args.timing))
    console = Console()
    others = {"greedy": "greedy_pass@1", "trimmed": TRIMMED}
    console.print(summary(curve, {name: other_rates(args.metrics, models, key) for name, key in others.items()}))
    if beside:
        console.print(control_summary(beside))
    for line in regressed(args.metrics, params):
        print(line)  # whole: a console would break it in a log


if __name__ == "__main__":
    run(main)
