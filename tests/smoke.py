"""One finished run of the smoke profile, with real DVC in a real git repository, for all that begins with one."""

import fcntl
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

CYCLE_3 = "parent: cycle-2, temperature: null, threshold: null, learning_rate: null, use_regressed: false"


class Project:
    """A clone of this project's files under git and DVC."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *command: str, code: int = 0) -> str:
        """Output of a command, stdout and stderr together."""
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def repro(self, *targets: str) -> set[str]:
        """Reproduce; the names of the stages that were run (not those that were up to date)."""
        return self.stages_run(self.run("dvc", "repro", *targets))

    @staticmethod
    def stages_run(output: str) -> set[str]:
        found = re.findall(r"Running stage .([^']+).:|Stage .([^']+). is cached", output)
        return {name for pair in found for name in pair if name}

    def edit(self, file: str, before: str, after: str) -> None:
        path = self.path / file
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after, 1))

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    def metrics(self, name: str) -> dict:
        return json.loads((self.path / "metrics" / f"{name}.json").read_text())


def copy_project(path: Path) -> Project:
    """This project's files in a git repository of their own, with the smoke profile."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    project = Project(path)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.name", "Test")
    project.run("git", "config", "user.email", "test@example.com")
    project.edit("params.yaml", "profile: tiny", "profile: smoke")
    return project


def finished_run(shared: Path, path: Path) -> Project:
    """A copy, at `path`, of a finished and committed run of a chain of two cycles, which is made once for all test
    processes."""
    whole, failed = shared / "smoke", shared / "smoke.failed"
    with (shared / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if failed.exists():
            pytest.fail(f"the smoke run failed, as another test tells: {failed.read_text()}")
        if not whole.exists():
            try:
                _run(Path(tempfile.mkdtemp(dir=shared)) / "halo-forge").rename(whole)
            except BaseException as error:
                failed.write_text(repr(error)[:1000])
                raise
    shutil.copytree(whole, path, symlinks=True)
    return Project(path)


def _run(path: Path) -> Path:
    project = copy_project(path)
    project.edit("params.yaml", f'  "3": {{{CYCLE_3}}}\n', "")
    project.edit("params.yaml", "  - cycle-3\n", "")
    project.commit("start")
    project.repro()
    project.commit("first run")
    return path
