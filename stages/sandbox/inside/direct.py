"""Jobs of a single untrusted process without output: no supervisor of its own, the process that starts it watches it.

All other processes in the caller's /proc must be the job's: what they use together is limited by that. What starts and
watches touches as little as it can: after a fork each page that it writes to is copied. It reads
nothing of what comes from a job, either: the description goes to the new process, and what that says to the host alone.

Runs inside the sandbox and imports the standard library alone.
"""

import contextlib
import os
import signal
from collections.abc import Callable

from confine import clone_into_namespaces, fork
from supervise import HostGone, Used, Watch, begin, end_of, kill_rest, reap, receive


def run(
    bodies: dict[str, Callable[[dict, int], None]],
    descriptors: list[int],
    limits: dict,
    shut_in: Callable[[dict], None] | None,
) -> dict | None:
    """Start the job that comes over the first of `descriptors`, see it to its end, report that as Supervisor.run does.

    The second descriptor is a socket to the other job's process, the third one to the host. `bodies`: by the job's
    kind, what is called with the job and the third descriptor. With `shut_in(job)` the process is number 1 of new
    namespaces, where that is called first; the end of the process is then the end of all that it has started. None: it
    stays in those of the caller, which is number 1 itself. None is returned where nobody waits for the outcome.
    """
    host, peer, channel = descriptors
    child = clone_into_namespaces() if shut_in else fork()
    if child == 0:
        _become(bodies, host, peer, channel, shut_in)
    os.close(peer)
    os.close(channel)
    limit, gone = None, False
    try:
        limit = Watch(host, child, limits).until_end()
    except HostGone:
        gone = True
    if shut_in:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        status, usage = os.wait4(child, 0)[1:]
        used = Used.of(usage)
    else:
        kill_rest(child)
        status, used = reap(child)
    return None if gone else {**end_of(status, used, limit, limits), "stdout": "", "stderr": ""}


def _become(
    bodies: dict[str, Callable[[dict, int], None]],
    host: int,
    peer: int,
    channel: int,
    shut_in: Callable[[dict], None] | None,
) -> None:
    """The new process: shut in, then the job. Never returns."""
    try:
        job = receive(host)
        if shut_in:
            shut_in(job)
        body = bodies[job["kind"]]
        begin(lambda channel: body(job, channel), job["limits"], os.open("/dev/null", os.O_RDONLY), (), channel, peer)
    finally:
        os._exit(1)
