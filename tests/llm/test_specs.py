"""The specs that come with the project: valid, varied, and their model examples earn what is asked for."""

from pathlib import Path

import pytest

from stages.common.errors import SandboxError
from stages.llm.bench import Bench, expect_examples_to_pass
from stages.llm.parsing import Draft, parse_answer
from stages.llm.prompting import messages, shown
from stages.settings.spec import SpecSettings, load_spec, verify_settings
from stages.settings.verify import VerifySettings
from stages.verifiers import make
from tests.conftest import ROOT, Run

NAMES = ("c_systems", "cpp_algorithms", "python_testing", "rust_async")
DEBIAN_CRATES = Path("/usr/share/cargo/registry")


def spec_of(name: str) -> SpecSettings:
    return load_spec(ROOT / "data" / "specs" / f"{name}.yaml")


def test_these_are_the_specs_that_are_there() -> None:
    assert tuple(sorted(path.stem for path in (ROOT / "data" / "specs").glob("*.yaml"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_model_examples_earn_the_full_reward(name: str) -> None:
    spec = spec_of(name)
    settings = verify_settings(spec, VerifySettings())
    if name == "rust_async":
        vendored = ROOT / "toolbox" / "crates" / "vendor"
        folder = vendored if vendored.exists() else DEBIAN_CRATES
        if not any(folder.glob("tokio*")):
            pytest.skip("needs the crates: toolbox/vendor-crates.sh")
        settings = settings.model_copy(update={"rust": settings.rust.model_copy(update={"vendor": str(folder)})})
    if lacking := make(spec.verifier, settings).check():
        pytest.skip(lacking)
    assert len(expect_examples_to_pass(spec, Bench(spec, settings))) == len(spec.examples) >= 2


def test_rust_without_its_crates_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("rust_async")
    if trouble := make("rust", VerifySettings()).check():
        pytest.skip(trouble)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SandboxError, match=r"toolbox/crates/vendor: no such folder; make it with .*vendor-crates\.sh"):
        expect_examples_to_pass(spec, Bench(spec, verify_settings(spec, VerifySettings())))


@pytest.mark.parametrize("name", NAMES)
def test_model_examples_are_shown_in_the_form_that_is_asked_for(name: str) -> None:
    spec = spec_of(name)
    for example in spec.examples:
        cases = [case.model_dump() for case in example.cases]
        assert parse_answer(shown(example, spec), "stop", spec.language) == Draft(
            example.problem.strip(), example.solution, example.tests, cases
        )


@pytest.mark.parametrize("name", NAMES)
def test_prompts_differ(name: str) -> None:
    spec = spec_of(name)
    asked = [
        messages(spec, category, level, index)[1]["content"]
        for (category, level), count in spec.cells().items()
        for index in range(3 * count)
    ]
    assert len(set(asked)) == len(asked) >= 500
    assert all(topic in "".join(asked) for category in spec.categories.values() for topic in category.topics)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--add", "rust_asinc"],
            "found 'rust_asinc', expected a file data/specs/NAME.yaml; did you mean 'rust_async'?",
        ),
        (["--add", "../params"], "found '../params', expected a file"),
        (["--add", "rust_async", "--backend", "deepsek"], "specs.rust_async.backend: found 'deepsek'"),
        (["--add", "rust_async", "--backend", "openai"], "backend 'openai' needs model"),
    ],
)
def test_a_bad_addition_is_one_line_and_changes_nothing(
    tmp_path: Path, stage: Run, arguments: list[str], message: str
) -> None:
    copy_files(tmp_path)
    before = (tmp_path / "params.yaml").read_bytes()
    said = stage("specs", "--no-run", *arguments, code=1).stderr
    assert message in said
    assert said.count("\n") == 1
    assert (tmp_path / "params.yaml").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "params.yaml"]


def copy_files(folder: Path) -> None:
    """params.yaml and the specs."""
    (folder / "data" / "specs").mkdir(parents=True)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    for name in NAMES:
        (folder / "data/specs" / f"{name}.yaml").write_bytes((ROOT / "data/specs" / f"{name}.yaml").read_bytes())


def test_an_entry_is_added_and_changed_and_the_rest_stays(tmp_path: Path, stage: Run) -> None:
    copy_files(tmp_path)
    before = (tmp_path / "params.yaml").read_text()
    stage("specs", "--no-run", "--add", "rust_async", "--backend", "deepseek")
    after = (tmp_path / "params.yaml").read_text()
    assert after == before.replace("specs: {}\n", "specs:\n  rust_async: {backend: deepseek}\n")
    after = after.replace("{backend: deepseek}", "{backend: deepseek, price_input: 0.3, cap: {tokens: 9}}")
    (tmp_path / "params.yaml").write_text(after)
    stage("specs", "--no-run", "--add", "python_testing")
    stage("specs", "--no-run", "--add", "rust_async", "--backend", "vllm", "--model", "a/b:c")
    assert (tmp_path / "params.yaml").read_text() == after.replace(
        "{backend: deepseek, price_input: 0.3, cap: {tokens: 9}}\n",
        "{backend: vllm, cap: {tokens: 9}, model: a/b:c}\n  python_testing: {}\n",
    )
    assert "all settings valid" in stage("settings").stdout


def test_a_missing_key_is_told_before_anything_runs(
    tmp_path: Path, stage: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_files(tmp_path)
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)
    said = stage("specs", "--add", "rust_async", "--backend", "deepseek", code=1).stderr
    assert "environment variable DEEPSEEK_API_KEY, which is not set" in said
