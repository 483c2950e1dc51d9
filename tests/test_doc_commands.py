"""The pages' shell blocks are run, in the order of the page, where a smoke run is finished and committed.

Each page has a clone of its own. Not run are blocks that say why above them: `<!-- not run: REASON -->`; of these, the
scripts' options are checked to exist, and tests/test_docs.py checks the Make targets.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import PAGES, Block, blocks, commands, prose
from tests.smoke import Project, finished_run

pytestmark = pytest.mark.slow

RUN = [page for page in PAGES if any(block.reason is None for block in blocks(page))]
NOT_RUN = [block for page in PAGES for block in blocks(page) if block.reason is not None]
SECONDS = 1800  # for a page, on a busy machine too; what takes minutes on an idle one says so and is not run

# Set-up is left out, as the environment is that of the tests. A fault is told with its line, which is the page's.
SHELL = """
set -euo pipefail -E
make() { command make -o setup "$@"; }
trap 'at=$? line=$LINENO; [[ $BASH_SUBSHELL != 0 ]] || echo "$line: $BASH_COMMAND: exit code $at" >"$FAULT"' ERR
source "$PAGE"
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A repository with a finished and committed run of the smoke profile, and a commit that changed nothing."""
    path = tmp_path_factory.mktemp("finished") / "halo-forge"
    project = finished_run(shared, path)
    (path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    project.edit("params.yaml", "profile: tiny", "profile: smoke")
    project.repro()
    project.run("git", "add", "dvc.lock", "params.yaml", "metrics")
    project.run("git", "commit", "-qm", "cycle 3")
    project.run("git", "commit", "-qm", "nothing new", "--allow-empty")
    assert project.run("git", "status", "--porcelain") == ""
    return path


@pytest.fixture
def clone(finished: Path, tmp_path: Path) -> Iterator[Project]:
    """A copy of it, with the environment where a user has it."""
    project = Project(tmp_path / "halo-forge")
    shutil.copytree(finished, project.path, symlinks=True)
    (project.path / ".venv").symlink_to(sys.prefix)
    with (project.path / ".git" / "info" / "exclude").open("a") as exclude:
        exclude.write("/.venv\n")
    yield project
    shutil.rmtree(tmp_path)


def script(page: Path) -> str:
    """What is run of a page: its blocks, each line in its place, and nothing else."""
    lines: list[str] = []
    for block in blocks(page):
        if block.reason is None:
            lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_s_commands_run(page: Path, clone: Project, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "page.sh").write_text(script(page))
    fault, log = tmp_path / "fault", tmp_path / "log"
    own = {"HOME": tmp_path / "home", "PAGE": tmp_path / "page.sh", "FAULT": fault, "DVC_NO_ANALYTICS": "1"}
    environment = {**os.environ, **{name: str(value) for name, value in own.items()}}
    with log.open("w") as output:
        code = subprocess.run(
            ["timeout", "--kill-after=10", str(SECONDS), "bash", "-c", SHELL],
            cwd=clone.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    said = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
    where = fault.read_text().strip() if fault.exists() else f"exit code {code}"
    assert code == 0, f"{page.relative_to(ROOT)}:{where}\n{said}"


@pytest.mark.parametrize("block", NOT_RUN, ids=lambda block: block.place)
def test_a_block_that_is_not_run_says_why_and_names_what_there_is(block: Block) -> None:
    assert block.reason, f"{block.place}: `<!-- not run: REASON -->` without a reason"
    for command in commands(f"```sh\n{block.text}\n```"):
        words = shlex.split(command)
        if words[:2] == ["python", "-m"] and words[2].partition(".")[0] in ("stages", "tests", "benchmarks"):
            own = words[3 : words.index("--") if "--" in words else None]
            options = {word.partition("=")[0] for word in own if word.startswith("--")}
            asked = [sys.executable, "-m", words[2], "--help"]
            told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
            assert options <= set(re.findall(r"--[\w-]+", told)), f"{block.place}: {command}"
        elif words[0].startswith("toolbox/"):
            assert os.access(ROOT / words[0], os.X_OK), f"{block.place}: {command}"


def test_marks_stand_before_shell_blocks() -> None:
    """One that stands elsewhere, or is misspelt, would have its block run; an indented block is not found."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        marks = re.findall(r"<!-- *not run", prose(text), re.IGNORECASE)
        assert len(marks) == sum(block.reason is not None for block in blocks(page)), page
        assert len(re.findall(r"``` *(?:sh|bash|shell)\b", text)) == len(blocks(page)), page
