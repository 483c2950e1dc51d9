"""The memory of all processes of a job together: resource limits bound each of them alone, and 64 times 1 GiB is much.

Runs inside the sandbox and imports the standard library alone. Without /proc nothing can be seen, and nothing is
limited here.
"""

import os
import time

PERIOD_SECONDS = 0.05
KILOBYTES_PER_MEGABYTE = 1024


class MemoryWatch:
    """Says when the processes of this pid namespace, the caller left out, use more than `limit_mb` MiB together."""

    def __init__(self, limit_mb: int) -> None:
        self.limit = limit_mb * KILOBYTES_PER_MEGABYTE
        self.next = 0.0

    def passed(self) -> bool:
        """Whether they do; looks no more than once a period. A single process has its own limit, and is not looked at.

        Pages that processes share, as after a fork, count once. Finding them out takes long, so that is done only where
        the sum with every page counted everywhere passes the limit.
        """
        now = time.monotonic()
        if now < self.next:
            return False
        self.next = now + PERIOD_SECONDS
        others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
        return len(others) > 1 and sum(map(_resident, others)) > self.limit and sum(map(_share, others)) > self.limit


def _resident(pid: str) -> int:
    """Kilobytes in memory and swapped out."""
    return _sum(f"/proc/{pid}/status", ("VmRSS", "VmSwap")) or 0


def _share(pid: str) -> int:
    """Kilobytes of its own and its share of others; all of them where it does not let itself be looked at."""
    share = _sum(f"/proc/{pid}/smaps_rollup", ("Pss_Anon", "Pss_Shmem", "SwapPss"))
    return _resident(pid) if share is None else share


def _sum(path: str, names: tuple[str, ...]) -> int | None:
    """Of the lines `name: N kB` of a file; None where it cannot be read: the process has ended, or hides."""
    try:
        with open(path) as file:
            rows = (line.split() for line in file)
            return sum(int(row[1]) for row in rows if row and row[0].rstrip(":") in names)
    except OSError:
        return None
