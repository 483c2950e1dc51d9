"""The tables of the report, from metrics and git; both the page and the Markdown are made of these."""

import importlib.metadata
import json
import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.common.errors import InputError
from stages.common.params import Params
from stages.common.stage_times import stage_times
from stages.common.tables import TRIMMED, figure, read_csv, read_json, strict_names

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "dvc")
RATES = {"tokens_per_second": "tokens/s", "programs_per_second": "programs/s"}


@dataclass(frozen=True)
class Section:
    """A titled table; `rows` hold text. `folded`: long, so shown on demand."""

    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    note: str = ""
    folded: bool = False


def share(value: Any) -> str:
    """A share as the tables print it."""
    return f"{float(value):.3f}"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def facts(params: Params) -> Section:
    """Where the figures come from. The machine is this one; the rates below say how many cores they had."""
    revision = _git("describe", "--always", "--tags", "--dirty") or "not in git"
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    versions = (f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if _installed(name))
    rows = [
        ["profile", str(params.profile)],
        ["seed", str(params.seed)],
        ["revision", revision],
        ["committed", _git("log", "-1", "--format=%cI %s")],
        ["machine", f"{_processor()}, {os.cpu_count()} cores, {gib:.0f} GiB"],
        ["versions", f"Python {platform.python_version()}, {', '.join(versions)}"],
    ]
    return Section("Run", ["", ""], rows)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def benchmark(metrics: Path, models: list[str]) -> Section:
    """Held-out pass@k, a row per checkpoint. InputError for a file that is missing or lacks a figure."""
    rows: list[list[str]] = []
    header, expected = ["checkpoint"], [""]
    for model in models:
        path = metrics / "benchmark" / f"{model}.json"
        found = read_json(path)
        names = strict_names(found) or ["pass@1"]
        if not rows:
            expected = names
            header += [part for name in names for part in (name, "95 % interval")]
            header += ["greedy", "trimmed", "compiles", "tokens", "cut off", "samples/s"]
        cells = [model]
        for name in names:
            low, high = (figure(found, f"{name}{end}", path) for end in ("_low", "_high"))
            cells += [share(figure(found, name, path)), f"{share(low)} - {share(high)}"]
        if names != expected:
            raise InputError(
                f"{path}: found {', '.join(names)}, expected {', '.join(expected)} as of {models[0]}; run `dvc repro`"
            )
        others = (found.get(key) for key in ("greedy_pass@1", TRIMMED, "compile_rate", "cut_off"))
        greedy, trimmed, compiles, cut = ("" if value is None else share(value) for value in others)
        rate = metrics / "timing" / f"benchmark-sample-{model}.json"
        drawn = read_json(rate).get("samples_per_second", "") if rate.exists() else ""
        rows.append([*cells, greedy, trimmed, compiles, str(found.get("mean_tokens", "")), cut, str(drawn)])
    note = "Intervals: bootstrap over tasks. greedy: pass@1 of the likeliest answers. "
    note += "trimmed: pass@1 with the usual trimming. samples/s: of the last run here."
    return Section("Held-out pass@k", header, rows, note)


def validation(metrics: Path) -> Section:
    """What each checkpoint earned on validation, by which checkpoints are chosen."""
    rows = []
    for path in sorted((metrics / "validation").glob("*.json"), key=lambda path: _place(path.stem)):
        found = read_json(path)
        if "pass@1" in found:
            low, high = (found.get(f"pass@1_{end}") for end in ("low", "high"))
            interval = "" if low is None or high is None else f"{share(low)} - {share(high)}"
            rows.append([path.stem, share(found["pass@1"]), interval, "yes" if found.get("regressed") else ""])
    return Section("Validation", ["checkpoint", "pass@1", "95 % interval", "regressed"], rows)


def _place(model: str) -> tuple[int, int, str]:
    kinds = ("base", "sft", "cycle")
    kind, _, number = model.partition("-")
    return (kinds.index(kind) if kind in kinds else len(kinds), int(number) if number.isdigit() else 0, model)


def levels(metrics: Path, models: list[str]) -> Section:
    """How samples fared: the ladder's levels, as shares of a checkpoint's samples."""
    counts: dict[str, dict[str, int]] = {}
    for model in models:
        path = metrics / "levels" / f"{model}.csv"
        counts[model] = {}
        for row in read_csv(path) if path.exists() else []:
            if row["level"]:
                counts[model][f"{row['reward']} {row['level']}"] = int(row["samples"])
    names = sorted({name for tally in counts.values() for name in tally})
    rows = [
        [model, *(share(tally.get(name, 0) / sum(tally.values())) for name in names)]
        for model, tally in counts.items()
        if sum(tally.values())
    ]
    return Section("How samples fared", ["checkpoint", *names], rows, "Shares of the samples; a reward, and its level.")


def control(metrics: Path) -> Section:
    """RAFT beside training on samples that no verifier chose."""
    path = metrics / "report" / "control.csv"
    rows = []
    for row in read_csv(path) if path.exists() else []:
        figures = (share(row[name]) for name in ("pass@1", "control_pass@1", "difference"))
        rows.append([f"cycle-{row['cycle']}", *figures, f"{share(row['low'])} - {share(row['high'])}"])
    return Section("RAFT beside its control", ["cycle", "pass@1", "control", "difference", "95 % interval"], rows)


def categories(metrics: Path, models: list[str]) -> Section:
    """Held-out pass@1 by category and checkpoint."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for model in models:
        path = metrics / "category" / f"{model}.csv"
        for row in read_csv(path) if path.exists() else []:
            found.setdefault((row["field"], row["value"], row["tasks"]), {})[model] = share(row["pass@1"])
    rows = [[*key, *(cells.get(model, "") for model in models)] for key, cells in found.items()]
    return Section("Held-out pass@1 by category", ["field", "value", "tasks", *models], rows)


def timing(metrics: Path) -> Section:
    """Seconds and rates by stage, as far as the stages ran here."""
    rows = []
    for row in stage_times(metrics / "timing"):
        name = "-".join(filter(None, (row["stage"], row["item"])))
        found = read_json(metrics / "timing" / f"{name}.json")
        rate = next((f"{row[key]:,.1f} {unit}" for key, unit in RATES.items() if row[key]), "")
        seconds = f"{row['seconds']:,.1f}" if row["seconds"] else ""
        peak = f"{found['peak_memory_mb']:,.0f}" if "peak_memory_mb" in found else ""
        rows.append([name, seconds, rate, peak, str(found.get("cores", ""))])
    note = "Of the stages that ran on this machine, from the start of the process to its end."
    return Section("Time", ["stage", "seconds", "rate", "peak MB", "cores"], rows, note, folded=True)


def settings(params: Params) -> Section:
    """Every parameter of the active profile, flat."""
    raw = params.raw
    chosen = {name: value for name, value in raw.items() if name != "profiles"}
    if params.profile:
        chosen |= {f"profiles.{params.profile}": raw["profiles"][params.profile]}
    return Section("Parameters", ["key", "value"], list(_flat(chosen)), folded=True)


def _flat(value: Any, at: str = "") -> Any:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{at}.{name}" if at else str(name))
    else:
        yield [at, value if isinstance(value, str) else json.dumps(value)]


def sections(params: Params, metrics: Path, models: list[str]) -> list[Section]:
    """All tables that have rows, in reading order."""
    found = [
        facts(params),
        benchmark(metrics, models),
        control(metrics),
        validation(metrics),
        levels(metrics, models),
        categories(metrics, models),
        timing(metrics),
        settings(params),
    ]
    return [section for section in found if section.rows]
