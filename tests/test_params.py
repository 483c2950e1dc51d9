"""params.yaml: YAML 1.2 numbers, one-line errors that name the key, and every shipped profile valid."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.common.errors import InputError
from stages.common.params import Params, Settings, read_yaml
from stages.settings.check import SECTIONS, check_all
from stages.settings.cycle import CycleSettings
from stages.settings.model import BaseSettings
from stages.settings.raft import RaftSettings
from stages.settings.sampling import SampleSettings
from stages.settings.sft import SftSettings
from stages.settings.sources import HubSettings
from stages.settings.verify import VerifySettings
from stages.sources import SOURCES
from tests.conftest import ROOT, Run

SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")


def test_the_shipped_file_is_valid_in_every_profile(stage: Run) -> None:
    assert "all settings valid" in stage("settings", "--params", ROOT / "params.yaml").stdout


def test_a_profile_is_switched_by_that_one_word(tmp_path: Path, stage: Run) -> None:
    (tmp_path / "params.yaml").write_text(SHIPPED)
    assert "profile smoke" in stage("settings", "--profile", "smoke").stdout
    assert (tmp_path / "params.yaml").read_text() == SHIPPED.replace("profile: tiny", "profile: smoke", 1)
    assert "expected one of: tiny, smoke" in stage("settings", "--profile", "smok", code=1).stderr


def test_no_setting_has_a_name_that_dvc_leaves_out() -> None:
    """DVC's run cache ignores keys called `size` and `nfiles`, wherever they stand: a change of such a setting would
    bring back the outputs of another value."""

    def names(kind: type[Settings]) -> Iterator[str]:
        for name, field in kind.model_fields.items():
            yield name
            for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(part, type) and issubclass(part, Settings):
                    yield from names(part)

    kinds = [*SECTIONS.values(), *(source.settings for source in SOURCES.values()), HubSettings, CycleSettings]
    found = {name for kind in kinds for name in names(kind)}
    assert {"max_tasks", "words", "learning_rate"} <= found
    assert not found & {"size", "nfiles"}


@pytest.mark.parametrize("script", ["sample --model m", "verify --samples s", "report --metrics m"])
def test_every_stage_refuses_an_unknown_key_at_the_top(tmp_path: Path, stage: Run, script: str) -> None:
    (tmp_path / "params.yaml").write_text(SHIPPED.replace("seed: 0", "sead: 0", 1))
    name, *arguments = script.split()
    tasks = [] if name == "report" else ["--tasks", "t"]
    assert "unknown key 'sead'" in stage(name, *arguments, *tasks, "--out", "o", code=1).stderr


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("a: 5e-4\nb: 5.0e-4\nc: 1E3\nd: '5e-4'\ne: 12e\n")
    assert read_yaml(path) == {"a": 5e-4, "b": 5e-4, "c": 1000.0, "d": "5e-4", "e": "12e"}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("profile: tiny", "profile: tinny", "profile: found 'tinny', expected one of: tiny"),
        ("seed: 0", "seed: -1", "seed: expected an integer of 0 or more, found -1"),
        ("seed: 0", "sead: 0", "unknown key 'sead'; did you mean 'seed'?"),
        ("hub: null", "hbu: null", "sources.hbu: unknown key; did you mean 'hub'?"),
        ("threshold: 1.0", "treshold: 1.0", "profiles.tiny.raft.treshold: unknown key; did you mean 'threshold'?"),
        ("threshold: 1.0", "threshold: high", "profiles.tiny.raft.threshold: found 'high': should be a valid number"),
        ("threshold: 1.0", "threshold: 1.5", "raft.threshold: found 1.5: should be less than or equal to 1"),
        ("per_task: 8", "per_task: true", "raft.per_task: found True: should be a valid integer"),
        ("    raft:", "    rfat:", "profiles.tiny: unknown key 'rfat'; did you mean 'raft'?"),
        ("k: [1, 4, 8]", "k: [1, 16]", "every k must lie in 1..sample.n = 8"),
        ("      mbpp: null\n", "", "profiles.tiny.sources: key 'mbpp' is missing"),
        ("heads: 4", "heads: 3", "heads must divide hidden"),
        (
            '"2": {parent: cycle-1',
            '"2": {parent: cycle-7',
            "cycles.2.parent: found 'cycle-7', expected one made before",
        ),
        ('"2": {parent', "2: {parent", "cycles.2: expected a number in quotes"),
        ("  - cycle-3", "  - cycle-9", "models: found 'cycle-9', expected one of: base, sft, cycle-1"),
        ("profile: tiny", "profile: [tiny", "not YAML"),
        ("profile: tiny", "profile: [tiny]", "profile: found ['tiny'], expected one of"),
        ("texts: [3000, 2600, 400]", "texts: [-1, 0, 0]", "texts.0: found -1"),
        ("parent: sft", "parent: base", "cycles.1.parent: found 'base'"),
        ("temperature: 1.0", "temperature: .inf", "sample.temperature: found inf"),
        (
            "    verify: {}",
            "    run: {sample: {n: 3}}\n    verify: {}",
            "tiny.run.sample: unknown key 'n'; known keys: wor",
        ),
        ("    verify: {}", "    run: {sample: {servers: {model: x}}}\n    verify: {}", "servers: unknown key 'model'"),
        (
            "    verify: {}",
            "    run: {verify: [1]}\n    verify: {}",
            "run.verify: expected a map of settings, found [1]",
        ),
        (
            "    verify: {}",
            "    run: {train: {checkpoint_steps: 0}}\n    verify: {}",
            "train.checkpoint_steps: found 0",
        ),
        (
            "max_length: 256}\n    sample",
            "max_length: 256, schedule: linear, floor: 0.1}\n    sample",
            "floor: only the cos",
        ),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    tmp_path: Path, stage: Run, before: str, after: str, message: str
) -> None:
    assert before in SHIPPED
    (tmp_path / "params.yaml").write_text(SHIPPED.replace(before, after, 1))
    error = stage("settings", code=1).stderr
    assert message in error
    assert error.startswith("error: params.yaml")
    assert error.count("\n") == 1


def test_a_missing_file_is_an_error_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Params().section(SampleSettings, "sample") == SampleSettings()
    with pytest.raises(InputError, match="no such file"):
        Params("absent.yaml")


def test_how_to_run_is_laid_over_what_to_make(tmp_path: Path) -> None:
    run = "run: {sample: {workers: 3, servers: {retries: 9}}, train: {checkpoint_steps: 7}, verify: {workers: 1}}"
    (tmp_path / "params.yaml").write_text(SHIPPED.replace("    verify: {}", f"    {run}\n    verify: {{}}", 1))
    here, plain = Params(tmp_path / "params.yaml"), Params(ROOT / "params.yaml")
    check_all(here)
    for key in ("sample", "validation.sample", "benchmark.sample"):
        usual = plain.section(SampleSettings, key)
        servers = usual.servers.model_copy(update={"retries": 9})
        assert here.section(SampleSettings, key) == usual.model_copy(update={"workers": 3, "servers": servers})
    for kind, key in ((SftSettings, "sft"), (RaftSettings, "raft")):
        train = plain.section(kind, key).train.model_copy(update={"checkpoint_steps": 7})
        assert here.section(kind, key) == plain.section(kind, key).model_copy(update={"train": train})
    assert here.section(BaseSettings, "base").tiny.train.checkpoint_steps == 7
    assert here.section(VerifySettings, "verify").workers == 1


def test_settings_of_one_cycle(tmp_path: Path) -> None:
    params = Params(ROOT / "params.yaml")
    assert params.top(CycleSettings, "cycles.2").parent == "cycle-1"
    with pytest.raises(InputError, match=r"cycles\.9: no such entry"):
        params.top(CycleSettings, "cycles.9")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (BaseSettings, {"hub": "a/b", "tiny": None}),
        (RaftSettings, {"train": {"learning_rate": 1.0}}),
        (SampleSettings, None),
    ],
)
def test_sections_have_defaults(kind: type[Settings], value: dict | None) -> None:
    kind.parse(value, "p")
