"""A real Ray cluster of two nodes on this machine judges as this machine alone does."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stages.common import records
from stages.common.errors import InputError, SandboxError
from stages.common.records import Sample, Verdict
from stages.settings.verify import VerifySettings
from stages.verifiers.files import verify_file
from stages.verifiers.pool import verify_samples
from tests.conftest import ROOT, Run, make_task

pytest.importorskip("ray", reason="Ray is optional; pip install -e '.[ray]'")
STORE_BYTES = 100 << 20
OWN = """
import os
import time
from own_help import level
from stages.verifiers.base import Verifier
from stages.verifiers.verdicts import Finding


class Own(Verifier):
    def verify(self, task, code, sandbox):
        if code.startswith("slow"):
            time.sleep(0.1)
        if code.startswith("end the worker"):
            os._exit(3)
        if code.startswith("where"):
            return Finding(0.7, level(), str(os.getpid()))
        return Finding(0.7, level(), code)

    def selftests(self):
        return ()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """Two nodes of one core each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    noticing = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    made = Cluster(initialize_head=True, head_node_args={**head, "_system_config": noticing})
    made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A verifier of one's own, in modules that only this process can import."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own_verifier.py").write_text(OWN)
    (folder / "own_help.py").write_text("def level():\n    return 'ran'\n")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in ("own_verifier", "own_help"):
        sys.modules.pop(name, None)


def settings(cluster: object, **more: object) -> VerifySettings:
    """Those of a run on the cluster, without the cache unless asked for."""
    return VerifySettings(**{"executor": "ray", "ray_address": cluster.address, "cache": False, **more})


OWN_TASKS = {"t/1": make_task(1, verifier="own_verifier:Own")}


def test_the_same_bytes_as_local(cluster: object, own: Path, tmp_path: Path) -> None:
    """Verifiers of ours and one's own; every kind of outcome, in the samples' order."""
    python = [
        "def f(xs):\n    return [x + 1 for x in xs]\n",
        "def f(xs):\n    return [x - 1 for x in xs]\n",
        "def f(xs):\n    raise ValueError('\u2192')\n",
        "def f(xs:\n",
        "while True: pass\n",
        "",
    ]
    cpp = ["int main() { }", "int main() { return 3; }", "int main( }", "int main() { int unused; }"]
    cpp_task = make_task(2, language="cpp", verifier="gcc", entry_point=None, tests="", cases=[])
    records.write(tmp_path / "t.jsonl", [make_task(0), cpp_task, make_task(3, verifier="own_verifier:Own")])
    samples = [Sample("t/0", n, code.replace("+ 1", "+ 0")) for n, code in enumerate(python)]
    samples += [Sample("t/2", n, code) for n, code in enumerate(cpp)]
    samples += [Sample("t/3", n, f"{'slow ' * (n % 5 == 0)}{n} \ud800\x00") for n in range(60)]
    records.write(tmp_path / "s.jsonl", samples)
    limits = {"limits": {"cpu_seconds": 1}, "cache": False}
    here = VerifySettings.parse(limits, "test")
    there = VerifySettings.parse({**limits, "executor": "ray", "ray_address": cluster.address}, "test")
    timings = {}
    for name, chosen in (("local", here), ("ray", there)):
        _, timings[name] = verify_file([tmp_path / "t.jsonl"], tmp_path / "s.jsonl", tmp_path / name, chosen)
    assert (tmp_path / "local").read_bytes() == (tmp_path / "ray").read_bytes()
    levels = {verdict.level for verdict in records.read(Verdict, tmp_path / "ray")}
    assert levels >= {"pass", "wrong_answer", "compile_error", "timeout", "ran"}
    assert (timings["ray"]["executor"], timings["ray"]["workers"], timings["ray"]["judged"]) == ("ray", 2, len(samples))
    assert timings["ray"]["verifiers"] == timings["local"]["verifiers"]


def test_both_nodes_judge(cluster: object, own: Path) -> None:
    samples = [Sample("t/1", n, f"where {n}") for n in range(40)]
    verdicts = list(verify_samples(OWN_TASKS, samples, settings(cluster, workers=2)))
    assert len({verdict.detail for verdict in verdicts}) == 2
    assert str(os.getpid()) not in {verdict.detail for verdict in verdicts}


def workers() -> list[psutil.Process]:
    """The worker processes of all nodes."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            if any("ray::NodeWorker" in part for part in process.info["cmdline"] or ()):
                found.append(process)
    return found


def test_a_worker_that_dies_is_replaced(cluster: object, own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Killed from outside, in the middle: every verdict comes, in order."""
    samples = [Sample("t/1", n, f"slow {n}") for n in range(60)]
    stream = verify_samples(OWN_TASKS, samples, settings(cluster))
    verdicts = [next(stream)]
    (first, *_) = workers()
    threading.Timer(0.5, first.kill).start()
    verdicts += stream
    assert [verdict.detail for verdict in verdicts] == [f"slow {n}" for n in range(60)]
    assert "its worker died; starting another" in capfd.readouterr().err
    assert not first.is_running()
    psutil.wait_procs(workers(), timeout=20)
    assert not workers()


def test_a_program_that_ends_every_worker(cluster: object, own: Path) -> None:
    with pytest.raises(SandboxError, match="task 't/1': 3 workers of the cluster died judging one of its samples"):
        list(verify_samples(OWN_TASKS, [Sample("t/1", 0, "end the worker")], settings(cluster)))


def test_a_node_without_a_sandbox(cluster: object, tmp_path: Path) -> None:
    """One node cannot judge: no verdict, and its name and trouble in one line."""
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, env_vars={"PATH": path})
    try:
        with pytest.raises(SandboxError, match=r"node .+ \(.+\): the sandbox does not start: bwrap: No permissions"):
            list(verify_samples({"t/1": make_task(1)}, [Sample("t/1", 0, "x = 1")], settings(cluster)))
    finally:
        cluster.remove_node(node)


def test_a_node_whose_verifier_is_another(cluster: object, own: Path) -> None:
    """A verdict must not depend on where it was found."""
    differs = "    def fingerprint(self):\n        return {'tool': os.environ.get('TOOL', '1')}\n"
    (own / "own_verifier.py").write_text(OWN + "\n" + differs)
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, env_vars={"TOOL": "2"})
    try:
        with pytest.raises(
            SandboxError, match=r"verifier 'own_verifier:Own' is not the same as here: {'tool': '2'} the"
        ):
            list(verify_samples(OWN_TASKS, [Sample("t/1", 0, "x")], settings(cluster)))
    finally:
        cluster.remove_node(node)


def test_a_node_that_is_lost(cluster: object, own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its programs go to the others."""
    node = cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
    samples = [Sample("t/1", n, f"slow {n}") for n in range(80)]
    stream = verify_samples(OWN_TASKS, samples, settings(cluster))
    verdicts = [next(stream)]
    threading.Timer(0.5, lambda: cluster.remove_node(node, allow_graceful=False)).start()
    verdicts += stream
    assert [verdict.detail for verdict in verdicts] == [f"slow {n}" for n in range(80)]
    assert "is lost; its programs go to the others" in capfd.readouterr().err


def test_the_cache_is_the_drivers(cluster: object, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was judged on the cluster is known here, and the other way round; with all known no cluster is needed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    samples = [Sample("t/1", n, f"where {n}") for n in range(5)]
    first = list(verify_samples(OWN_TASKS, samples, settings(cluster, cache=True)))
    assert list(verify_samples(OWN_TASKS, samples, VerifySettings())) == first
    nowhere = VerifySettings(executor="ray", ray_address="127.0.0.1:1")
    assert list(verify_samples(OWN_TASKS, samples, nowhere)) == first


@pytest.mark.parametrize("where", ["there", "here"])
def test_the_stage_on_a_cluster(
    cluster: object, stage: Run, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that runs, or one of this machine alone. Quiet: no logs of Ray's."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    records.write(tmp_path / "tasks.jsonl", [make_task(1)])
    records.write(tmp_path / "samples.jsonl", [Sample("t/1", 0, "def f(xs):\n    return [x + 1 for x in xs]\n")])
    address = cluster.address if where == "there" else None
    params = {"verify": {"executor": "ray", "ray_address": address, "cache": False}}
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    done = stage("verify", "--tasks", "tasks.jsonl", "--samples", "samples.jsonl", "--out", "v.jsonl")
    assert [verdict.reward for verdict in records.read(Verdict, tmp_path / "v.jsonl")] == [1.0]
    said = [line for line in done.stderr.splitlines() if not line.startswith("verify samples:")]
    assert len(said) == 1 and said[0].startswith("1 verdicts, pass rate 1.000")


def test_no_cluster(stage: Run, tmp_path: Path) -> None:
    records.write(tmp_path / "tasks.jsonl", [make_task(1)])
    records.write(tmp_path / "samples.jsonl", [Sample("t/1", 0, "x = 1")])
    (tmp_path / "params.yaml").write_text("verify: {executor: ray, ray_address: '127.0.0.1:1', cache: false}\n")
    done = stage("verify", "--tasks", "tasks.jsonl", "--samples", "samples.jsonl", "--out", "v.jsonl", code=1)
    assert done.stderr == "error: verify.ray_address: no Ray cluster at '127.0.0.1:1': [Errno 111] Connection refused\n"


def test_ray_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray is not installed; pip install -e '\.\[ray\]'"):
        verify_samples({"t/1": make_task(1)}, [], VerifySettings(executor="ray"))


def test_nothing_of_ray_is_imported_without_it() -> None:
    code = """
import sys
from stages.common.records import Sample
from stages.settings.verify import VerifySettings
from stages.verifiers.pool import verify_samples
from tests.conftest import make_task
list(verify_samples({"t/1": make_task(1)}, [Sample("t/1", 0, "x = 1")], VerifySettings(cache=False)))
print([name for name in sys.modules if name.partition(".")[0] == "ray"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
