"""How much a profile's stages do: tasks, tokens, hours, and the disk that their results take."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common import machine
from stages.common.errors import InputError
from stages.common.json_reader import read_map
from stages.planning.memory import WIDTH
from stages.planning.shapes import Shape
from stages.settings.sampling import SampleSettings
from stages.settings.training import TrainSettings

# Tasks of published data sets: training, validation, benchmark.
DATASETS = {"mbpp": (374, 90, 500), "humaneval": (0, 0, 164), "humaneval_cpp": (0, 0, 164)}
PROMPT_TOKENS, ANSWER_TOKENS = 200, 250  # where nothing has been measured
UTILISATION = 0.5  # of the matmul rate in training, and of the bandwidth in decoding, where nothing has been measured


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device does in a second: FLOPs of matrix products and bytes of memory, and who says so. `dgrad` and
    `wgrad` are the FLOPs of the products' gradients, of the activations and of the weights; None: as `flops`."""

    flops: float
    bandwidth: float
    source: str
    dgrad: float | None = None
    wgrad: float | None = None

    def training(self, adapter: bool, again: bool) -> float:
        """FLOPs a second of a training's products, each at its own rate: with an adapter the weights, which are frozen,
        have no gradient; with activations computed `again` the forward ones come twice."""
        rates = [self.flops] * (2 if again else 1) + [self.dgrad or self.flops]
        rates += [] if adapter else [self.wgrad or self.flops]
        return len(rates) / sum(1 / rate for rate in rates)


# 30 of 59.4 TFLOPS in bfloat16 and 211 of 256 GB/s are what others have measured. A100 80 GB: NVIDIA's data
# sheet (312 TFLOPS, 2,039 GB/s). Two server cores: our own measurements.
PUBLISHED = {
    "gfx1151": Rates(30e12, 211e9, "published for gfx1151"),
    "cuda": Rates(312e12, 2.039e12, "published for A100"),
    "cpu": Rates(100e9, 10e9, "two server cores, ours"),
}


def rates_of(device: str, dtype: str, threads: int) -> Rates:
    """What `make doctor` measured on this machine's device of that kind, else what is published."""
    kept = machine.newest(device, dtype, (threads or len(os.sched_getaffinity(0))) if device == "cpu" else 0)
    if kept is None or kept.bandwidth is None:
        return PUBLISHED[device]
    return Rates(kept.forward, kept.bandwidth, f"measured by {kept.by} on {kept.name}", kept.dgrad, kept.wgrad)


@dataclass(frozen=True, slots=True)
class Counts:
    """Tasks of each split, those of training that have a solution to show, and where that is known from."""

    train: int
    validation: int
    benchmark: int
    demonstrated: int
    source: str
    unknown: tuple[str, ...] = ()  # sources whose number of tasks nothing tells


def counts(sources: dict[str, Any], mix: Path | None) -> Counts:
    """Tasks of the prepared data in `mix`, else what the sources' settings and known data sets promise."""
    splits = ("train", "validation", "benchmark")
    if mix and all((mix / f"{split}.jsonl").is_file() for split in splits):
        found = [sum(1 for _ in (mix / f"{split}.jsonl").open("rb")) for split in splits]
        shown = sum(b'"reference": "' in line for line in (mix / "train.jsonl").open("rb"))
        return Counts(*found, shown, "data/mix")
    found, shown, unknown = [0, 0, 0], 0, []
    for name, settings in sources.items():
        if settings is None:
            continue
        if name == "synthetic":
            shown += sum(settings["demonstrations"])
            found[0] += sum(settings["demonstrations"]) + sum(settings["prompts"])
            found[1] += sum(settings["validation"])
            found[2] += sum(settings["benchmark"])
        elif name in DATASETS:
            found = [a + b for a, b in zip(found, DATASETS[name], strict=True)]
            shown += DATASETS[name][0]
        elif most := settings.get("max_tasks"):
            found[0] += most
            shown += most
        else:
            unknown.append(name)
    return Counts(*found, shown, "the sources' published sizes and settings", tuple(unknown))


def sampling_hours(shape: Shape, settings: SampleSettings, dtype: str, tasks: int, rates: Rates) -> tuple[int, float]:
    """(tokens, hours) of drawing n answers a task: decoding is bound by the bytes of weights and cache that each step
    reads, as long as its FLOPs take less."""
    answer = min(settings.max_new_tokens, ANSWER_TOKENS)
    tokens = tasks * settings.n * answer
    batch = min(max(settings.batch, settings.n), settings.shard * settings.n)  # shards are decoded one by one
    width = WIDTH[dtype]
    read = shape.parameters * width + batch * (PROMPT_TOKENS + answer / 2) * shape.cache_bytes(width)
    step = max(read / rates.bandwidth, 2 * batch * shape.matrices / rates.flops) / UTILISATION
    return tokens, tokens / batch * step / 3600


def training_hours(shape: Shape, settings: TrainSettings, examples: int, rates: Rates) -> tuple[int, float]:
    """(tokens, hours) of a training on so many examples."""
    length = min(settings.max_length, PROMPT_TOKENS + ANSWER_TOKENS)
    tokens = examples * settings.epochs * length
    how = (settings.lora is not None, settings.gradient_checkpointing)
    return tokens, tokens * shape.training_flops(length, *how) / (UTILISATION * rates.training(*how)) / 3600


def checkpoint_bytes(shape: Shape, settings: TrainSettings, dtype: str) -> tuple[int, int]:
    """(bytes of a saved checkpoint, bytes of one to resume from, with the optimizer's moments)."""
    width = WIDTH[dtype]
    if settings.lora is None:
        saved, moments = shape.parameters * width, 2 * shape.parameters * width
    else:
        saved = shape.adapter(settings.lora.rank, settings.lora.targets) * 4
        moments = 2 * saved
    return saved, saved + moments


def measured_rate(folder: Path, name: str, key: str) -> float | None:
    """A rate that a stage left in its timing file (tokens per second); None where there is none."""
    try:
        value = read_map(folder / f"{name}.json").get(key)
    except (OSError, InputError):
        return None
    return float(value) if isinstance(value, int | float) and value else None
