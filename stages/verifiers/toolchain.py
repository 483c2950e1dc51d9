"""Tools of this machine as the sandbox has them, and the folder of what is made with them once.

That folder lies in the user's cache, one per toolchain and flags; jobs see it read-only at `Workshop.at`. What is made
in it comes from trusted text alone, and is made among the paths that jobs have, since compilers remember paths.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from stages.common.errors import SandboxError
from stages.sandbox import View
from stages.sandbox.bubblewrap import arguments, executable

SEARCH = "/usr/bin:/usr/local/bin:/bin"  # what a sandbox sees
KEPT = 8  # folders of a verifier; of more, those go that were not used for longest


def find(name: str, search: str = SEARCH) -> str | None:
    """Path of a command as the sandbox has it."""
    return shutil.which(name, path=search)


def version(path: str) -> str:
    """The first line that a tool says about its version."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, env={"LANG": "C"})
    return (said.stdout.splitlines() or ["unknown"])[0]


def _lock(folder: Path, kind: int) -> IO[str]:
    """The lock of a folder, held until it is closed; BlockingIOError where another process' is in the way."""
    file = (folder / ".lock").open("w")
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


class Workshop:
    """The folder of one toolchain and flags: `path` outside, `at` inside a sandbox, beside the `folders` of its view.

    SandboxError where it cannot be made.
    """

    def __init__(self, name: str, key: str, folders: tuple[tuple[str, str], ...] = ()) -> None:
        self.at = f"/forge/{name}"
        self.parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "halo-forge" / name
        self.path = self.parent / key
        self.folders = ((self.at, str(self.path)), *folders)

    def make(self, fill: Callable[["Workshop"], None]) -> None:
        """Have `fill` make the files of a new folder; nothing is done where there is one."""
        try:
            self.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.is_dir():
                self._remove_old()
                self._make(fill)
            os.utime(self.path)
            self._in_use = _lock(self.path, fcntl.LOCK_SH)
        except OSError as error:
            raise SandboxError(f"{self.path}: {error.strerror}; XDG_CACHE_HOME can name another folder") from None

    def _make(self, fill: Callable[["Workshop"], None]) -> None:
        with tempfile.TemporaryDirectory(dir=self.parent, prefix=".") as folder:
            made = Workshop.__new__(Workshop)
            made.at, made.parent, made.path = self.at, self.parent, Path(folder, "made")
            made.folders = ((self.at, str(made.path)), *self.folders[1:])
            made.path.mkdir()
            fill(made)
            with contextlib.suppress(OSError):  # another process may have been faster
                made.path.rename(self.path)

    def _remove_old(self) -> None:
        """Remove all but the folders used last, but none that a process works with."""
        folders = sorted(self.parent.glob("[!.]*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
        for folder in folders[KEPT:]:
            with contextlib.suppress(OSError), _lock(folder, fcntl.LOCK_EX):
                shutil.rmtree(folder, ignore_errors=True)

    def run(self, command: list[str], stdin: str = "", proc: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a tool on trusted text, with the sandbox's paths, in this folder, which it may write to; `proc`: it needs
        /proc."""
        path = executable()
        if path is None:
            arguments(View(), proc=False)  # says what is missing
        confined = arguments(View(folders=self.folders), proc)
        confined = [*confined[:-1], self.at, "--bind", str(self.path), self.at]  # in place of the folder to begin in
        return subprocess.run(
            [path or "bwrap", *confined, "--", *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={},
        )

    def expect(self, command: list[str], stdin: str = "", proc: bool = False) -> str:
        """What the tool says on stderr; SandboxError where it fails."""
        done = self.run(command, stdin, proc)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise SandboxError(f"{command[0]} does not compile a known-good file; it says: {last[:200]}")
        return done.stderr
