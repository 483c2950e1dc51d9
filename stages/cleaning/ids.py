"""Which task ids have been seen, and where: on disk, so that memory does not grow with them."""

import errno
import os
import sqlite3
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self


class Scratch:
    """A database in a file that has lost its name, so that nothing stays of it however the process ends. `folder` is
    where its blocks lie: the system's own folder for such files often lives in memory."""

    def __init__(self, folder: Path | None, schema: str) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".index-", suffix=".tmp") as file:
            self.index = sqlite3.connect(file.name, isolation_level=None)
            self.index.executescript(
                "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                f"PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32000; {schema} BEGIN IMMEDIATE;"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.index.close()
        # The stages' frame tells a full disk by this error, whoever met it.
        if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder)) from error


class Ids(Scratch):
    """Task ids with the file, or source, that each came from."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder, "CREATE TABLE id (name BLOB PRIMARY KEY, origin TEXT) WITHOUT ROWID;")

    def get(self, task_id: str) -> str | None:
        """Where the id was seen; None if it was not."""
        name = task_id.encode("utf-8", "surrogatepass")
        row = self.index.execute("SELECT origin FROM id WHERE name = ?", (name,)).fetchone()
        return row and row[0]

    def add(self, task_id: str, origin: str) -> str | None:
        """Where the id was seen before; None, and from now on known, if it is new."""
        earlier = self.get(task_id)
        if earlier is None:
            name = task_id.encode("utf-8", "surrogatepass")
            self.index.execute("INSERT INTO id VALUES (?, ?)", (name, origin.encode("utf-8", "replace").decode()))
        return earlier
