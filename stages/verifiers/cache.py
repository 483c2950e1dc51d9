"""Verdicts of earlier runs, in the user's cache folder: content-addressed, shared by branches, clones and processes.

A file of sqlite's in `$XDG_CACHE_HOME/halo-forge` (`~/.cache/halo-forge`). Findings are committed in batches, about
every second, so that a run that was killed goes on where it was. What may come out otherwise next time (timeouts,
resource limits, a broken sandbox) is never kept. The cache can only save time: where it cannot be used one line says
so and judging goes on without it; a file that is broken or of another program is set aside and made anew.
"""

import contextlib
import fcntl
import os
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from stages.settings.verify import VerifySettings
from stages.verifiers.verdicts import BROKEN, RESOURCE_LIMIT, RUNTIME_ERROR, TIMEOUT, Finding

APPLICATION = 0x68616C6F  # "halo", in the file's header
FORMAT = 1  # of the table; in the file's name, so that versions of this program do not meet in one file
BUSY_SECONDS = 10.0  # wait for other processes' commits
BATCH = 1000  # findings in a commit, at most
BATCH_SECONDS = 1.0  # and the time between commits
FLUSHES_BETWEEN_PRUNING = 64
KEPT_SHARE = 0.9  # of the size limit, after pruning
PRUNED_AT_ONCE = 5000  # findings; other processes' commits get in between
MEBIBYTE = 1 << 20
CREATE = """
CREATE TABLE finding (
    id INTEGER PRIMARY KEY, -- rises with age
    key BLOB NOT NULL UNIQUE,
    reward REAL NOT NULL,
    level TEXT NOT NULL,
    detail TEXT NOT NULL,
    passed INTEGER NOT NULL,
    total INTEGER NOT NULL
)
"""
FIND = "SELECT reward, level, detail, passed, total FROM finding WHERE key = ?"
KEEP = "INSERT OR REPLACE INTO finding (key, reward, level, detail, passed, total) VALUES (?, ?, ?, ?, ?, ?)"
PRUNE = "DELETE FROM finding WHERE id IN (SELECT id FROM finding ORDER BY id LIMIT ?)"


def default_path() -> Path:
    """Where the cache lies. RuntimeError where this user has no home."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "halo-forge" / f"verdicts-{FORMAT}.sqlite"


def keepable(found: Finding) -> bool:
    """Whether judging the same program again is sure to find the same."""
    broke_sandbox = found.level == RUNTIME_ERROR and found.reward == BROKEN
    return found.level not in (TIMEOUT, RESOURCE_LIMIT) and not broke_sandbox


class VerdictCache:
    """The cache as one run uses it: `get`, `flush` and `close` from one thread at a time, `put` from any.

    Nothing here raises for trouble with the file.
    """

    def __init__(self, settings: VerifySettings) -> None:
        self._db: sqlite3.Connection | None = None
        self._waiting: deque[tuple[bytes, Finding]] = deque()
        self._limit = settings.cache_mb * MEBIBYTE
        self._renewed = False
        self._flushes = 0
        self._flushed = time.monotonic()
        self._path: Path | None = None
        if settings.cache:
            self._open()

    def __enter__(self) -> "VerdictCache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, key: bytes) -> Finding | None:
        """The finding of an earlier run, if there is a valid one."""
        if self._db is None:
            return None
        try:
            row = self._db.execute(FIND, (key,)).fetchone()
        except sqlite3.Error as error:
            self._trouble(error)
            return None
        return _finding(row) if row else None

    def put(self, key: bytes, found: Finding) -> None:
        """Remember a finding, if it is one to keep; written with the next batch."""
        if self._db is not None and keepable(found):
            self._waiting.append((key, found))

    def flush(self, at_once: bool = False) -> None:
        """Write what waits, if it is much or has waited long, or else `at_once`."""
        if not self._waiting or self._db is None:
            return
        due = len(self._waiting) >= BATCH or time.monotonic() - self._flushed >= BATCH_SECONDS
        if not (due or at_once):
            return
        rows = []
        while self._waiting:
            key, found = self._waiting.popleft()
            rows.append((key, float(found.reward), found.level, found.detail, found.tests_passed, found.tests_total))
        try:
            with _transaction(self._db):
                self._db.executemany(KEEP, rows)
            self._flushes += 1
            if self._flushes % FLUSHES_BETWEEN_PRUNING == 0:
                self._prune()
        except sqlite3.Error as error:
            self._trouble(error)
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what waits, keep to the size limit, let go of the file."""
        self.flush(at_once=True)
        if self._db is not None and self._flushes:
            try:
                self._prune()
            except sqlite3.Error as error:
                self._trouble(error)
        self._disconnect()

    def _prune(self) -> None:
        """Drop the oldest findings where the file has outgrown its limit."""
        if self._used() <= self._limit:
            return
        while self._used() > self._limit * KEPT_SHARE:
            with _transaction(self._db):
                if not self._db.execute(PRUNE, (PRUNED_AT_ONCE,)).rowcount:
                    break
        self._db.executescript("PRAGMA incremental_vacuum")  # execute() would free a single page
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _used(self) -> int:
        """Bytes of the file that hold something."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _open(self) -> None:
        try:
            self._path = default_path()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self._path.with_suffix(".lock")):
                self._db = _connect(self._path)
                if self._db is None:
                    self._set_aside()
                    self._db = _connect(self._path)
        except (sqlite3.Error, OSError, RuntimeError) as error:
            self._give_up(error)

    def _set_aside(self) -> None:
        """Rename the file, over an earlier one that was set aside, and drop what belongs to it."""
        self._path.replace(self._path.with_suffix(".broken"))
        for ending in ("-wal", "-shm"):
            Path(f"{self._path}{ending}").unlink(missing_ok=True)
        print(f"verdict cache {self._path}: broken, or of another program; set aside and begun anew", file=sys.stderr)

    def _trouble(self, error: sqlite3.Error) -> None:
        """Begin anew, once, where the file turns out to be broken; else go on without it."""
        self._disconnect()
        if _is_broken(error) and not self._renewed:
            self._renewed = True
            self._mend()
        else:
            self._give_up(error)

    def _mend(self) -> None:
        """Set the broken file aside, unless another process has done so already."""
        try:
            with _locked(self._path.with_suffix(".lock")):
                if not _is_sound(self._path):
                    self._set_aside()
        except OSError as error:
            self._give_up(error)
        else:
            self._open()

    def _give_up(self, error: Exception) -> None:
        self._disconnect()
        self._waiting.clear()
        where = self._path or "no cache folder"
        print(f"verdict cache {where}: {error}; judging goes on without it", file=sys.stderr)

    def _disconnect(self) -> None:
        database, self._db = self._db, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()


def _finding(row: tuple) -> Finding | None:
    """A row as a finding; None where it is none that would have been kept."""
    reward, level, detail, passed, total = row
    if type(detail) is not str or type(passed) is not int or type(total) is not int:
        return None
    try:
        found = Finding(reward, level, detail, passed, total)
    except (ValueError, TypeError):
        return None
    return found if found.detail == detail and keepable(found) else None


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time makes, opens or replaces the file."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _connect(path: Path) -> sqlite3.Connection | None:
    """A connection to our table, made where the file is new; None for a file that is broken or not ours."""
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(CREATE)
        ours = database.execute("PRAGMA application_id").fetchone()[0] == APPLICATION
        if ours:
            database.execute(FIND, (b"",)).fetchone()
            # Without a sync at each commit the loss of power may lose the last batches, and nothing more.
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -16384"):
                database.execute(f"PRAGMA {pragma}").fetchall()
            database.execute(f"PRAGMA journal_size_limit = {16 * MEBIBYTE}").fetchall()
            return database
    except sqlite3.Error as error:
        database.close()
        if not _is_broken(error):
            raise
        return None
    database.close()
    return None


def _is_broken(error: sqlite3.Error) -> bool:
    """Whether the file itself is at fault, not the disk, a lock or a permission."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last: another table


def _is_sound(path: Path) -> bool:
    """A full check, for a file that is suspected."""
    database = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        return database.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"
    except sqlite3.Error:
        return False
    finally:
        database.close()
