"""Judging on a Ray cluster: the judges of judges.py on every node that has cores, one worker process to a node.

A node is used only if its own sandbox works and its verifiers, tools and code are the same as here, so that a verdict
does not depend on where it was found. This project's code, and that of a verifier of one's own, is sent along; the
packages it needs must be installed on the nodes. A worker that dies is replaced and its programs are judged again; a
node that is lost leaves its work to the others.
"""

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import stages
from stages.common.errors import HaloForgeError, InputError, SandboxError
from stages.common.records import Task
from stages.sandbox import probe
from stages.settings.verify import VerifySettings
from stages.verifiers.base import Verifier
from stages.verifiers.judges import Judges
from stages.verifiers.keys import Keys, top_level
from stages.verifiers.pool import make_verifiers, worker_count
from stages.verifiers.verdicts import Finding

START_SECONDS = 300.0  # until a node's worker is ready: code sent, compilers' helpers built, sandbox probed
CONNECT_SECONDS = 20.0
TRIES = 3  # workers that may die under a program
STORE_BYTES = 256 << 20  # Ray's memory for objects, where we start Ray ourselves
INSTALL = "pip install -e '.[ray]'"


class NodeWorker:
    """What runs on a node. Errors of ours come back as values: Ray would wrap what is raised in its own."""

    def __init__(self, tasks: Mapping[str, Task], settings: VerifySettings, workers: int) -> None:
        self._tasks, self._settings, self._workers = tasks, settings, workers

    def prepare(self) -> tuple[dict[str, Any], dict[str, str]] | HaloForgeError:
        """Make the judges ready; the fingerprints and versions (see Keys) of the verifiers as they are here."""
        try:
            verifiers = make_verifiers(self._tasks, self._settings)
            if trouble := probe():
                return SandboxError(trouble)
            keys = Keys(self._settings, verifiers)
        except HaloForgeError as error:
            return error
        self._judges = Judges(self._workers, verifiers).__enter__()
        return keys.fingerprints, keys.versions

    def judge(self, task_id: str, code: str) -> Finding | HaloForgeError:
        """The finding on one program. Runs in many threads at once."""
        try:
            return self._judges.submit(self._tasks[task_id], code).result()
        except HaloForgeError as error:
            return error


@dataclass(eq=False)
class _Node:
    id: str
    name: str
    cores: int
    workers: int
    actor: Any = None
    load: int = 0  # programs sent and not yet judged
    up: bool = True


@dataclass(eq=False)
class _Program:
    task_id: str
    code: str
    future: Future
    tries: int = 0


class ClusterJudges:
    """Judges on all nodes of a cluster, which is connected to with the first program.

    Raises InputError where Ray is not installed; `submit` raises InputError where there is no cluster and SandboxError,
    naming the node, where one cannot judge.
    """

    def __init__(
        self, tasks: Mapping[str, Task], settings: VerifySettings, verifiers: Mapping[str, Verifier], keys: Keys
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise InputError(f"verify.executor: Ray is not installed; {INSTALL}") from None
        self.workers = 1  # of the cluster, once there is one
        self._ray = ray
        self._tasks, self._settings, self._verifiers, self._keys = tasks, settings, verifiers, keys
        self._nodes: list[_Node] = []
        self._lock = threading.Lock()
        self._lost: queue.SimpleQueue[tuple[_Program, _Node | None, Any] | None] = queue.SimpleQueue()
        self._mender = threading.Thread(target=self._mend, daemon=True)
        self._connected = self._closed = self._ours = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._lost.put(None)
        for node in self._nodes:
            self._kill(node)
        if self._ours:
            self._ray.shutdown()

    def submit(self, task: Task, code: str) -> Future[Finding]:
        """The finding on `code` to come."""
        if not self._connected:
            self._connect()
        program = _Program(task.task_id, code, Future())
        self._send(program)
        return program.future

    def _connect(self) -> None:
        if not self._ray.is_initialized():
            self._ours = True
            self._init()
        self._sent_tasks = self._ray.put(dict(self._tasks))
        nodes = [self._node(entry) for entry in self._ray.nodes() if entry["Alive"] and entry["Resources"].get("CPU")]
        if not nodes:
            raise SandboxError("the Ray cluster has no node with a core")
        self._nodes = nodes  # from here on they are ended with us
        for node in nodes:
            node.actor = self._start(node)
        preparing = [(node, node.actor.prepare.remote()) for node in nodes]
        for node, reference in preparing:
            self._expect_ready(node, reference)
        self.workers = sum(node.workers for node in nodes)
        self._connected = True
        self._mender.start()

    def _init(self) -> None:
        """Connect to the cluster, or start one of this machine alone."""
        address = self._settings.ray_address or os.environ.get("RAY_ADDRESS") or "local"
        local = {"num_cpus": worker_count(self._settings), "object_store_memory": STORE_BYTES}
        code = {Path(stages.__file__).parent}.union(*(top_level(type(v)) for v in self._verifiers.values()))
        at_end = signal.getsignal(signal.SIGTERM)
        try:
            _expect_listener(address)
            self._ray.init(
                address=address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                runtime_env={"py_modules": [str(path) for path in sorted(code)]},
                **(local if address == "local" else {}),
            )
        except Exception as error:  # Ray has no common class for what may be wrong with an address or a cluster
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"verify.ray_address: no Ray cluster at '{address}': {said}") from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, at_end)  # Ray has put its own in place

    def _node(self, entry: dict) -> _Node:
        cores = int(entry["Resources"]["CPU"]) or 1
        workers = self._settings.workers or cores
        name = f"{entry['NodeManagerHostname']} ({entry['NodeManagerAddress']})"
        return _Node(entry["NodeID"], name, min(cores, workers), workers)

    def _start(self, node: _Node) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = {
            "num_cpus": node.cores,
            "max_concurrency": 2 * node.workers + 1,  # the next programs wait there, not on the way
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False),
        }
        return self._ray.remote(NodeWorker).options(**options).remote(self._sent_tasks, self._settings, node.workers)

    def _expect_ready(self, node: _Node, reference: Any) -> None:
        try:
            said = self._ray.get(reference, timeout=START_SECONDS)
        except self._ray.exceptions.GetTimeoutError:
            raise SandboxError(
                f"node {node.name}: no worker within {START_SECONDS:.0f} s; are {node.cores} of its cores free?"
            ) from None
        except self._ray.exceptions.RayError as error:
            last = (str(error).strip().splitlines() or ["nothing"])[-1]
            raise SandboxError(f"node {node.name}: its worker does not start: {last[:200]}") from None
        if isinstance(said, HaloForgeError):
            raise SandboxError(f"node {node.name}: {said}")
        fingerprints, versions = said
        for name, version in self._keys.versions.items():
            if versions[name] != version:
                there, here = fingerprints[name], self._keys.fingerprints[name]
                what = f"{there} there, {here} here" if there != here else "its code or kind of machine"
                raise SandboxError(f"node {node.name}: verifier '{name}' is not the same as here: {what}")

    def _send(self, program: _Program) -> None:
        """To the node with the least to do; to the mender while none is up."""
        with self._lock:
            node = min((n for n in self._nodes if n.up), key=lambda n: n.load / n.workers, default=None)
            if node is None:
                self._lost.put((program, None, None))
                return
            node.load += 1
            actor = node.actor
        reference = actor.judge.remote(program.task_id, program.code)
        reference.future().add_done_callback(lambda done: self._ended(program, node, actor, done))

    def _ended(self, program: _Program, node: _Node, actor: Any, done: Future) -> None:
        """Pass an outcome on. Runs in a thread of Ray's, which must not wait for Ray."""
        error = done.exception()
        dead = isinstance(error, self._ray.exceptions.RayError) and not isinstance(
            error, self._ray.exceptions.RayTaskError
        )
        with self._lock:
            node.load -= 1
            if dead and node.actor is actor:
                node.up = False
        if self._closed:
            return
        if dead:
            self._lost.put((program, node, actor))
        elif error:
            program.future.set_exception(error)
        elif isinstance(found := done.result(), HaloForgeError):
            program.future.set_exception(type(found)(f"node {node.name}: {found}"))
        else:
            program.future.set_result(found)

    def _mend(self) -> None:
        """Replace dead workers and send their programs again, in a thread of its own."""
        while (lost := self._lost.get()) is not None and not self._closed:
            program, node, actor = lost
            program.tries += node is not None
            try:
                if program.tries >= TRIES:
                    raise SandboxError(
                        f"task '{program.task_id}': {TRIES} workers of the cluster died judging one of its samples, "
                        f"the last on node {node.name}"
                    )
                if node in self._nodes and node.actor is actor:
                    self._revive(node)
                if not self._nodes:
                    raise SandboxError("no node of the Ray cluster is left")
            except Exception as error:  # raised again where the verdict is asked for
                program.future.set_exception(error)
            else:
                self._send(program)

    def _revive(self, node: _Node) -> None:
        """A new worker on the node; without one, where the node itself is gone."""
        self._kill(node)
        print(f"node {node.name}: its worker died; starting another", file=sys.stderr)
        try:
            actor = self._start(node)
            self._expect_ready(node, actor.prepare.remote())
        except SandboxError:
            if any(entry["NodeID"] == node.id and entry["Alive"] for entry in self._ray.nodes()):
                raise
            print(f"node {node.name} is lost; its programs go to the others", file=sys.stderr)
            with self._lock:
                self._nodes.remove(node)
        else:
            with self._lock:
                node.actor, node.up = actor, True

    def _kill(self, node: _Node) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, AttributeError, ValueError):
            self._ray.kill(node.actor)


def _expect_listener(address: str) -> None:
    """OSError or ValueError where nothing answers at HOST:PORT: Ray would go on trying for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
