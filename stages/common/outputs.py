"""Where an output goes: a file is replaced whole; a device, pipe, socket or open descriptor is written to as it is.

A link stays, and what it points to is written. Nothing is ever removed or renamed that is neither a regular file nor a
directory: as root, a rename would put a file in the place of /dev/null.
"""

import atexit
import contextlib
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO

from stages.common.errors import InputError

MOST_LINKS = 40  # as the kernel follows
# DVC's cache may stand behind a link in the workspace. It is shared and must never change, so the link is replaced.
CACHED = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")


def descriptor_of(path: Path) -> int | None:
    """The number of this process's open descriptor that a path names, such as /dev/stdout or /dev/fd/3, also through
    links; None for any other path. To open such a path again would fail for a socket and cut a file short."""
    for _ in range(MOST_LINKS):
        if path.name.isdigit() and os.path.realpath(path.parent).startswith(f"/proc/{os.getpid()}/"):
            return int(path.name) if os.path.realpath(path.parent).endswith("/fd") else None
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None


def target_of(path: Path | str) -> Path:
    """The place that is written for `path`: where its links lead, or itself. A link into DVC's cache counts as none."""
    found = os.path.realpath(path)
    if os.path.islink(path) and CACHED.search(found):
        return Path(path)
    if os.path.islink(found):
        raise InputError(f"{path}: expected a link that leads somewhere, found a loop of links")
    return Path(found) if os.path.lexists(path) else Path(path)


def is_stream(path: Path | str) -> bool:
    """Whether `path` is written to and never replaced: an open descriptor, a device, a pipe or a socket."""
    if descriptor_of(Path(path)) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def expect_file_place(path: Path | str) -> Path:
    """The place of a file that is to be written at `path`, in a folder that is made. Raises InputError for a directory
    and for a folder that is a file."""
    place = target_of(path)
    if place.is_dir():
        raise InputError(f"{path}: expected a file to write, found a directory")
    _make_folder(place.parent, path)
    return place


def output_file(text: str) -> Path:
    """The path that a flag gives for a file to write. A place that is taken is told before the work begins."""
    path = Path(text)
    place = target_of(path)
    if place.is_dir():
        raise InputError(f"{path}: expected a file to write, found a directory")
    _expect_folder(place.parent, path)  # nothing is made: a run that is killed leaves no trace
    return path


def expect_directory_place(path: Path | str) -> Path:
    """The place of a directory that is to be written at `path`. Raises InputError for what is no directory, a folder
    that is a file, and for a directory that holds the current one, which replacing would remove."""
    place = target_of(path)
    if os.path.lexists(place) and not place.is_dir():
        raise InputError(f"{path}: expected a directory to write, found {kind_of(place)}")
    if Path.cwd().resolve().is_relative_to(place.resolve()):
        raise InputError(f"{path}: expected a directory to replace, found the current one or one that holds it")
    _make_folder(place.parent, path)
    return place


def work_directory(out: Path) -> Path:
    """`OUT.partial`, where unfinished work on the directory `out` is kept. Raises InputError where either place is
    taken, so that hours of work do not end in it."""
    expect_directory_place(out)
    return expect_directory_place(out.with_name(out.name + ".partial"))


def beside(out: Path, suffix: str) -> Path:
    """`out` with another end of its name, for a file that goes with it; in a temporary folder, removed when the process
    ends, where `out` is a device or the like: nothing may be put beside /dev/null."""
    return (_temporary_folder() / out.name if is_stream(out) else out).with_suffix(suffix)


def partial_of(out: Path) -> Path:
    """The folder in which the parts of the file `out` are kept until it is whole; as `beside` for devices."""
    place = _temporary_folder() / out.name if is_stream(out) else out
    return place.with_name(place.name + ".partial")


@contextlib.contextmanager
def stream_to(path: Path) -> Iterator[IO[str]]:
    """Open a device, pipe, socket or descriptor for UTF-8 text. An OSError names `path`."""
    try:
        with os.fdopen(open_stream(path), "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def kind_of(path: Path) -> str:
    """What lies at a path, in words."""
    mode = os.lstat(path).st_mode
    kinds = {stat.S_IFREG: "a file", stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a link" if stat.S_ISLNK(mode) else "a device")


def open_stream(path: Path) -> int:
    """A descriptor that writes to a device, pipe, socket or open descriptor."""
    number = descriptor_of(path)
    if number is not None:
        return os.dup(number)
    if stat.S_ISSOCK(os.stat(path).st_mode):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            return os.dup(connection.fileno())
    # Without O_CREAT and O_TRUNC: should it vanish meanwhile, no file comes in its place.
    return os.open(path, os.O_WRONLY | os.O_NOCTTY)


def _make_folder(folder: Path, path: Path | str) -> None:
    _expect_folder(folder, path)
    folder.mkdir(parents=True, exist_ok=True)


def _expect_folder(folder: Path, path: Path | str) -> None:
    """InputError where the folder, or one that it would lie in, is something else."""
    there = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    if not there.is_dir():
        raise InputError(f"{path}: expected a folder at {there}, found {kind_of(there)}")


@cache
def _temporary_folder() -> Path:
    folder, owner = tempfile.mkdtemp(prefix="halo-forge-"), os.getpid()
    # Forked workers share the folder and must not remove it.
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    return Path(folder)
