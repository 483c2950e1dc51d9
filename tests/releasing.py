"""A git and DVC repository with releases, made by the code that makes them, of folders that are given."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from stages.common.card import Recipe, card
from stages.common.params import Params
from tests.conftest import ROOT

PUBLISH = """
import sys
from pathlib import Path
from stages.release import declared, publish
publish("halo-coder", sys.argv[1], "cycle-1", declared(Path("dvc.yaml").read_text(), "halo-coder", "cycle-1"), "told")
"""
FIGURES = {"pass@1": 0.5, "pass@1_low": 0.4, "pass@1_high": 0.6, "tasks": 8, "n": 4, "temperature": 0.8}


class Workspace:
    """A git and DVC repository; its commands run without this user's settings, with `extra` in their environment."""

    def __init__(self, path: Path, **extra: str) -> None:
        self.path, self.extra = path, extra

    def start(self, graph: str) -> None:
        """An empty repository with a dvc.yaml, and this project's .gitignore."""
        self.path.mkdir()
        for command in ("git init -q -b main", "git config user.name T", "git config user.email t@e", "dvc init -q"):
            self.run(*command.split())
        (self.path / "dvc.yaml").write_text(graph)
        shutil.copy(ROOT / ".gitignore", self.path)
        self.commit("start")

    def clone(self, path: Path) -> "Workspace":
        """A clone without a cache."""
        self.run("git", "clone", "-q", ".", str(path))
        return Workspace(path, **self.extra)

    def run(self, *command: str, code: int = 0, **extra: str) -> str:
        """What a command says, stderr where it is to fail with `code`."""
        kept = {name: os.environ[name] for name in ("XDG_CACHE_HOME", "OMP_NUM_THREADS") if name in os.environ}
        environment = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **kept}
        environment |= {"HOME": str(self.path.parent), "COLUMNS": "100", **self.extra, **extra}
        done = subprocess.run(command, cwd=self.path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def stage(self, name: str, *arguments: str, code: int = 0, **extra: str) -> str:
        """`python -m stages.NAME ...`"""
        return self.run(sys.executable, "-m", f"stages.{name}", *arguments, code=code, **extra)

    def commit(self, message: str) -> None:
        """All that is there."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    def release(self, version: str, model: Path) -> dict[str, bytes]:
        """Release a copy of a checkpoint with a card, as stages/release.py does once it has made both; what was
        released, by name."""
        made = self.path / "build/release"
        shutil.copytree(model, made)
        figures = dict.fromkeys(("benchmark", "before", "validation"), FIGURES)
        recipe = Recipe(Params(ROOT / "params.yaml").raw, {"synthetic": 9}, {"synthetic": 3})
        (made / "README.md").write_text(card("halo-coder", version, "cycle-1", "abc1234", recipe, figures))
        self.run(sys.executable, "-c", PUBLISH, version)
        folder = self.path / "models/release"
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
