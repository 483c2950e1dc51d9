"""What a profile will need, without running it: parameters, memory, tokens, hours, disk. Refuses what cannot fit.

python -m stages.plan --profile gfx1151
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.params import Params, argument_parser
from stages.planning import memory, work
from stages.planning.shapes import Shape, shape_of
from stages.settings.benchmark import BenchmarkSettings
from stages.settings.check import check_all
from stages.settings.compute import ComputeSettings
from stages.settings.model import BaseSettings
from stages.settings.planning import PlanSettings
from stages.settings.raft import RaftSettings
from stages.settings.sampling import SampleSettings
from stages.settings.sft import SftSettings
from stages.settings.training import TrainSettings
from stages.settings.validation import ValidationSettings

GIB = 1024**3
Row = dict[str, Any]
PASSING = 0.5  # share of samples that are accepted, where no cycle has been measured


@dataclass(frozen=True)
class Profile:
    """A profile's settings that a plan reads."""

    name: str
    base: BaseSettings
    compute: ComputeSettings
    sft: SftSettings
    sample: SampleSettings
    raft: RaftSettings
    validation: ValidationSettings
    benchmark: BenchmarkSettings
    plan: PlanSettings
    sources: dict[str, Any]
    cycles: int
    models: int
    controls: int
    runs: int  # of GRPO
    active: bool


def read(params: Params, name: str) -> Profile:
    """The profile's sections, checked. Raises InputError for a profile that is not there."""
    check_all(params)
    profiles = params.raw["profiles"]
    if name not in profiles:
        raise InputError(f"--profile: found '{name}', expected one of: {', '.join(profiles)}")
    value, where = profiles[name], f"{params.path}: profiles.{name}"
    kinds = {
        "base": BaseSettings,
        "compute": ComputeSettings,
        "sft": SftSettings,
        "sample": SampleSettings,
        "raft": RaftSettings,
        "validation": ValidationSettings,
        "benchmark": BenchmarkSettings,
        "plan": PlanSettings,
    }
    sections = {key: kind.parse(value.get(key), f"{where}.{key}") for key, kind in kinds.items()}
    chain = {key: len(params.raw[key]) for key in ("cycles", "models")}
    chain |= {"controls": len(params.raw.get("controls") or {}), "runs": len(params.raw.get("grpo") or {})}
    return Profile(name, **sections, sources=value["sources"], **chain, active=name == params.profile)


def device_memory(plan: PlanSettings) -> tuple[float, str]:
    """(GiB that may be used, where that is known from): measured where the device is at hand, else as the profile
    says."""
    if plan.device == "cpu":
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
        return total * plan.share, "this machine's memory"
    if plan.device == "gfx1151":
        found = [int(file.read_text()) for file in Path("/sys/class/drm").glob("card*/device/mem_info_gtt_total")]
        if found:  # another AMD card beside it would have less
            return max(found) / GIB * plan.share, "/sys/class/drm"
    if plan.device == "cuda" and shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
        if told and told[0].isdigit():
            return int(told[0]) / 1024 * plan.share, "nvidia-smi"
    if plan.memory_gib is None:
        raise InputError("plan.memory_gib: missing, and no such device is at hand to ask")
    return plan.memory_gib * plan.share, "plan.memory_gib, as none is at hand"


def stages(profile: Profile, shape: Shape, tasks: work.Counts) -> list[Row]:
    """Memory (bytes by purpose), tokens and hours of each heavy stage."""
    dtype, device = profile.compute.dtype, profile.plan.device
    kind = "cpu" if device == "cpu" else "cuda"
    rates = work.rates_of(device, dtype, profile.compute.threads)
    timing = Path("metrics/timing")

    def row(name: str, times: int, work_of: tuple[int, float], file: str, rate: str, need: dict[str, float]) -> Row:
        tokens, hours = work_of
        measured = work.measured_rate(timing, file, rate) if profile.active else None
        hours = tokens / measured / 3600 if measured else hours
        source = "measured here" if measured else rates.source
        return {"stage": name, "times": times, "memory": need, "tokens": tokens, "hours": hours, "rate": source}

    def sampling(name: str, settings: SampleSettings, count: int, times: int, file: str, greedy: bool = False) -> Row:
        tokens, hours = work.sampling_hours(shape, settings, dtype, count, rates)
        if greedy:  # one more answer per task, drawn by itself
            alone = {"n": 1, "batch": settings.batch or settings.n}
            more = work.sampling_hours(shape, settings.model_copy(update=alone), dtype, count, rates)
            tokens, hours = tokens + more[0], hours + more[1]
        need = memory.sampling(shape, settings, dtype)
        return row(name, times, (tokens, hours), file, "tokens_per_second", need)

    def training(name: str, settings: TrainSettings, examples: int, times: int, file: str) -> Row:
        estimate = work.training_hours(shape, settings, examples, rates)
        need = memory.training(shape, settings, dtype, kind)
        return row(name, times, estimate, file, "train_tokens_per_second", need)

    asked = tasks.train if profile.sample.tasks == "all" else tasks.train - tasks.demonstrated
    accepted = int(asked * min(profile.raft.per_task, profile.sample.n * PASSING))
    validation, benchmark = profile.validation.sample, profile.benchmark.sample
    replay = profile.raft.replay
    # With all earlier cycles' samples, cycle k trains on k times its own: in the mean over K cycles (K + 1) / 2 times.
    trained = int(accepted * (profile.cycles + 1) / 2) if replay.cycles else accepted
    trained += min(replay.sft, tasks.demonstrated)
    return [
        training("sft", profile.sft.train, tasks.demonstrated, 1, "sft"),
        sampling("sample", profile.sample, asked, profile.cycles, "sample-cycle-1"),
        training("raft", profile.raft.train, trained, profile.cycles + profile.controls, "raft-cycle-1"),
        sampling("validation.sample", validation, tasks.validation, profile.cycles + 1, "validate-sample-sft"),
        sampling("benchmark.sample", benchmark, tasks.benchmark, profile.models, "benchmark-sample-sft", greedy=True),
    ]


def disk(profile: Profile, shape: Shape) -> dict[str, float]:
    """Bytes on disk by what they are. DVC's cache holds each artifact once more, unless it links them."""
    dtype = profile.compute.dtype
    base = shape.parameters * memory.WIDTH[dtype]
    sft, resume = work.checkpoint_bytes(shape, profile.sft.train, dtype)
    cycle, again = work.checkpoint_bytes(shape, profile.raft.train, dtype)
    kept = base + sft + profile.cycles * cycle
    best = resume if profile.sft.train.early_stop else 0
    return {"checkpoints": kept, "DVC's cache": kept, "to resume from": max(resume, again) * 2 + best}


def advice(stage: Row, settings: TrainSettings | SampleSettings, room: float) -> str:
    """The setting that would make a stage smaller; `room` is in bytes."""
    name, smaller = stage["stage"], "take a smaller base.hub"
    if isinstance(settings, SampleSettings):
        if stage["memory"]["weights"] > room:
            return f"{smaller}: its weights alone do not fit"
        return f"lower {name}.{'batch' if settings.batch > settings.n else 'n'}, or {smaller}"
    if not settings.gradient_checkpointing:
        how = f"set {name}.train.gradient_checkpointing: true"
    elif settings.lora is None:
        how = f"set {name}.train.lora"
    elif settings.batch > 1 and settings.batching != "packed":
        how = f"lower {name}.train.batch"
    elif settings.lora.quantize is None:
        how = f"set {name}.train.lora.quantize: nf4, or {smaller}"
    else:
        how = f"lower {name}.train.max_length, or {smaller}"
    return how


def size(count: float) -> str:
    """Bytes, for people."""
    return f"{count / GIB:.1f} GiB" if count >= GIB / 2 else f"{count / 1024**2:.0f} MiB"


def duration(hours: float) -> str:
    """Hours, for people."""
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min" if hours >= 1 / 60 else f"{hours * 3600:.0f} s"


def show(profile: Profile, shape: Shape, known: str, tasks: work.Counts, found: list[Row], free: float) -> None:
    """Print the plan."""
    lora = profile.sft.train.lora
    trained = shape.adapter(lora.rank, lora.targets) if lora else shape.parameters
    print(f"profile {profile.name}: {shape.parameters:,} parameters ({known}), of which sft trains {trained:,}")
    split = f"{tasks.train:,} train, {tasks.validation:,} validation, {tasks.benchmark:,} benchmark"
    print(f"tasks: {split} ({tasks.source})")
    if left_out := [*(f"the tasks of {name}" for name in tasks.unknown), *["runs of GRPO"][: profile.runs]]:
        print(f"not counted: {', '.join(left_out)}")
    table = Table("stage", "times", "memory", "most of it", "tokens", "time", box=SIMPLE)
    for row in found:
        name, count = max(row["memory"].items(), key=lambda item: item[1])
        memory_told = (size(sum(row["memory"].values())), f"{name} {size(count)}")
        cells = (*memory_told, f"{row['tokens']:,}", duration(row["hours"]))
        table.add_row(row["stage"], str(row["times"]), *cells)
    Console(width=100).print(table)
    hours = sum(row["hours"] * row["times"] for row in found)
    sources: dict[str, list[str]] = {}
    for row in found:
        sources.setdefault(row["rate"], []).append(row["stage"])
    print("rates: " + "; ".join(f"{rate} ({', '.join(names)})" for rate, names in sources.items()))
    print(f"time: about {duration(hours)} for all, without verifying; the table's is for one time")
    need = disk(profile, shape)
    told = ", ".join(f"{name} {size(count)}" for name, count in need.items())
    print(f"disk: {told}; {size(free)} are free")


def refuse(profile: Profile, shape: Shape, found: list[Row], room: float, source: str, free: float) -> None:
    """Raise InputError for the first stage that does not fit into memory, and for a disk that is too small."""
    settings: dict[str, TrainSettings | SampleSettings] = {
        "sft": profile.sft.train,
        "sample": profile.sample,
        "raft": profile.raft.train,
        "validation.sample": profile.validation.sample,
        "benchmark.sample": profile.benchmark.sample,
    }
    for row in found:
        total = sum(row["memory"].values()) / GIB
        if total > room:
            told = f"{row['stage']} needs {total:.1f} GiB, may use {room:.1f} ({source})"
            how = advice(row, settings[row["stage"]], room * GIB)
            raise InputError(f"profiles.{profile.name}: {told}; {how}")
    need = sum(disk(profile, shape).values())
    if need > free:
        raise InputError(f"profiles.{profile.name}: needs {size(need)} of disk, {size(free)} are free")


def main() -> None:
    """Work it out, print it, refuse what cannot fit."""
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", help="the profile (default: the active one)")
    parser.add_argument("--disk-gib", type=float, help="free disk of the machine planned for (default: of this one)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    params = Params(args.params)
    profile = read(params, args.profile or params.profile or "")
    shape, known = shape_of(profile.base, Path("models/base") if profile.active else Path("none"))
    tasks = work.counts(profile.sources, Path("data/mix") if profile.active else None)
    found = stages(profile, shape, tasks)
    room, source = device_memory(profile.plan)
    free = args.disk_gib * GIB if args.disk_gib else shutil.disk_usage(".").free
    if args.json:
        whole = {"parameters": shape.parameters, "memory_gib": room, "disk": disk(profile, shape), "stages": found}
        print(json.dumps(whole, indent=2))
    else:
        show(profile, shape, known, tasks, found, free)
        most = max(sum(row["memory"].values()) for row in found)
        print(f"memory: {size(most)} at the most, {room:.1f} GiB may be used ({source})")
    refuse(profile, shape, found, room, source, free)


if __name__ == "__main__":
    run(main)
