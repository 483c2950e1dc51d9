"""Servers that the stage starts itself, adapters that servers load, and `transformers serve`: real processes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.common import records
from stages.common.errors import HaloForgeError
from stages.common.records import Sample
from stages.lm.launched import launched
from stages.lm.served import ServedSampler, over_servers
from stages.lm.shards import sample_to_file, sample_to_files
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings
from stages.settings.servers import ServerSettings
from tests.completions import Completions
from tests.conftest import ROOT, make_task
from tests.test_merge import adapter  # noqa: F401 - a fixture

COMPUTE = ComputeSettings(threads=1, dtype="float32")
# A server that starts a child of its own, as vLLM does, and lists the model that it was given.
SERVER = """
import subprocess, sys, time
sys.path.insert(0, {root!r})
from tests.completions import Completions
child = subprocess.Popen(["sleep", "300"])
print("child", child.pid, flush=True)
server = Completions(models=[sys.argv[1]])
server._server.server_close()
from http.server import ThreadingHTTPServer
server._server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), server._server.RequestHandlerClass)
server.__enter__()
time.sleep(300)
"""


def draw(folder: Path, model: Path, n: int = 1, **servers: Any) -> list[Sample]:
    where = ServerSettings(**{"concurrency": 2, "retries": 1, "backoff_seconds": 0.01, **servers})
    settings = SampleSettings(n=n, max_new_tokens=8, shard=2, servers=where, top_p=1.0)
    sampler = ServedSampler(model, settings, PromptSettings(), COMPUTE, 7, "cycle-1", "1")
    sample_to_file(sampler, [make_task(number) for number in range(3)], folder / "s.jsonl", over_servers)
    return list(records.read(Sample, folder / "s.jsonl"))


def script(folder: Path) -> str:
    path = folder / "server.py"
    path.write_text(SERVER.format(root=str(ROOT)))
    return f"{sys.executable} {path} {{model}} {{port}}"


def gone(pid: int) -> bool:
    """Whether a process has ended (one that nobody has waited for counts)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for(what: Any) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_launched_server_lives_as_long_as_the_stage(tmp_path: Path, checkpoint: Path) -> None:
    settings = ServerSettings(launch=script(tmp_path), launches=2)
    with launched(settings, checkpoint, tmp_path / "logs") as urls:
        assert len(set(urls)) == 2
        logs = [(tmp_path / "logs" / f"serve-{number}.log").read_text() for number in (0, 1)]
        children = [int(text.split()[1]) for text in logs]
        assert not any(map(gone, children))
    wait_for(lambda: all(map(gone, children)))


def test_samples_come_from_launched_servers(tmp_path: Path, checkpoint: Path) -> None:
    samples = draw(tmp_path, checkpoint, launch=script(tmp_path), launches=2)
    assert [s.finish_reason for s in samples] == ["stop"] * 3
    assert not list(tmp_path.glob("s.jsonl.partial"))


def test_the_servers_of_one_run_serve_the_next(tmp_path: Path, checkpoint: Path) -> None:
    mark = tmp_path / "started"
    launch = f"sh -c 'echo >> {mark}; exec {script(tmp_path)}'"
    where = ServerSettings(concurrency=2, retries=1, backoff_seconds=0.01, launch=launch)
    settings = SampleSettings(n=2, max_new_tokens=8, shard=2, servers=where)
    sampler = ServedSampler(checkpoint, settings, PromptSettings(), COMPUTE, 7, "benchmark.sample")
    greedy = replace(sampler, settings=settings.model_copy(update={"n": 1, "temperature": 0.0}))
    runs = [(sampler, tmp_path / "s.jsonl"), (greedy, tmp_path / "g.jsonl")]
    sample_to_files(runs, [make_task(number) for number in range(3)], over_servers)
    assert len(list(records.read(Sample, tmp_path / "s.jsonl"))) == 6
    assert len(list(records.read(Sample, tmp_path / "g.jsonl"))) == 3
    assert mark.read_text() == "\n", "one server, started once"
    assert not list(tmp_path.glob("*.partial"))


def test_a_killed_stage_takes_its_server_along(tmp_path: Path, checkpoint: Path) -> None:
    sample = {"backend": "openai", "servers": {"launch": script(tmp_path).replace("{port}", "1 {port}")}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"sample": sample}))  # listens at another port: never ready
    records.write(tmp_path / "t.jsonl", [make_task(0)])
    command = [sys.executable, "-m", "stages.sample", "--model", str(checkpoint), "--tasks", "t.jsonl"]
    running = subprocess.Popen(
        [*command, "--out", "s.jsonl"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    log = tmp_path / "s.jsonl.partial" / "serve-0.log"
    wait_for(lambda: log.exists() and log.read_text().startswith("child"))
    found = subprocess.run(["pgrep", "-P", str(running.pid)], capture_output=True, text=True, check=True)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    server = int(found.stdout.split()[0])
    wait_for(lambda: gone(server))
    os.kill(int(log.read_text().split()[1]), signal.SIGKILL)  # a child that does not look after itself


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("no-such-command {model} {port}", "cannot run 'no-such-command'"),
        ("sh -c 'echo out of memory; exit 3' {model} {port}", "ended with 3 before it answered; the end of"),
        ("sleep 60 {model} {port}", "ended with 1 before"),
        ("sh -c 'sleep 60' {model} {port}", "no answer in 1 s"),
    ],
)
def test_a_server_that_does_not_start_is_one_line(tmp_path: Path, checkpoint: Path, command: str, message: str) -> None:
    with pytest.raises(HaloForgeError) as error:
        draw(tmp_path, checkpoint, launch=command, launch_seconds=1.0)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert "exit 3" not in command or "out of memory" in str(error.value)


def test_an_adapter_is_loaded_and_unloaded(tmp_path: Path, adapter: Path) -> None:  # noqa: F811
    with Completions(models=["models/base"]) as server:
        samples = draw(tmp_path, adapter, urls=[server.url], adapter="load")
    name = server.requests[0]["model"]
    assert name.startswith("cycle-1-") and {s.checkpoint for s in samples} == {"cycle-1"}
    assert server.asked == ["/v1/models", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"]
    assert not server.adapters
    with Completions(models=["models/base"], updating=False) as server, pytest.raises(HaloForgeError) as error:
        draw(tmp_path, adapter, urls=[server.url], adapter="load")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_transformers_serve(tmp_path: Path, checkpoint: Path, adapter: Path) -> None:  # noqa: F811
    """A real server that others have written; adapters go there merged. Its seeds hold for one request at a time."""
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package, reason=f"`transformers serve` needs {package}")
    cache = tmp_path / "cache"  # it lists what is in the hub's cache: nothing
    cache.mkdir()
    binary = Path(sys.executable).with_name("transformers")
    command = (
        f"env HF_HUB_OFFLINE=1 HF_HUB_CACHE={cache} CUDA_VISIBLE_DEVICES= {binary} serve --port {{port}} {{model}}"
    )
    options = {"launch": command, "concurrency": 1, "request": {"generation_config": '{"do_sample": true, "top_k": 0}'}}
    drawn = [draw(tmp_path, model, n=2, adapter="merge", **options) for model in (adapter, adapter, checkpoint)]
    first, again, base = ([s.completion for s in samples] for samples in drawn)
    assert first == again != base
    assert len(set(first)) == 6
    assert all(1 <= s.tokens <= 8 and s.finish_reason in ("stop", "length") for s in drawn[0])
