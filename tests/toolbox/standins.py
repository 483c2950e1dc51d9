"""What the toolbox's tests put in place of what they cannot have: container engines, package managers, large wheels."""

import base64
import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import ROOT

TOOLBOX = ROOT / "toolbox"

# Records its calls; keeps the label of what it "builds", and answers `image inspect` and `container exists` by that.
ENGINE = """#!/usr/bin/env bash
printf '%q ' "${0##*/}" "$@" | sed 's/ $/\\n/' >>"$RECORD"
state=$RECORD.${0##*/}
case "$1 $2" in
"image inspect") cat "$state" 2>/dev/null ;;
"container exists") [[ -e $RECORD.container ]] ;;
build*)
    [[ -z ${FAILS:-} ]] || { echo "no space left on device" >&2; exit 125; }
    for word in "$@"; do [[ $word != halo-forge.inputs=* ]] || echo "${word#*=}" >"$state"; done
    ;;
esac
"""
TOOLBX = """#!/usr/bin/env bash
echo "toolbox $*" >>"$RECORD"
[[ $1 != create ]] || touch "$RECORD.container"
"""
RECORDER = """#!/usr/bin/env bash
echo "${0##*/} $*" >>"$RECORD"
"""
TOOLS = ("bash", "env", "dirname", "sed", "grep", "cat", "find", "sort", "sha256sum", "cut", "tail", "paste", "mkdir")
TOOLS += ("rm", "mv", "touch", "chmod", "id", "getent", "mktemp")


class Machine:
    """A PATH of one folder with a few of the system's commands and what a test adds, and a record of their calls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.record = folder, folder / "bin", folder / "record"
        self.bin.mkdir(parents=True)
        self.record.touch()
        for name in TOOLS:
            (self.bin / name).symlink_to(str(shutil.which(name)))
        self.env = {"PATH": str(self.bin), "RECORD": str(self.record), "HOME": str(folder), "LC_ALL": "C.UTF-8"}

    def add(self, name: str, script: str = RECORDER) -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    def run(self, *command: object, code: int = 0, **env: str) -> str:
        """The output of a command, errors included; asserts its exit code."""
        done = subprocess.run(
            [str(word) for word in command],
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def recorded(self) -> list[str]:
        """The calls since the last look."""
        lines = self.record.read_text().splitlines()
        self.record.write_text("")
        return lines


def is_error_line(text: str) -> bool:
    return text.startswith("error: ") and text.count("\n") == 1


def wheel(
    folder: Path, name: str, version: str, code: str = "", requires: Sequence[str] = (), extras: Sequence[str] = ()
) -> Path:
    """A wheel of one module, with requirements; real to pip and uv (PEP 427)."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Provides-Extra: {extra}" for extra in extras]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    files = {
        f"{module}/__init__.py": code,
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name_, text in files.items():
            archive.writestr(name_, text)
    return path
