"""Files that are whole or absent: written under a temporary name, synced and renamed. Content hashes of artifacts.

What is no file to replace (a device, a pipe, /dev/stdout) is written to as it is; stages/common/outputs.py tells.
"""

import contextlib
import csv
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from stages.common.errors import HaloForgeError
from stages.common.outputs import expect_directory_place, expect_file_place, is_stream, stream_to


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[IO[str]]:
    """Open a UTF-8 text file that takes the place of `path` when the block ends without an exception.

    The target of a link is replaced, and the link stays. A device, pipe, socket or open descriptor (/dev/stdout) is
    written to. Raises InputError for a directory and for a folder that is a file.
    """
    if is_stream(path):
        with stream_to(Path(path)) as file:
            yield file
        return
    place = expect_file_place(path)
    temporary = place.with_name(f".{place.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch_directory(path: Path) -> Iterator[Path]:
    """An empty directory at `path` that is gone at the end. Its name is always the same, so that what a killed run
    left is found and removed at the start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def replacing_directory(path: Path | str) -> Iterator[Path]:
    """Make a directory that takes the place of `path` when the block ends without an exception.

    The target of a link is replaced, and the link stays. Raises InputError, before the block, where `path` is no
    directory or is one that holds the current one.
    """
    place = expect_directory_place(path)
    with scratch_directory(place.with_name(f".{place.name}.tmp")) as temporary:
        yield temporary
        if place.is_symlink():  # into DVC's cache, which is nobody's to change
            place.unlink()
        elif place.is_dir():
            shutil.rmtree(place)
        temporary.replace(place)


@contextlib.contextmanager
def naming_a_full_disk(path: Path) -> Iterator[None]:
    """Turn a library's failure to write below `path` into OSError(ENOSPC) where the disk is full.

    safetensors and torch raise errors of their own, the latter without a word of the disk.
    """
    try:
        yield
    except HaloForgeError:
        raise
    except Exception as error:
        place = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
        if "No space left" not in str(error) and shutil.disk_usage(place).free > 1 << 20:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, keys in the given order, whole or not at all."""
    with replacing(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def write_csv(path: Path | str, header: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV under `header`, whole or not at all."""
    with replacing(path) as file:
        writer = csv.DictWriter(file, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def content_hash(*paths: Path | str) -> str:
    """BLAKE2 digest (32 hex digits) of the relative names and bytes of files and directories; hidden ones left out."""
    digest = hashlib.blake2b(digest_size=16)
    for root in map(Path, paths):
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        for file in files:
            name = file.relative_to(root) if file != root else Path()
            if any(part.startswith(".") for part in name.parts):
                continue
            digest.update(f"{name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def value_hash(value: Any) -> str:
    """BLAKE2 digest (32 hex digits) of a JSON value; equal values have equal digests on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
