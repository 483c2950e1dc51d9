"""Fixtures that several tests share: a tiny trained-nothing checkpoint and ways to run a stage script."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from stages.common.records import Task

ROOT = Path(__file__).parents[1]
Run = Callable[..., subprocess.CompletedProcess[str]]
# Minutes each: begun first, side by side.
LONGEST = (
    "test_pipeline.py",
    "test_doc_commands.py",
    "test_release_pipeline.py",
    "test_compiled.py",
    "test_labelled.py",
)

# What a shell runs in the background is deaf to Ctrl-C, and so would be the stages that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, or one process would be at them when the others have ended."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Verdicts of earlier runs must not stand in for judging, nor ours for later runs; what verifiers build once for a
    toolchain is shared. The folder that the cache lies in."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "halo-forge"
    folder = tmp_path_factory.mktemp("cache")
    (folder / "halo-forge").mkdir()
    for built in usual.iterdir() if usual.is_dir() else ():
        if built.is_dir():
            (folder / "halo-forge" / built.name).symlink_to(built)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all of xdist's processes have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if hasattr(request.config, "workerinput") else own


@pytest.fixture
def stage(tmp_path: Path) -> Run:
    """Run `python -m stages.NAME ARGS...` in `tmp_path`; asserts the exit code (default 0) and returns the result."""

    def run(name: str, *args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"stages.{name}", *map(str, args)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with random weights and a trained tokenizer."""
    from stages.lm import load, tiny
    from stages.settings.model import TinySettings
    from stages.settings.training import TrainSettings

    texts = [
        f"# Write f(xs): add {n} to each number.\ndef f(xs):\n    return [x + {n} for x in xs]\n" for n in range(99)
    ]
    settings = TinySettings(
        vocabulary=400, hidden=32, layers=2, heads=2, intermediate=64, train=TrainSettings(learning_rate=1e-3)
    )
    path = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = tiny.build_tokenizer(texts, settings.vocabulary)
    load.save(path, tiny.build_model(settings, tokenizer, seed=0), tokenizer)
    return path


def make_task(number: int, **changes: object) -> Task:
    """A task `t/NUMBER` of the sort that asks for a function f."""
    fields = {
        "task_id": f"t/{number}",
        "language": "python",
        "prompt": f"Write f(xs): add {number} to each number.",
        "verifier": "pytest",
        "entry_point": "f",
        "tests": f"assert f([1]) == [{number + 1}]\n",
        "cases": [],
    }
    return Task(**{**fields, **changes})


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """A text file of the given lines."""
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path
