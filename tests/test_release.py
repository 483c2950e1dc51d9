"""What a release writes: the declaration in dvc.yaml and the model card. A whole one: test_release_pipeline.py."""

import pytest
import yaml

from stages.common.card import Recipe, card
from stages.common.errors import HaloForgeError
from stages.common.params import Params
from stages.release import declared
from tests.conftest import ROOT

FIGURES = {"pass@1": 0.5, "pass@1_low": 0.4, "pass@1_high": 0.6, "tasks": 8, "n": 4, "temperature": 0.8}


def test_an_artifact_is_declared_once_and_beside_others() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    first = declared(text, "halo-coder", "cycle-1")
    assert first.startswith(text.rstrip()), "all that was there stays as it was"
    second = declared(first, "halo-coder", "cycle-2")
    found = yaml.safe_load(second)["artifacts"]
    assert found == {"halo-coder": {"path": "models/release", "type": "model", "meta": {"checkpoint": "cycle-2"}}}
    other = second.replace("artifacts:\n", "artifacts:\n  mine:\n    path: models/mine\n")
    third = yaml.safe_load(declared(other, "halo-coder", "cycle-3"))
    assert third["artifacts"]["mine"] == {"path": "models/mine"}
    assert third["artifacts"]["halo-coder"]["meta"] == {"checkpoint": "cycle-3"}
    with pytest.raises(HaloForgeError, match="cannot declare 'halo-coder' there"):
        declared(text + "\nartifacts: {}\n", "halo-coder", "cycle-1")
    assert third["stages"] == yaml.safe_load(text)["stages"]


def front(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_card_has_what_the_hub_reads_and_what_people_ask() -> None:
    params = Params(ROOT / "params.yaml").raw
    profiles = params["profiles"]
    specs = {"mine": {"backend": "deepseek", "model": "d"}}
    trained, measured = {"mbpp": 374, "generate/mine": 20}, {"humaneval": 164}
    recipe = Recipe({**params, "profile": "gfx1151", "specs": specs}, trained, measured)
    figures = {"benchmark": FIGURES, "before": {**FIGURES, "pass@1": 0.3}, "validation": {"pass@1": 0.45, "tasks": 80}}
    text = card("halo-coder", "v0.1.0", "cycle-2", "abc1234", recipe, figures)
    meta = front(text)
    assert meta["base_model"] == profiles["gfx1151"]["base"]["hub"]
    assert (meta["license"], meta["pipeline_tag"]) == ("other", "text-generation")
    assert meta["datasets"] == ["google-research-datasets/mbpp"], "what it is measured on has not trained it"
    assert meta["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.5
    assert "| mbpp | google-research-datasets/mbpp | CC-BY-4.0 | 374 | 0 |" in text
    assert "| humaneval | openai/openai_humaneval | MIT | 0 | 164 |" in text
    assert "| generate/mine | written by an LLM (deepseek, model d) | that model's terms | 20 | 0 |" in text
    assert "| cycle-2, held-out benchmark | 8 | 4 | 0.8 | 0.500 | 0.400 - 0.600 |" in text
    assert "| sft, held-out benchmark | 8 | 4 | 0.8 | 0.300 |" in text
    assert "`make why MODEL=halo-coder@v0.1.0`" in text
    tiny = card("halo-coder", "v0.1.0", "cycle-2", "abc1234", Recipe(params, {"synthetic": 9}, {}), figures)
    assert "base_model" not in front(tiny)
    assert front(tiny)["license"] == "apache-2.0"
