"""The model card of a release: Hugging Face's metadata, what it is, what made it, how good it is, how to load it."""

import json
from dataclasses import dataclass
from typing import Any

import yaml

# Where a source comes from, its id on the Hugging Face hub and its licence, by the data sets' pages there.
DATASETS: dict[str, tuple[str, str | None, str]] = {
    "synthetic": ("made by this pipeline", None, "Apache-2.0"),
    "codeforces_cpp": ("open-r1/codeforces-cots", "open-r1/codeforces-cots", "CC-BY-4.0"),
    "codeforces_python": ("open-r1/codeforces-cots", "open-r1/codeforces-cots", "CC-BY-4.0"),
    "humaneval": ("openai/openai_humaneval", "openai/openai_humaneval", "MIT"),
    "humaneval_cpp": ("openai/openai_humaneval, made into C++ here", "openai/openai_humaneval", "MIT"),
    "mbpp": ("google-research-datasets/mbpp", "google-research-datasets/mbpp", "CC-BY-4.0"),
    "jsonl": ("tasks of one's own, below data/own", None, "the owner's to say"),
}
CLOSING = (
    "## Limits",
    "",
    "It writes short programs for tasks like those above, and is measured on nothing else. Its code is "
    "untrusted: run it in a sandbox. Passing tests is not being right.",
    "",
    "## Loading",
    "",
    "```python",
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "",
    'tokenizer = AutoTokenizer.from_pretrained("PATH")',
    'model = AutoModelForCausalLM.from_pretrained("PATH")',
    "```",
    "",
)


@dataclass(frozen=True)
class Recipe:
    """What a release was made by: params.yaml, and the sources of the training and of the benchmark tasks (tasks by
    source)."""

    params: dict[str, Any]
    trained_on: dict[str, int]
    measured_on: dict[str, int]

    @property
    def profile(self) -> dict[str, Any]:
        """The active profile."""
        return self.params["profiles"][self.params["profile"]]

    def origin(self, source: str) -> tuple[str, str | None, str]:
        """Where from, the id on the hub, the licence; of examples that an LLM wrote, which one did."""
        if not source.startswith("generate/"):
            return DATASETS.get(source, ("?", None, "?"))
        spec = (self.params.get("specs") or {}).get(source.removeprefix("generate/")) or {}
        writer = f"{spec.get('backend', 'local')}, model {spec.get('model') or 'by default'}"
        return f"written by an LLM ({writer})", None, "that model's terms"


def card(
    name: str, version: str, checkpoint: str, commit: str, recipe: Recipe, figures: dict[str, dict[str, Any]]
) -> str:
    """README.md of the released model.

    `figures` holds `benchmark`, `before` (the benchmark of sft) and `validation`, each as the metrics file has it.
    """
    profile = recipe.profile
    base = profile.get("base") or {}
    told = {key: profile.get(key) for key in ("base", "sft", "sample", "raft")}
    told |= {"cycles": recipe.params.get("cycles"), "seed": recipe.params.get("seed")}
    return "\n".join(
        [
            "---",
            yaml.safe_dump(_metadata(name, base, recipe, figures["benchmark"]), sort_keys=False).strip(),
            "---",
            "",
            f"# {name} {version}",
            "",
            f"A code model that halo-forge trained on rewards of compilers and tests (RAFT): `{checkpoint}` of commit "
            f"`{commit}`, {_base_words(base)}.",
            "",
            "## Figures",
            "",
            "| | tasks | samples a task | temperature | pass@1 | 95 % interval over tasks |",
            "|---|---|---|---|---|---|",
            _row(f"{checkpoint}, held-out benchmark", figures["benchmark"]),
            _row("sft, held-out benchmark", figures["before"]),
            _row(f"{checkpoint}, validation (what it was chosen by)", figures["validation"]),
            "",
            "## Data",
            "",
            "| source | where from | licence | training tasks | benchmark tasks |",
            "|---|---|---|---|---|",
            *(_source(recipe, source) for source in dict.fromkeys([*recipe.trained_on, *recipe.measured_on])),
            "",
            "No task of the benchmark is in the training data, nor a near copy of one (docs/DATA.md of the project).",
            "",
            "## Recipe",
            "",
            "```json",
            json.dumps(told, indent=1),
            "```",
            "",
            f"`make why MODEL={name}@{version}` in the project names each sample and verdict that trained it.",
            "",
            *CLOSING,
            f"`dvc artifacts get URL {name} --rev {version}` brings PATH from a clone's DVC remote.",
            "",
        ]
    )


def _source(recipe: Recipe, source: str) -> str:
    where, _, licence = recipe.origin(source)
    counts = [f"{tasks.get(source, 0):,}" for tasks in (recipe.trained_on, recipe.measured_on)]
    return f"| {' | '.join([source, where, licence, *counts])} |"


def _metadata(name: str, base: dict[str, Any], recipe: Recipe, benchmark: dict[str, Any]) -> dict[str, Any]:
    hubs = {hub for source in recipe.trained_on if (hub := recipe.origin(source)[1])}
    found: dict[str, Any] = {
        "license": "other" if base.get("hub") else "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["code", "rlvr", "raft"],
    }
    if base.get("hub"):  # a fine-tuned model comes under its base's licence
        found |= {"license_name": "of-the-base-model", "base_model": base["hub"]}
    if hubs:
        found["datasets"] = sorted(hubs)
    metric = {"type": "pass@1", "value": benchmark.get("pass@1"), "name": "held-out pass@1"}
    task, dataset = {"type": "text-generation"}, {"name": "held-out tasks", "type": "halo-forge"}
    found["model-index"] = [{"name": name, "results": [{"task": task, "dataset": dataset, "metrics": [metric]}]}]
    return found


def _base_words(base: dict[str, Any]) -> str:
    if base.get("hub"):
        return f"fine-tuned from {base['hub']} at revision {base.get('revision') or 'given in the recipe'}"
    return "with a tiny base that the pipeline pretrains from nothing"


def _row(what: str, figures: dict[str, Any]) -> str:
    def shown(key: str) -> str:
        return f"{figures[key]:.3f}" if isinstance(figures.get(key), int | float) else "?"

    drawn = [str(figures.get(key, "")) for key in ("tasks", "n", "temperature")]
    return f"| {what} | {' | '.join(drawn)} | {shown('pass@1')} | {shown('pass@1_low')} - {shown('pass@1_high')} |"
