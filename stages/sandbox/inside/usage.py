"""What the processes of a job use together: resource limits bound each of them alone, and 64 times 1 GiB is much.

A limit on what a process allocates leaves room for threads' stacks, so what it has in memory is looked at as well.

Runs inside the sandbox and imports the standard library alone. Without /proc nothing can be seen, and nothing is
limited here. What a process says of itself there begins with a name that it has chosen.
"""

import os
import time

PERIOD_SECONDS = 0.05
KILOBYTES_PER_MEGABYTE = 1024
TICKS = os.sysconf("SC_CLK_TCK")
OWN_FIELDS = 2
CPU_FIELDS = slice(11, 15)  # of /proc/PID/stat behind the name: utime, stime, and those of children that ended


class UsageWatch:
    """Says when the processes that the caller sees in /proc, itself left out, pass memory_mb or cpu_seconds of `limits`
    together. They must all be the job's."""

    def __init__(self, limits: dict) -> None:
        self.memory = limits["memory_mb"] * KILOBYTES_PER_MEGABYTE
        self.cpu = limits["cpu_seconds"]
        self.next = time.monotonic() + PERIOD_SECONDS  # what is over sooner is judged by its end: see `peak_passed`
        self._used: dict[str, float] = {}  # CPU seconds of each process that was seen, its children's left out

    def passed(self) -> str | None:
        """The limit, "memory" or "cpu", or None; looks no more than once a period. Of a single process the memory is
        looked at alone: it has its own limit on CPU time.

        Pages that processes share, as after a fork, count once. Finding them out takes long, so that is done only where
        the sum with every page counted everywhere passes the limit.
        """
        now = time.monotonic()
        if now < self.next:
            return None
        self.next = now + PERIOD_SECONDS
        others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
        if sum(map(_resident, others)) > self.memory and sum(map(_share, others)) > self.memory:
            return "memory"
        if len(others) < 2 and not self._used:
            return None
        return "cpu" if self._cpu_seconds(others) >= self.cpu else None

    def _cpu_seconds(self, pids: list[str]) -> float:
        """What all have used. The kernel adds the time of a child that has ended to its parent's, unless the parent
        ignores its children's ends: so what was seen of each is kept as well."""
        times = {pid: _times(pid) for pid in pids}
        self._used |= {pid: sum(found[:OWN_FIELDS]) for pid, found in times.items() if found}
        return max(sum(map(sum, times.values())), sum(self._used.values()))


def peak_passed(peak: int, limits: dict) -> bool:
    """Whether a process that has ended, or one that it has waited for, had more than memory_mb in memory at any time;
    `peak`: ru_maxrss, kilobytes."""
    return peak > limits["memory_mb"] * KILOBYTES_PER_MEGABYTE


def _resident(pid: str) -> int:
    """Kilobytes in memory and swapped out."""
    return _sum(f"/proc/{pid}/status", (b"VmRSS:", b"VmSwap:")) or 0


def _share(pid: str) -> int:
    """Kilobytes of its own and its share of others; all of them where it does not let itself be looked at."""
    share = _sum(f"/proc/{pid}/smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:"))
    return _resident(pid) if share is None else share


def _times(pid: str) -> list[float]:
    """CPU seconds, user's and system's, of the process, and of its children that it has waited for."""
    data = _read(f"/proc/{pid}/stat") or b""
    return [int(ticks) / TICKS for ticks in data.rpartition(b")")[2].split()[CPU_FIELDS]]


def _sum(path: str, names: tuple[bytes, ...]) -> int | None:
    """Of the lines `name: N kB` of a file; None where it cannot be read."""
    data = _read(path)
    if data is None:
        return None
    rows = (line.split() for line in data.split(b"\n"))
    return sum(int(row[1]) for row in rows if len(row) > 1 and row[0] in names)


def _read(path: str) -> bytes | None:
    """What a file of /proc holds; None where the process has ended, or hides."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None
