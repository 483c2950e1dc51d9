"""toolbox/vendor-crates.sh, with a stand-in for cargo: the real one needs the network."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

CARGO = """#!/usr/bin/env bash
[[ $1 == vendor ]] || exit 2
[[ -z ${FAILS:-} ]] || { mkdir -p "${@: -1}/half"; echo "no network" >&2; exit 101; }
mkdir -p "${@: -1}/tokio-1.2.3"
"""


@pytest.fixture
def toolbox(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "toolbox", tmp_path / "toolbox", ignore=shutil.ignore_patterns("vendor", "Cargo.lock"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cargo").write_text(CARGO)
    (tmp_path / "bin" / "cargo").chmod(0o755)
    return tmp_path / "toolbox"


def run(toolbox: Path, *arguments: str, code: int = 0, **environment: str) -> str:
    path = f"{toolbox.parent / 'bin'}:/usr/bin:/bin"
    done = subprocess.run(
        [toolbox / "vendor-crates.sh", *arguments],
        env={"PATH": path, "HOME": str(toolbox.parent), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_the_folder_is_made_anew(toolbox: Path) -> None:
    assert run(toolbox) == "toolbox/crates/vendor: 1 crates\n"
    (toolbox / "crates" / "vendor" / "old").mkdir()
    run(toolbox)
    assert [path.name for path in (toolbox / "crates" / "vendor").iterdir()] == ["tokio-1.2.3"]


def test_a_failure_leaves_what_was_there(toolbox: Path) -> None:
    run(toolbox)
    said = run(toolbox, code=1, FAILS="1")
    assert "no network\nerror: cargo cannot fetch the crates, see above" in said
    assert sorted(path.name for path in (toolbox / "crates").iterdir()) == ["Cargo.toml", "lib.rs", "vendor"]
    assert (toolbox / "crates" / "vendor" / "tokio-1.2.3").is_dir()
    assert "unknown option '--debain'" in run(toolbox, "--debain", code=1)
