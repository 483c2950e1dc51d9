"""What makes two samples the same to the cache: everything that decides a verdict, and nothing else."""

import dataclasses
import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import InputError
from stages.settings.verify import VerifySettings
from stages.verifiers import base, make
from stages.verifiers.base import Verifier
from stages.verifiers.keys import Keys, source_modules, top_level
from tests.conftest import make_task

TASK = make_task(1)


def key(settings: dict[str, Any] | None = None, code: str = "x = 1\n", **changes: Any) -> bytes:
    """The key of one program under settings, for a task with some fields changed."""
    parsed = VerifySettings.parse(settings, "test")
    task = dataclasses.replace(TASK, **changes)
    return Keys(parsed, {task.verifier: make(task.verifier, parsed)}).of(task, code)


@pytest.mark.parametrize(
    "change",
    [
        {"code": "x = 2\n"},
        {"code": "x = 1\n\ud800"},
        {"tests": "assert f([1]) == [3]\n"},
        {"prompt": "Write g."},
        {"entry_point": "g"},
        {"entry_point": None},
        {"cases": [{"stdin": "", "stdout": "1"}]},
        {"language": "python3"},
        {"settings": {"limits": {"cpu_seconds": 11}}},
        {"settings": {"pytest": {"packages": ["rich"]}}},
    ],
    ids=str,
)
def test_what_decides_a_verdict_is_in_the_key(change: dict[str, Any]) -> None:
    assert key(**change) != key()


@pytest.mark.parametrize(
    "change",
    [
        {"task_id": "another"},
        {"source": "mbpp"},
        {"reference": "x = 1\n"},
        {"meta": {"difficulty": 3}},
        {"settings": {"workers": 7, "cache_mb": 5, "executor": "ray", "ray_address": "head:6379"}},
    ],
    ids=str,
)
def test_what_does_not_decide_it_is_not(change: dict[str, Any]) -> None:
    assert key(**change) == key()


def test_verifiers_of_ours_look_at_nothing_else_of_a_task() -> None:
    """What the key leaves out must not be read."""
    for path in (Path(__file__).parents[2] / "stages" / "verifiers").glob("*.py"):
        if path.name != "keys.py":
            for field in ("meta", "reference", "source"):
                assert f"task.{field}" not in path.read_text(encoding="utf-8"), path


VERIFIER = """
from stages.verifiers.base import Verifier
{imports}

class Own(Verifier):
    def verify(self, task, code, sandbox):
        from {late} import LATE

    def selftests(self):
        return ()
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A verifier of one's own that is spread over a package, importable."""
    folder = tmp_path / "judging"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    imports = "from . import near\nfrom .deep.far import FAR\nimport json, pydantic, a_single_module"
    (folder / "own.py").write_text(VERIFIER.format(imports=imports, late="judging.late"))
    for name in ("near.py", "late.py", "deep/__init__.py", "deep/far.py", "not_used.py"):
        (folder / name).write_text(f"{Path(name).stem.upper()} = 1\n")
    (tmp_path / "a_single_module.py").write_text("import judging.own\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith(("judging", "a_single"))]:
        del sys.modules[name]


def own() -> type[Verifier]:
    """The class, imported anew."""
    for name in [name for name in sys.modules if name.startswith(("judging", "a_single"))]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return importlib.import_module("judging.own").Own


def test_source_of_a_verifier_of_ones_own(package: Path) -> None:
    assert set(source_modules(own())) == {
        "judging",
        "judging.own",
        "judging.near",
        "judging.late",
        "judging.deep",
        "judging.deep.far",
        "a_single_module",
    }
    assert top_level(own()) == sorted([package, package.parent / "a_single_module.py"])


@pytest.mark.parametrize("name", ["own.py", "near.py", "late.py", "deep/far.py", "../a_single_module.py"])
def test_an_edit_to_it_is_a_new_key(package: Path, name: str) -> None:
    before = key(verifier="judging.own:Own")
    own()
    (package / "not_used.py").write_text("NOT_USED = 2\n")
    assert key(verifier="judging.own:Own") == before
    with (package / name).open("a") as file:
        file.write("# edited\n")
    assert key(verifier="judging.own:Own") != before


@pytest.mark.parametrize(
    "change",
    [
        {"task_id": "another"},
        {"meta": {"difficulty": 3}},
        {"reference": "x"},
        {"settings": {"gcc": {"flags": ["-O3"]}}},
    ],
    ids=str,
)
def test_it_may_look_at_all_of_a_task_and_all_settings(package: Path, change: dict[str, Any]) -> None:
    assert key(verifier="judging.own:Own", **change) != key(verifier="judging.own:Own")


def test_a_verifier_without_a_file_has_no_lasting_keys() -> None:
    made: dict[str, Any] = {"__name__": "typed_in"}
    exec(VERIFIER.format(imports="", late="json"), made)
    made["Own"].__module__ = "typed_in"
    keys = Keys(VerifySettings(), {"typed_in:Own": made["Own"](VerifySettings())})
    assert not keys.lasting(make_task(1, verifier="typed_in:Own"))
    assert keys.of(make_task(1, verifier="typed_in:Own"), "x") != keys.of(make_task(1, verifier="typed_in:Own"), "y")


def test_a_fingerprint_must_be_json(package: Path) -> None:
    verifier = own()(VerifySettings())
    verifier.fingerprint = lambda: {"tool": object()}
    with pytest.raises(InputError, match=r"verifier 'judging.own:Own': its fingerprint is no JSON value"):
        Keys(VerifySettings(), {"judging.own:Own": verifier})


@pytest.mark.parametrize("room", ["extraction", "sandbox/inside", "verifiers", "common/thinking.py"])
def test_an_edit_to_what_decides_a_verdict_is_a_new_version(tmp_path: Path, room: str) -> None:
    """The rooms are covered whole, whatever their files are called."""
    here = Path(base.__file__).parent.parent
    for name in ("extraction", "sandbox", "verifiers", "common"):
        shutil.copytree(here / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    before = base.code_version(tmp_path / "verifiers")
    edited = tmp_path / room
    (edited if edited.is_file() else edited / "a_new_file.py").write_text("new = 1\n")
    assert base.code_version(tmp_path / "verifiers") != before
