"""The documents' code and commands work as they stand."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from stages.llm.parsing import KINDS
from stages.settings.generate import PRESETS, GenerateSettings
from stages.sources import SOURCES
from tests.conftest import ROOT, Run, write_lines
from tests.llm.server import Scripted, good
from tests.pages import PAGES, anchors, commands, links

DOCS = ROOT / "docs"


def block(page: str, kind: str) -> str:
    """The first block of that kind on a page."""
    return re.search(rf"```{kind}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)[1]


def test_custom_verifier(stage: Run, tmp_path: Path) -> None:
    """The page's verifier judges the page's task, by the page's commands."""
    (tmp_path / "shell_verifier.py").write_text(block("CUSTOM_VERIFIERS.md", "python"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    write_lines(tmp_path / "tasks.jsonl", [block("CUSTOM_VERIFIERS.md", "json").strip()])
    scripts = ["cat", "echo x", "echo y", "if", "cat; exit 1", "```sh\ncat\n```"]
    samples = [{"task_id": "sh/1", "sample": n, "completion": code} for n, code in enumerate(scripts)]
    write_lines(tmp_path / "samples.jsonl", map(json.dumps, samples))
    judge, doctor = block("CUSTOM_VERIFIERS.md", "sh").strip().splitlines()
    stage(*judge.removeprefix("python -m stages.").split())
    verdicts = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert [verdict["reward"] for verdict in verdicts] == [1.0, 1.0, 0.7, 0.0, 0.5, 1.0]
    rows = stage(*doctor.removeprefix("python -m stages.").split()).stdout
    assert "shell_verifier:Shell" in rows


def test_tasks_of_ones_own(stage: Run, tmp_path: Path) -> None:
    """The page's task is prepared by the page's command, with the page's settings for files of one's own."""
    (tmp_path / "data/own").mkdir(parents=True)
    (tmp_path / "data/own/mine.jsonl").write_text(block("DATA.md", "json"))
    settings = yaml.safe_load(block("DATA.md", "yaml"))["sources"]
    params = {"profile": "p", "profiles": {"p": {"sources": settings}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    command = block("DATA.md", "sh").strip().removeprefix("python -m stages.").split()
    assert "1 rows: train 1," in stage(*command).stdout


def test_settings_of_sources_are_valid() -> None:
    """All of the page's example."""
    for name, settings in yaml.safe_load(block("DATA.md", "yaml"))["sources"].items():
        if settings is not None:
            SOURCES[name].settings.parse(settings, name)
    assert set(SOURCES) == set(yaml.safe_load(block("DATA.md", "yaml"))["sources"])


def test_make_commands_are_targets() -> None:
    """With the settings that the pages give them; none is run."""
    listed = [c for page in PAGES for c in commands(page.read_text(encoding="utf-8")) if c.startswith("make ")]
    assert "make push-hub REPO=org/name" in listed
    for command in listed:
        subprocess.run([*command.split(), "-n"], cwd=ROOT, check=True, capture_output=True)


def markdown() -> list[Path]:
    """Every page that git knows."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("page", markdown(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """To files and headings that are there. Addresses of the web are looked at, not asked for."""
    for target in links(page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            parts = urlsplit(target)
            assert parts.scheme in ("http", "https"), f"{page.name}: {target}"
            assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), f"{page.name}: {target}"
            continue
        file, _, fragment = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name}: {target}"
        assert not fragment or fragment in anchors(path.read_text(encoding="utf-8")), f"{page.name}: {target}"


GENERATE = (ROOT / "docs" / "GENERATE.md").read_text(encoding="utf-8")


def test_the_page_on_generating(stage: Run, tmp_path: Path) -> None:
    """Its entry of params.yaml names every setting, its spec works by its command, its counts are those there are."""
    entry, spec = re.findall(r"```yaml\n(.*?)```", GENERATE, re.DOTALL)
    settings = GenerateSettings.parse(yaml.safe_load(entry)["specs"]["python_testing"], "page")
    assert settings.model_fields_set == set(GenerateSettings.model_fields)
    assert all(f"`{kind}`" in GENERATE for kind in KINDS)
    assert all(f"`{name}`" in GENERATE for name in PRESETS)
    (tmp_path / "data" / "specs").mkdir(parents=True)
    (tmp_path / "data" / "specs" / "text_tools.yaml").write_text(spec)
    command = re.findall(r"^python -m stages\.(generate .*)$", GENERATE, re.MULTILINE)[0]
    with Scripted(lambda prompt: good(prompt).replace("return", "for _ in '': pass\n    return")) as server:
        own = {"backend": "llama.cpp", "base_url": server.url, "attempts": 2}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({"specs": {"text_tools": own}}))
        assert "8 of 8 examples" in stage(*command.split()).stderr
