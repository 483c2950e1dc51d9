"""Examples that an LLM writes, as DVC stages: real DVC in a real git repository, a scripted server on loopback."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.llm.server import Scripted, good
from tests.llm.specs import KEY, SPEC
from tests.smoke import Project, copy_project

pytest.importorskip("openai", reason="needs the openai package: pip install -e '.[generate]'")
pytestmark = pytest.mark.slow

CONSUMER = """
  consume:
    desc: Stands for a stage that reads whatever there is
    cmd: cat data/generated/*.jsonl > consumed.txt || true
    deps:
      - data/generated
    outs:
      - consumed.txt

plots:
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The smoke profile and a small spec; the base model alone is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_KEY", KEY)
        project = copy_project(tmp_path_factory.mktemp("generate") / "halo-forge")
        (project.path / "data/specs/adding.yaml").write_text(yaml.safe_dump(SPEC, sort_keys=False))
        project.edit("dvc.yaml", "\nplots:\n", CONSUMER)
        project.commit("start")
        yield project


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    """Answers well."""
    with Scripted(good) as server:
        yield server


def entry(server: Scripted, **more: object) -> str:
    """The line of params.yaml."""
    settings = {"backend": "server", "base_url": server.url, "model": "m", "key_env": "TEST_KEY", **more}
    line = yaml.safe_dump({"adding": settings}, default_flow_style=True, width=4096).strip()
    return f"specs: {line}\n"


def test_without_specs_there_is_no_stage(project: Project) -> None:
    assert "generate" not in project.run("dvc", "stage", "list")
    assert project.repro("consume") == {"consume"}
    assert (project.path / "consumed.txt").read_text() == ""


def test_an_entry_is_a_stage_whose_examples_are_read_by_others(project: Project, server: Scripted) -> None:
    project.edit("params.yaml", "specs: {}\n", entry(server))
    ran = project.repro("consume")
    assert ran == {"base", "generate@adding", "consume"}
    assert project.metrics("generate/adding")["kept"] == 4 == len(server.requests)
    assert len((project.path / "consumed.txt").read_text().splitlines()) == 4
    project.commit("generated")
    assert project.run("git", "status", "--porcelain") == ""
    lock = (project.path / "dvc.lock").read_text()
    assert "path: data/answers/adding.jsonl" in lock
    assert KEY not in lock
    assert "metrics/generate/adding.json" in project.run("git", "ls-files")
    assert "metrics/generate/adding.json" in project.run("dvc", "metrics", "show")


def test_a_rerun_pays_nothing(project: Project, server: Scripted) -> None:
    before = len(server.requests)
    assert project.repro("consume") == set()
    project.edit("params.yaml", "specs: {adding: {", "specs: {adding: {attempts: 2.0, ")
    assert project.repro("consume") == {"generate@adding"}, "what it has written is the same, and nothing follows"
    assert len(server.requests) == before


def test_lost_answers_come_back_from_the_cache(project: Project, server: Scripted) -> None:
    before = len(server.requests)
    answers = project.path / "data/answers/adding.jsonl"
    text = answers.read_text()
    answers.unlink()
    (project.path / "data/generated/adding.jsonl").unlink()
    project.run("dvc", "checkout", "generate@adding")
    assert answers.read_text() == text
    assert project.repro("consume") == set()
    assert len(server.requests) == before


def test_links_into_the_cache_are_no_trap(project: Project, server: Scripted) -> None:
    """Where DVC links artifacts to its cache, the file of answers is taken out of it before more is appended."""
    project.run("dvc", "config", "cache.type", "hardlink,copy")
    project.run("dvc", "checkout", "--relink", "generate@adding")
    project.edit("params.yaml", "attempts: 2.0", "attempts: 2.0, count: 3")
    answers = project.path / "data/answers/adding.jsonl"
    assert answers.stat().st_nlink > 1, "it is a link"
    before, before_text = len(server.requests), answers.read_bytes()
    assert "generate@adding" in project.repro("consume")
    assert len(server.requests) == before + 2, "one more for each of the two cells"
    assert project.metrics("generate/adding")["kept"] == 6
    assert answers.read_bytes().startswith(before_text)
    digest = hashlib.md5(before_text, usedforsecurity=False).hexdigest()
    cached = project.path / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    assert cached.read_bytes() == before_text


def test_make_generate_names_a_spec_and_a_backend(project: Project) -> None:
    said = project.run("make", "-n", "generate", "SPEC=rust_async", "BACKEND=deepseek", "MODEL=x y")
    assert '-m stages.specs --add "rust_async" --backend "deepseek" --model "x y"' in said
    assert "SPEC: found '', expected a file" in project.run("python", "-m", "stages.specs", "--add", "", code=1)


def test_the_command_ends_as_a_stage(project: Project, server: Scripted) -> None:
    """`make generate` but for the set-up, which has a test of its own."""
    shutil.copy(project.path / "data/specs/adding.yaml", project.path / "data/specs/more.yaml")
    project.edit("data/specs/more.yaml", "name: adding", "name: more")
    said = project.run("python", "-m", "stages.specs", "--add", "more", code=1)
    assert "dvc repro generate@more" in said
    assert "exceed the model's context" in said, "the tiny model is the default, and has no room for a prompt"
    project.edit("params.yaml", "more: {}", "more: {backend: server, model: m, key_env: TEST_KEY, base_url: null}")
    params = project.path / "params.yaml"
    params.write_text(params.read_text().replace("base_url: null", f'base_url: "{server.url}"'))
    said = project.run("python", "-m", "stages.specs", "--add", "more")
    assert "4 of 4 examples" in said
    assert project.metrics("generate/more")["kept"] == 4
    assert os.path.exists(project.path / "data/generated/more.jsonl")


def test_the_shipped_folder_is_in_git() -> None:
    assert (ROOT / "data/generated/.gitkeep").exists()
    assert Path(ROOT / "data/specs/rust_async.yaml").exists()
