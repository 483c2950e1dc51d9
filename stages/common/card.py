"""The model card of a release: Hugging Face's metadata, what it is, what made it, how good it is, how to load it."""

import json
from typing import Any

import yaml

# By the data sets' pages on the Hugging Face hub.
DATASETS = {
    "synthetic": ("made by this pipeline", "Apache-2.0"),
    "codeforces_cpp": ("open-r1/codeforces-cots", "CC-BY-4.0"),
    "codeforces_python": ("open-r1/codeforces-cots", "CC-BY-4.0"),
    "humaneval": ("openai/openai_humaneval", "MIT"),
    "humaneval_cpp": ("openai/openai_humaneval, made into C++ here", "MIT"),
    "mbpp": ("google-research-datasets/mbpp", "CC-BY-4.0"),
    "jsonl": ("tasks of one's own, below data/own", "the owner's to say"),
}


def card(
    name: str, version: str, checkpoint: str, commit: str, profile: dict[str, Any], figures: dict[str, dict[str, Any]]
) -> str:
    """README.md of the released model.

    `figures` holds `benchmark`, `before` (the benchmark of sft) and `validation`, each as the metrics file has it.
    """
    base = profile.get("base") or {}
    sources = [source for source, settings in (profile.get("sources") or {}).items() if settings is not None]
    return "\n".join(
        [
            "---",
            yaml.safe_dump(_metadata(name, base, sources, figures["benchmark"]), sort_keys=False).strip(),
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
            "| source | where from | licence |",
            "|---|---|---|",
            *(f"| {source} | {' | '.join(DATASETS.get(source, ('?', '?')))} |" for source in sources),
            "",
            "No task of the benchmark is in the training data, nor a near copy of one (docs/DATA.md of the project).",
            "",
            "## Recipe",
            "",
            "```json",
            json.dumps({key: profile.get(key) for key in ("base", "sft", "sample", "raft")}, indent=1),
            "```",
            "",
            f"`make why MODEL={name}@{version}` in the project names each sample and verdict that trained it.",
            "",
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
            f"`dvc artifacts get URL {name} --rev {version}` brings PATH from a clone's DVC remote.",
            "",
        ]
    )


def _metadata(name: str, base: dict[str, Any], sources: list[str], benchmark: dict[str, Any]) -> dict[str, Any]:
    hubs = [DATASETS[s][0] for s in sources if s in DATASETS and DATASETS[s][0].count("/") == 1 and "," not in s]
    found: dict[str, Any] = {
        "license": "other" if base.get("hub") else "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["code", "rlvr", "raft"],
    }
    if base.get("hub"):  # a fine-tuned model comes under its base's licence
        found |= {"license_name": "of-the-base-model", "base_model": base["hub"]}
    if hubs:
        found["datasets"] = sorted({hub.split(",")[0] for hub in hubs})
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
