"""The learning curve of the tiny profile for several seeds: the figures and the picture in the README.

python -m benchmarks.seeds --seeds 0 1 2    runs the pipeline of the committed tree in a clone for each seed
python -m benchmarks.seeds                  draws docs/learning_curve.png from docs/learning_curve.csv again
"""

import argparse
import csv
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.clones import clone, edit_params, repro
from stages.common.cli import run
from stages.common.files import write_csv
from stages.common.json_reader import read_map

TABLE = Path("docs/learning_curve.csv")
PICTURE = Path("docs/learning_curve.png")
STAGES = Path("docs/stage_seconds.csv")
HEADER = ["seed", "checkpoint", "pass@1", "pass@1_low", "pass@1_high", "pass@4", "pass@8"]
SHOWN = ("sft", "cycle-1", "cycle-2", "cycle-3")
Row = dict[str, Any]


def figures(project: Path, seed: int) -> list[Row]:
    """The benchmark's figures of each checkpoint."""
    rows = []
    for model in SHOWN:
        found = read_map(project / "metrics/benchmark" / f"{model}.json")
        rows.append({"seed": seed, "checkpoint": model, **{key: found[key] for key in HEADER[2:]}})
    return rows


def read_table() -> list[Row]:
    """The rows of earlier runs; a seed that runs again takes the place of its own."""
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def draw(rows: list[Row]) -> None:
    """pass@1 over checkpoints with 95 % intervals, a line per seed."""
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), dpi=150)
    for offset, (seed, group) in enumerate(groupby(rows, key=lambda row: row["seed"])):
        points = list(group)
        middle = [float(p["pass@1"]) for p in points]
        low = [m - float(p["pass@1_low"]) for m, p in zip(middle, points, strict=True)]
        high = [float(p["pass@1_high"]) - m for m, p in zip(middle, points, strict=True)]
        places = [n + 0.05 * (offset - 1) for n in range(len(points))]
        axes.errorbar(places, middle, yerr=[low, high], marker="o", capsize=3, label=f"seed {seed}")
    axes.set_xticks(range(len(SHOWN)), [name.replace("sft", "SFT").replace("-", " ") for name in SHOWN])
    axes.set_ylim(0, 1)
    axes.set_ylabel("pass@1, 240 held-out tasks x 8 samples")
    axes.set_title("RAFT on the tiny profile (bars: 95 % bootstrap intervals)")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(PICTURE)


def main() -> None:
    """Run what is asked for, write the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[])
    args = parser.parse_args()
    rows = [row for row in read_table() if int(row["seed"]) not in args.seeds]
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            project = clone(Path(folder) / "halo-forge")
            edit_params(project, lambda params, seed=seed: params.update(seed=seed))
            seconds = repro(project, f"seed {seed}")
            rows += figures(project, seed)
        write_csv(STAGES, ["stage", "seconds"], [{"stage": s, "seconds": round(t, 1)} for s, t in seconds.items()])
        print(f"seed {seed}: {sum(seconds.values()):.0f} s", file=sys.stderr)
    rows.sort(key=lambda row: int(row["seed"]))
    write_csv(TABLE, HEADER, rows)
    draw(rows)


if __name__ == "__main__":
    run(main)
