"""RAFT beside GRPO on held-out pass@1 at equal wall time: the figures and the picture of docs/RAFT_VS_GRPO.md.

python -m benchmarks.methods --seeds 0 1 2 --write    runs both methods for each seed, in clones of the committed tree
python -m benchmarks.methods --write                  puts docs/raft_vs_grpo.csv into the page, and draws it, again

For each seed base and SFT are made once. Then three RAFT cycles are run, their stages' own commands one by one, and
timed; a short run of GRPO tells its rate, and a long one gets the wall time that the cycles took. An arm that is
finished is kept in build/methods and not run again for the same commit.
"""

import argparse
import csv
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.clones import Cost, clone, edit_params, measured, repro, stage_command
from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.files import replacing, write_csv, write_json
from stages.common.json_reader import read_map
from stages.common.yaml_reader import read_yaml

TABLE, PICTURE, PAGE = Path("docs/raft_vs_grpo.csv"), Path("docs/raft_vs_grpo.png"), Path("docs/RAFT_VS_GRPO.md")
WORK = Path("build/methods")
BEGIN, END = "<!-- figures: python -m benchmarks.methods --write -->", "<!-- end of figures -->"
FIGURES = ["pass@1", "pass@1_low", "pass@1_high"]
HEADER = ["profile", "seed", "arm", "checkpoint", "samples", "wall_seconds", "cpu_seconds", *FIGURES]
CYCLES = 3
POINTS = 6  # checkpoints of a GRPO run
PROBE_GENERATIONS = 6
MARGIN = 1.03  # GRPO's last checkpoint is to lie a little behind RAFT's last cycle, not before it
ARMS = {"raft": "RAFT", "grpo": "GRPO", "control": "no verifier"}
Row = dict[str, Any]


class Seed:
    """One seed's clone, and the folder of what its arms found."""

    def __init__(self, seed: int, profile: str) -> None:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
        self.seed, self.profile = seed, profile
        self.label = f"seed {seed}"
        self.folder = WORK / f"{commit[:12]}-{profile}" / f"seed-{seed}"
        self.project = self.folder / "halo-forge"

    def params(self) -> dict[str, Any]:
        """The clone's settings as they are now."""
        return read_yaml(self.project / "params.yaml")

    def stage(self, arm: str, name: str, key: str, item: dict[str, Any]) -> Cost:
        """Run one stage of an arm; what it took."""
        print(f"{self.label}: {name}@{key}", file=sys.stderr, flush=True)
        return measured(stage_command(self.project, name, key, item), self.project, self.folder / f"cache-{arm}")

    def row(self, arm: str, checkpoint: str, model: str, samples: int, cost: Cost) -> Row:
        """Benchmark a checkpoint; its row of the table."""
        out = self.folder.resolve() / "benchmark" / f"{model.replace('/', '-')}.json"
        command = ["python", "-m", "stages.benchmark", "--model", f"models/{model}"]
        command += ["--tasks", "data/mix/benchmark.jsonl", "--out", str(out)]
        if not out.exists():
            measured(command, self.project, self.folder / "cache-benchmark")
        found = read_map(out)
        spent = {"samples": samples, "wall_seconds": round(cost.wall, 1), "cpu_seconds": round(cost.cpu, 1)}
        names = {"profile": self.profile, "seed": self.seed, "arm": arm, "checkpoint": checkpoint}
        return {**names, **spent, **{key: found[key] for key in FIGURES}}

    def prepare(self) -> None:
        """Base, tasks, SFT and its validation, in a fresh clone."""
        if (self.folder / "ready").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        clone(self.project)
        edit_params(self.project, lambda params: params.update(seed=self.seed, profile=self.profile))
        repro(self.project, self.label, "validate-sft")
        (self.folder / "ready").touch()

    def arm(self, name: str, find: Callable[[], list[Row]]) -> list[Row]:
        """The rows of an arm, which is run where it has not been run to its end."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            shutil.rmtree(self.folder / f"cache-{name}", ignore_errors=True)
            write_json(path, find())
        return read_map(path)


def lines(path: Path) -> int:
    """Records of a JSON Lines file."""
    with path.open("rb") as file:
        return sum(1 for _ in file)


def raft(at: Seed) -> list[Row]:
    """SFT and each cycle, with what the cycles up to it took."""
    spent, samples = Cost(0, 0), 0
    rows = [at.row("raft", "sft", "sft", 0, spent)]
    for key, item in list(at.params()["cycles"].items())[:CYCLES]:
        for name in ("sample", "verify", "raft"):
            spent += at.stage("raft", name, key, item)
        for name in ("validate-sample", "validate"):  # decides on the next parent; no part of the method compared
            at.stage("raft", name, key, item)
        samples += lines(at.project / f"data/samples/cycle-{key}.jsonl")
        rows.append(at.row("raft", f"cycle-{key}", f"cycle-{key}", samples, spent))
    return rows


def grpo_run(at: Seed, key: str, steps: int, keep: int | None) -> tuple[Cost, dict[str, Any]]:
    """Run GRPO from SFT for so many steps; what it took, and its timing file."""

    def change(params: Any) -> None:
        params["grpo"] = {key: {"parent": "sft", "steps": steps}}
        params["profiles"][at.profile]["grpo"]["keep_steps"] = keep

    edit_params(at.project, change)
    shutil.rmtree(at.project / f"models/grpo-{key}.partial", ignore_errors=True)  # a resumed run has no time
    cost = at.stage("grpo", "grpo", key, {"parent": "sft"})
    return cost, read_map(at.project / f"metrics/timing/grpo-{key}.json")


def generation_steps(settings: dict[str, Any]) -> int:
    """Optimizer steps on one generation."""
    accumulation = settings.get("accumulation", 1)
    passes = settings.get("steps_per_generation") or accumulation
    return passes * settings.get("num_iterations", 1) // accumulation


def grpo(at: Seed, budget: float) -> list[Row]:
    """SFT and each checkpoint of a run that takes about `budget` seconds of wall time in all, its start included."""
    unit = generation_steps(at.params()["profiles"][at.profile]["grpo"])
    probe, timing = grpo_run(at, "9", PROBE_GENERATIONS * unit, None)
    overhead = probe.wall - timing["train_seconds"]
    steps = MARGIN * max(budget - overhead, 1) / (timing["train_seconds"] / timing["steps"])
    keep = max(1, math.ceil(steps / POINTS / unit)) * unit
    cost, timing = grpo_run(at, "1", keep * POINTS, keep)
    samples = lines(at.project / "data/samples/grpo-1.jsonl") // POINTS
    overhead = cost.wall - timing["train_seconds"]
    rows = [at.row("grpo", "sft", "sft", 0, Cost(0, 0))]
    for number, kept in enumerate(timing["kept"], 1):
        spent = Cost(overhead + kept["seconds"], kept["cpu_seconds"])
        rows.append(at.row("grpo", f"step-{kept['step']}", f"grpo-1/step-{kept['step']}", number * samples, spent))
    rows.append(at.row("grpo", f"step-{keep * POINTS}", "grpo-1", POINTS * samples, cost))
    return rows


def control(at: Seed, cycles: list[Row]) -> list[Row]:
    """Training on as many samples as RAFT accepted, unverified: at the wall time of the cycle that it stands beside."""
    entries = at.params().get("controls") or {
        row["checkpoint"].removeprefix("cycle-"): at.params()["cycles"][row["checkpoint"].removeprefix("cycle-")]
        for row in cycles
    }
    rows = []
    for key, row in zip(entries, cycles, strict=False):
        spent = at.stage("control", "control", key, dict(entries[key] or {}))
        found = at.row("control", f"control-{key}", f"control-{key}", row["samples"], spent)
        rows.append({**found, "wall_seconds": row["wall_seconds"]})
    return rows


def compare(seed: int, profile: str) -> list[Row]:
    """The rows of all arms for one seed."""
    at = Seed(seed, profile)
    at.prepare()
    rows = at.arm("raft", lambda: raft(at))
    budget = rows[-1]["wall_seconds"]
    rows = rows + at.arm("grpo", lambda: grpo(at, budget))
    if "control" in read_yaml(at.project / "dvc.yaml")["stages"]:
        cycles = [row for row in rows if row["checkpoint"].startswith("cycle-")]
        rows += at.arm("control", lambda: control(at, cycles))
    return rows


def read_table() -> list[Row]:
    """The rows of earlier runs, figures as numbers."""
    if not TABLE.exists():
        raise InputError(f"{TABLE}: no such file; run with --seeds first")
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [
            {k: v if k in ("profile", "arm", "checkpoint") else float(v) for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def points(rows: list[Row], seed: float, arm: str) -> list[Row]:
    """One arm of one seed, in order of time."""
    return sorted((r for r in rows if (r["seed"], r["arm"]) == (seed, arm)), key=lambda r: r["wall_seconds"])


def nearest(rows: list[Row], seconds: float) -> Row:
    """The row whose wall time is nearest to `seconds`."""
    return min(rows, key=lambda row: abs(row["wall_seconds"] - seconds))


def table(rows: list[Row]) -> str:
    """Markdown: for each seed and cycle RAFT's pass@1, and that of GRPO's checkpoint nearest in wall time."""
    others = [arm for arm in ("grpo", "control") if any(row["arm"] == arm for row in rows)]
    head = ["seed", "after", "RAFT", *(ARMS[arm] for arm in others)]
    out = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    means: dict[tuple[int, str], list[float]] = {}
    for seed in sorted({row["seed"] for row in rows}):
        for number, row in enumerate(points(rows, seed, "raft")):
            cells = [cell(row)]
            means.setdefault((number, "raft"), []).append(row["pass@1"])
            for arm in others:
                found = points(rows, seed, arm)
                match = nearest(found, row["wall_seconds"]) if found and (number or arm == "grpo") else None
                cells.append(cell(match) if match else "")
                if match:
                    means.setdefault((number, arm), []).append(match["pass@1"])
            name = "SFT" if not number else row["checkpoint"].replace("-", " ")
            out.append(f"| {seed:.0f} | {name} | {' | '.join(cells)} |")
    for number in range(CYCLES + 1):
        cells = [
            f"{sum(found) / len(found):.3f}" if (found := means.get((number, arm))) else "" for arm in ("raft", *others)
        ]
        out.append(f"| mean | {f'cycle {number}' if number else 'SFT'} | {' | '.join(cells)} |")
    return "\n".join(out)


def cell(row: Row) -> str:
    """pass@1 with its interval, and when."""
    interval = f"{row['pass@1']:.3f} ({row['pass@1_low']:.3f}-{row['pass@1_high']:.3f})"
    spent = f", {row['wall_seconds']:.0f} s, {row['cpu_seconds']:.0f} s CPU, {row['samples']:,.0f} samples"
    return interval + (spent if row["samples"] else "")


def draw(rows: list[Row]) -> None:
    """pass@1 over training wall time, a colour per seed, a line per method."""
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.8, 4.2), dpi=150)
    styles = {"raft": ("o", "-"), "grpo": ("s", "--"), "control": ("x", ":")}
    for colour, seed in enumerate(sorted({row["seed"] for row in rows})):
        for arm, (marker, line) in styles.items():
            found = points(rows, seed, arm)
            if not found:
                continue
            middle = [row["pass@1"] for row in found]
            errors = [
                [row["pass@1"] - row["pass@1_low"] for row in found],
                [row["pass@1_high"] - row["pass@1"] for row in found],
            ]
            axes.errorbar(
                [row["wall_seconds"] for row in found], middle, yerr=errors, marker=marker, linestyle=line,
                color=f"C{colour}", capsize=2, markersize=4, linewidth=1.4, label=f"{ARMS[arm]}, seed {seed:.0f}",
            )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_xlabel("seconds of training behind SFT (sampling and verifying included)")
    axes.set_ylabel("held-out pass@1")
    axes.set_title(f"Profile {rows[0]['profile']}: bars are 95 % bootstrap intervals")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=2)
    figure.tight_layout()
    figure.savefig(PICTURE)


def write_page(rows: list[Row]) -> None:
    """Put the table between the page's marks. InputError where they are not there."""
    text = PAGE.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{PAGE}: expected the lines '{BEGIN}' and '{END}'")
    seeds = ", ".join(f"{seed:.0f}" for seed in sorted({row["seed"] for row in rows}))
    said = (
        f"Profile `{rows[0]['profile']}`, seeds {seeds}; held-out pass@1 with its 95 % interval, seconds of training."
    )
    with replacing(PAGE) as file:
        file.write(f"{before}{BEGIN}\n{said}\n\n{table(rows)}\n{END}{after}")


def main() -> None:
    """Run what is asked for, write the table, draw, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[])
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--write", action="store_true", help="renew the page and its picture")
    args = parser.parse_args()
    if args.seeds:
        rows = [row for seed in args.seeds for row in compare(seed, args.profile)]
        write_csv(TABLE, HEADER, rows)
    rows = read_table()
    print(table(rows))
    if args.write:
        draw(rows)
        write_page(rows)


if __name__ == "__main__":
    run(main)
