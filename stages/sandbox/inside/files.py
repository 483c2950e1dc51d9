"""A folder that a judge and a candidate's process both see: each side tells the other what it has changed there.

Only for tests that hand files to the code under test. Runs inside the sandbox and imports the standard library alone.
"""

import base64
import contextlib
import os
import stat
from pathlib import Path
from typing import Any

ROOT = "/tmp/files"
SIZE_LIMIT = 8 << 20  # bytes of changed files in one message
COUNT_LIMIT = 2000  # files and folders


class SharedFolder:
    """ROOT, made anew and the working folder from now on."""

    def __init__(self) -> None:
        os.makedirs(ROOT, exist_ok=True)
        os.chdir(ROOT)
        self._seen: dict[str, Any] = {}

    def changes(self) -> list | None:
        """[path, content in base64, None for a folder, False for what is gone] of all that changed; None for nothing.

        OSError where that is too much.
        """
        now, found, size = _scan(), [], 0
        for path, mark in now.items():
            if path not in self._seen or self._seen[path] != mark:
                content = None
                if mark is not None:
                    data = Path(ROOT, path).read_bytes()
                    size += len(data)
                    content = base64.b64encode(data).decode()
                found.append([path, content])
        if size > SIZE_LIMIT:
            raise OSError("too much was written to files")
        found += [[path, False] for path in reversed(self._seen) if path not in now]
        self._seen = now
        return found or None

    def apply(self, changes: Any) -> None:
        """Do here what the other side has done there. ValueError for a path that leaves the folder."""
        for path, content in changes or ():
            parts = Path(path).parts
            if type(path) is not str or not parts or Path(path).is_absolute() or ".." in parts:
                raise ValueError("no path of the folder")
            target = Path(ROOT, path)
            if any(parent.is_symlink() for parent in (target, *target.parents)):
                raise ValueError("a link in a path")
            _put(target, content)
        if changes:
            self._seen = _scan()


def _put(target: Path, content: Any) -> None:
    if content is None:
        target.mkdir(parents=True, exist_ok=True)
    elif content is False:
        with contextlib.suppress(OSError):
            target.rmdir() if target.is_dir() else target.unlink()
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base64.b64decode(content))


def _scan() -> dict[str, Any]:
    """Size and time of change of each file, None for a folder, by path; links and the like do not count."""
    found: dict[str, Any] = {}
    stack = [""]
    while stack:
        folder = stack.pop()
        with contextlib.suppress(OSError), os.scandir(os.path.join(ROOT, folder)) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                about = entry.stat(follow_symlinks=False)
                path = os.path.join(folder, entry.name)
                if stat.S_ISDIR(about.st_mode):
                    found[path] = None
                    stack.append(path)
                elif stat.S_ISREG(about.st_mode):
                    found[path] = (about.st_size, about.st_mtime_ns, about.st_ino)
                if len(found) > COUNT_LIMIT:
                    raise OSError("too many files")
    return found
