"""dvc.yaml: what the stages say that they depend on is what they use."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.common.yaml_files import round_trip
from stages.sources import SOURCES
from tests import graph
from tests.conftest import ROOT

STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
DEFINITIONS = {name: stage.get("do", stage) for name, stage in STAGES.items()}
HEAVY = {"torch", "transformers", "trl", "peft"}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_deps_are_the_modules_used_and_no_others(name: str) -> None:
    listed = [dep for dep in DEFINITIONS[name]["deps"] if graph.is_module(dep)]
    assert len(set(listed)) == len(listed)
    assert listed == graph.shared_modules(STAGES[name])


def test_prepare_knows_every_source_by_its_module() -> None:
    for source, item in STAGES["prepare"]["foreach"].items():
        assert (ROOT / item["module"]).exists()
        assert (ROOT / item["reads"]).exists()
        assert SOURCES[source].module == item["module"].removesuffix(".py").replace("/", ".")
    assert set(STAGES["prepare"]["foreach"]) == set(SOURCES)
    tasks = DEFINITIONS["mix"]["cmd"].split()
    assert {f"data/tasks/{source}" for source in SOURCES} <= set(tasks)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_stage_says_what_it_does(name: str) -> None:
    assert len(DEFINITIONS[name]["desc"]) > 20


@pytest.mark.parametrize("name", DEFINITIONS)
def test_paths_of_a_command_are_deps_or_outputs(name: str) -> None:
    definition = DEFINITIONS[name]
    known = set(definition["deps"])
    for kind in ("outs", "metrics"):
        known |= {next(iter(out)) if isinstance(out, dict) else out for out in definition.get(kind, [])}
    for word in definition["cmd"].split():
        if word.split("/")[0] in ("data", "models", "metrics") and "/" in word and "timing" not in word:
            assert any(word == path or path.startswith(word + "/") for path in known), word


def test_what_becomes_of_thoughts_touches_training_only() -> None:
    """`prompts.reasoning` is a dep of what trains on answers; what only asks depends on the system messages."""
    section = "profiles.${profile}.prompts"
    users = {name: {p for p in d.get("params", []) if p.startswith(section)} for name, d in DEFINITIONS.items()}
    assert {name: used for name, used in users.items() if used} == {
        "sft": {section},
        "raft": {section},
        "control": {section},
        "validate-sample": {f"{section}.system"},
        "validate-sample-sft": {f"{section}.system"},
        "sample": {f"{section}.system"},
        "benchmark-sample": {f"{section}.system"},
        "grpo": {f"{section}.system"},
    }


@pytest.mark.parametrize(
    "script",
    ["verify", "benchmark", "validate", "controls", "prepare", "mix", "report", "cycles", "grpo_runs", "doctor"],
)
def test_scripts_that_judge_or_count_never_import_torch(script: str) -> None:
    assert not {path.name for path in graph.closure({f"stages.{script}"}) if "stages/lm/" in path.as_posix()}


def test_only_the_room_of_models_imports_heavy_libraries() -> None:
    import ast

    for path in (ROOT / "stages").rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not names & HEAVY or path.parent.name == "lm", path


def test_imports_run_downward() -> None:
    """scripts -> llm -> lm, sources, verifiers -> sandbox -> settings, common; lm and verifiers are strangers."""
    above = {
        "common": {"lm", "llm", "sources", "verifiers", "sandbox", ""},
        "sandbox": {"lm", "llm", "sources", "verifiers", ""},
        "verifiers": {"lm", "llm", "sources", ""},
        "sources": {"lm", "llm", "verifiers", "sandbox", ""},
        "lm": {"llm", "sources", "verifiers", "sandbox", ""},
        "llm": {"sources", ""},
        "": {""},
    }

    def room(path: Path) -> str:
        parts = path.relative_to(ROOT / "stages").parts
        return parts[0] if len(parts) > 1 else ""

    for path in (ROOT / "stages").rglob("*.py"):
        for name in graph.imported(path):
            target = graph.file_of(name)
            if target and target.name != "__init__.py" and room(path) in above and target != path:
                assert room(target) not in above[room(path)], f"{path} imports {name}"


def test_renewing_the_deps_changes_nothing() -> None:
    yaml_text = (ROOT / "dvc.yaml").read_text()
    document = round_trip().load(yaml_text)
    assert document["stages"]["verify"]["do"]["deps"] == DEFINITIONS["verify"]["deps"]
