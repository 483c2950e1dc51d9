"""The zygote: an interpreter, warm with the common imports, that starts every job as a fresh copy of itself.

Runs inside bubblewrap as process 1 (`python zygote.py CONTROL`) and runs no untrusted code itself. CONTROL is the
descriptor of a socket to the host. It reads a line of JSON there (`nested`: whether to try that, `spare_user`: whether
there is the user nobody, `preload`: modules to import), answers with the mode that it is in, and then receives, per
job, a byte, a length (4 bytes), and descriptors, the first of which is a socket of the job's own. In mode "nested" the
job becomes process 1 of new pid, mount and ipc namespaces, so that nothing of it outlives it and nothing of one job is
there for the next. In mode "single", where such namespaces are refused, the zygote turns into its only job and the host
starts another one. The end of CONTROL is the end of the zygote, and of every job. The byte `d` announces a job that the
zygote itself watches (direct.py) and, in JSON of that length, its limits.

The job's socket carries messages, each a length (4 bytes, big-endian) and JSON: a description one way, and one report
the other way. No report means a fault of the sandbox. A `session` is a job that watches others in the zygote's place,
in namespaces that they share, `planner` one that says how tests are to be run; what they do is announced on their
sockets. The byte `r` announces such a resident. In mode "single" it is all that the zygote does.
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
from collections.abc import Callable

import confine
import direct
import python_candidate
import python_judge
import python_plan
import python_program
import steps
from confine import (
    become_trusted,
    clone_into_namespaces,
    drop_privileges,
    end_with_parent,
    forget_connections,
    fresh_mounts,
    narrow_proc,
    set_thread_stacks,
    shut_zygote_in,
)
from python_program import empty_folders, look_fresh
from supervise import HostGone, Supervisor, read_exactly, receive, restore_streams, write_all

KINDS = {"steps": steps.run, "program": python_program.run}
DIRECT = {"judge": python_judge.main, "candidate": python_candidate.main}
HEAD_SIZE = 5  # bytes
MOUNT_TEST_MB = 1


def main() -> None:
    """Serve jobs until the host closes the control socket."""
    end_with_parent()
    control = socket.socket(fileno=int(sys.argv[1]))
    wish = json.loads(_line(control))
    for builtin in (site.setquit, site.setcopyright, site.sethelper):  # exit() and such, which the site module makes
        builtin()
    for name in wish["preload"]:
        module = importlib.import_module(name)
        if hasattr(module, "warm"):
            module.warm()
    warnings.simplefilter("ignore")
    set_thread_stacks()
    forget_connections()
    restore_streams()
    look_fresh()
    shut_zygote_in()
    can_nest = wish["nested"] and _can_nest()
    spare_user = wish["spare_user"]
    gc.collect()
    gc.freeze()
    control.sendall(b"nested\n" if can_nest else b"single\n")
    while True:
        head, descriptors = _announced(control)
        if not head:
            return
        if not can_nest:
            _only(control, head, descriptors, spare_user)
            return
        if head[:1] == b"d":
            _direct(control, head, descriptors, lambda job: _shut_in(job["tmp_mb"], spare_user))
            continue
        child = clone_into_namespaces()
        if child == 0:
            control.close()
            _job(descriptors[0], spare_user, nested=True)
        confine.residents += head[:1] == b"r"
        for descriptor in descriptors:
            os.close(descriptor)
        _reap()


def _only(control: socket.socket, head: bytes, descriptors: list[int], spare_user: bool) -> None:
    """The one job of a zygote that cannot start others."""
    if head[:1] != b"d":
        control.close()
        _job(descriptors[0], spare_user, nested=False)
    _shut_in(None, spare_user)
    become_trusted()
    _direct(control, head, descriptors, None)


def _announced(connection: socket.socket) -> tuple[bytes, list[int]]:
    """The first bytes of what announces a job, and its descriptors; nothing at the connection's end."""
    head, descriptors, _, _ = socket.recv_fds(connection, HEAD_SIZE, 3)
    return head, descriptors


def _direct(
    connection: socket.socket, head: bytes, descriptors: list[int], shut_in: Callable[[dict], None] | None
) -> None:
    """A job without a supervisor, to its end."""
    limits = json.loads(read_exactly(connection.fileno(), int.from_bytes(head[1:], "big")))
    report = direct.run(DIRECT, descriptors, limits, shut_in)
    if shut_in is None:
        empty_folders()
    if report is not None:
        with contextlib.suppress(OSError):
            send(descriptors[0], report)
    os.close(descriptors[0])


def _shut_in(tmp_mb: int | None, spare_user: bool) -> None:
    """In a new process: fresh mounts (None: there are none, only a narrower /proc), no privileges."""
    if tmp_mb is not None:
        fresh_mounts(tmp_mb)
    else:
        with contextlib.suppress(OSError):
            narrow_proc()
    os.chdir("/tmp")
    drop_privileges(spare_user)


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


def _job(descriptor: int, spare_user: bool, nested: bool) -> None:
    """Read a job's description, carry it out, report, exit. Never returns."""
    code = 1
    try:
        job = receive(descriptor)
        _shut_in(job["tmp_mb"] if nested else None, spare_user)
        become_trusted()
        if job["kind"] == "session":
            _session(descriptor)
        elif job["kind"] == "planner":
            _planner(descriptor)
        else:
            confine.residents += 1  # this process
            send(descriptor, KINDS[job["kind"]](Supervisor(descriptor), job))
        code = 0
    except (HostGone, EOFError):
        code = 0
    except BaseException as error:
        with contextlib.suppress(BaseException):
            send(descriptor, {"fault": f"{type(error).__name__}: {error}"[:300]})
    finally:
        os._exit(code)


def _session(descriptor: int) -> None:
    """Carry out one direct job after another, announced as to the zygote.

    Nothing of a job's is there for the next: its processes have ended, and the folders are emptied.
    """
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        while True:
            head, descriptors = _announced(connection)
            if not head:
                return
            _direct(connection, head, descriptors, None)


def _planner(descriptor: int) -> None:
    """Answer questions, each on a socket of its own, so that no answer is taken for another question's."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        while True:
            head, descriptors = _announced(connection)
            if not head:
                return
            send(descriptors[0], python_plan.run(receive(descriptors[0])))
            os.close(descriptors[0])


def send(descriptor: int, value: dict) -> None:
    """Write a report; the host reads as it comes."""
    data = json.dumps(value).encode()
    write_all(descriptor, len(data).to_bytes(4, "big") + data)


if __name__ == "__main__":
    main()
