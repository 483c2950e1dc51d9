"""The zygote: an interpreter, warm with the common imports, that starts every job as a fresh copy of itself.

Runs inside bubblewrap as process 1 (`python zygote.py CONTROL`) and runs no untrusted code itself. CONTROL is the
descriptor of a socket to the host. It reads a line of JSON there (`nested`: whether to try that, `spare_user`: whether
there is the user nobody, `preload`: modules to import), answers with the mode that it is in, and then receives, per
job, one byte and a descriptor, a socket of the job's own, or two, where it talks to another job. In mode "nested" the
job becomes process 1 of new pid, mount and ipc namespaces, so that nothing of it outlives it and nothing of one job is
there for the next. In mode "single", where such namespaces are refused, the zygote turns into its only job and the
host starts another one. The end of CONTROL is the end of the zygote, and of every job.

The job's socket carries messages, each a length (4 bytes, big-endian) and JSON: a description one way, and one report
the other way. No report means a fault of the sandbox. A `session` is a job that carries out others, which come over
its socket, each with a descriptor for its peer.
"""

import bisect  # noqa: F401 - this and its like are here for the jobs, whose imports of them then cost nothing
import collections.abc  # noqa: F401
import contextlib
import copy  # noqa: F401
import dataclasses  # noqa: F401
import datetime  # noqa: F401
import decimal  # noqa: F401
import enum  # noqa: F401
import fractions  # noqa: F401
import functools  # noqa: F401
import gc
import heapq  # noqa: F401
import importlib
import itertools  # noqa: F401
import json
import math  # noqa: F401
import operator  # noqa: F401
import os
import random  # noqa: F401
import re  # noqa: F401
import site
import socket
import statistics  # noqa: F401
import string  # noqa: F401
import sys
import typing  # noqa: F401
import warnings

import python_candidate
import python_judge
import python_program
import steps
from confine import clone_into_namespaces, drop_privileges, forget_connections, fresh_mounts, narrow_proc
from python_program import empty_folders
from supervise import HostGone, Supervisor, read_exactly, receive, write_all

KINDS = {
    "steps": steps.run,
    "program": python_program.run,
    "candidate": python_candidate.run,
    "judge": python_judge.run,
}
MOUNT_TEST_MB = 1


def main() -> None:
    """Serve jobs until the host closes the control socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    wish = json.loads(_line(control))
    site.setquit()  # exit() and quit(), which programs use, are not there without the site module
    for name in wish["preload"]:
        module = importlib.import_module(name)
        if hasattr(module, "warm"):
            module.warm()
    warnings.simplefilter("ignore")
    forget_connections()
    can_nest = wish["nested"] and _can_nest()
    spare_user = wish["spare_user"]
    gc.collect()
    gc.freeze()
    control.sendall(b"nested\n" if can_nest else b"single\n")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not message:
            return
        if not can_nest:
            control.close()
            _job(descriptors, spare_user, nested=False)
        child = clone_into_namespaces()
        if child == 0:
            control.close()
            _job(descriptors, spare_user, nested=True)
        for descriptor in descriptors:
            os.close(descriptor)
        _reap()


def _line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            sys.exit(0)
        line += byte
    return line


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _can_nest() -> bool:
    """Whether this kernel lets the sandbox make namespaces and mounts of its own."""
    try:
        child = clone_into_namespaces()
    except OSError:
        return False
    if child == 0:
        try:
            fresh_mounts(MOUNT_TEST_MB)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _job(descriptors: list[int], spare_user: bool, nested: bool) -> None:
    """Read a job's description, carry it out, report, exit. Never returns."""
    code = 1
    descriptor, peer = descriptors[0], descriptors[1] if len(descriptors) > 1 else None
    try:
        job = receive(descriptor)
        if nested:
            fresh_mounts(job["tmp_mb"])
        else:
            with contextlib.suppress(OSError):
                narrow_proc()
        os.chdir("/tmp")
        drop_privileges(spare_user)
        if job["kind"] == "session":
            _session(descriptor)
        else:
            send(descriptor, KINDS[job["kind"]](Supervisor(descriptor, peer), job))
        code = 0
    except HostGone:
        code = 0
    except BaseException as error:
        with contextlib.suppress(BaseException):
            send(descriptor, {"fault": f"{type(error).__name__}: {error}"[:300]})
    finally:
        os._exit(code)


def _session(descriptor: int) -> None:
    """Carry out one job after another, each with a socket of its own to the other job's process.

    Nothing of a job's is there for the next: its processes have ended, and the folders are emptied.
    """
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        while True:
            size, descriptors, _, _ = socket.recv_fds(connection, 4, 1)
            if not size:
                return
            job = json.loads(read_exactly(descriptor, int.from_bytes(size, "big")))
            report = KINDS[job["kind"]](Supervisor(descriptor, descriptors[0]), job)
            empty_folders()
            send(descriptor, report)


def send(descriptor: int, value: dict) -> None:
    """Write a report; the host reads as it comes."""
    data = json.dumps(value).encode()
    write_all(descriptor, len(data).to_bytes(4, "big") + data)


if __name__ == "__main__":
    main()
