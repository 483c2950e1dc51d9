"""Sampling through scripted servers: the same bytes whatever fails, one line where nothing helps."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.common import records
from stages.common.errors import HaloForgeError, InputError
from stages.common.records import Sample
from stages.lm import load
from stages.lm.chat import prompt_text
from stages.lm.served import ServedSampler, _expect_same_context, over_servers
from stages.lm.shards import Work, sample_to_file
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings
from stages.settings.servers import ServerSettings
from tests.completions import GOOD, Completions, text_of
from tests.conftest import ROOT, Run, make_task

COMPUTE = ComputeSettings(threads=1, dtype="float32")
KEY = "sk-test-0123456789abcdef"
SLOW = {"concurrency": 2, "backoff_seconds": 0.01, "timeout_seconds": 5.0, "retries": 3}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    records.write(path, [make_task(number) for number in range(10)])
    return path


@pytest.fixture
def draw(tmp_path: Path, checkpoint: Path, tasks: Path) -> Callable[..., list[Sample]]:
    """Sample through servers in this process."""

    def run(*servers: Completions, name: str = "s.jsonl", path: Path = checkpoint, **changes: Any) -> list[Sample]:
        own = {key: changes.pop(key) for key in list(changes) if key in ServerSettings.model_fields}
        where = ServerSettings(**{"urls": [server.url for server in servers], **SLOW, **own})
        settings = SampleSettings(**{"n": 2, "max_new_tokens": 16, "shard": 3, **changes}, servers=where)
        sampler = ServedSampler(path, settings, PromptSettings(), COMPUTE, 7, "cycle-1", "1")
        sample_to_file(sampler, records.read_tasks(tasks), tmp_path / name, over_servers)
        return list(records.read(Sample, tmp_path / name))

    return run


def test_every_sample_has_a_request_of_its_own(draw: Callable[..., list[Sample]], checkpoint: Path) -> None:
    with Completions() as server:
        samples = draw(server)
    assert [(s.task_id, s.sample) for s in samples] == [(f"t/{t}", n) for t in range(10) for n in range(2)]
    assert len({s.seed for s in samples}) == 20 and all(0 <= s.seed < 1 << 31 for s in samples)
    assert {s.logprob for s in samples} == {-0.375} and {s.finish_reason for s in samples} == {"stop"}
    assert all(s.temperature == 1.0 and 1 <= s.tokens <= 5 and s.checkpoint == "tiny" for s in samples)
    by_seed = {body["seed"]: body for body in server.requests}
    tokenizer = load.load_tokenizer(checkpoint)
    for number, sample in enumerate(samples):
        body = by_seed[sample.seed]
        assert sample.completion == text_of(body)
        task = make_task(number // 2)
        assert body["prompt"] == prompt_text(tokenizer, task.prompt, task.language, PromptSettings())
    # Nothing that a server or generation_config.json brings along changes the distribution.
    expected = {"model": "tiny", "max_tokens": 16, "top_p": 0.95, "top_k": 0, "repetition_penalty": 1.0}
    assert expected.items() <= server.requests[0].items()
    assert tokenizer.eos_token_id in server.requests[0]["stop_token_ids"]


def test_more_samples_keep_those_that_were_there(draw: Callable[..., list[Sample]]) -> None:
    with Completions() as server:
        two, three = draw(server), draw(server, name="3.jsonl", n=3)
        other = draw(server, name="t.jsonl", temperature=0.5)
    assert [s for s in three if s.sample < 2] == two
    assert {s.completion for s in other}.isdisjoint(s.completion for s in two)


def test_greedy_answers_are_asked_for_once(draw: Callable[..., list[Sample]]) -> None:
    with Completions() as server:
        samples = draw(server, temperature=0.0)
    assert len(server.requests) == 10
    assert len(samples) == 20 and len({s.completion for s in samples}) == 10


def test_chat_sends_messages(draw: Callable[..., list[Sample]]) -> None:
    with Completions(owner="other") as server:
        samples = draw(server, endpoint="chat", request={"top_k": 5})
    body = server.requests[0]
    assert body["messages"][0]["content"].startswith("Write f(xs)") and "prompt" not in body
    assert body["top_k"] == 5 and "stop_token_ids" not in body
    assert {s.logprob for s in samples} == {-0.75}


FAULTS = [
    "status 429 Retry-After=0.05",
    "status 500",
    "status 503",
    "cut",
    "garbage",
    "garbage [1]",
    'garbage {"choices": [{"text": 5}]}',
    "no_choice",
    "two_choices",
    "no_finish",
    "abort",
    "hang",
    "dribble",
]


def test_what_passes_is_asked_again(
    draw: Callable[..., list[Sample]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Completions() as server:
        draw(server)
    script = [step for fault in FAULTS for step in (GOOD, fault)]
    with Completions(*script, GOOD) as server:
        draw(server, name="f.jsonl", concurrency=1, timeout_seconds=0.5)
    assert len(server.requests) == 20 + len(FAULTS)
    told = capfd.readouterr().err
    assert told.count("rests") == len(FAULTS) and "HTTP 429" in told and "no whole answer within 0.5 s" in told
    assert (tmp_path / "f.jsonl").read_bytes() == (tmp_path / "s.jsonl").read_bytes()


def test_one_server_and_two_give_the_same_file(draw: Callable[..., list[Sample]], tmp_path: Path) -> None:
    with Completions() as first, Completions() as second, Completions() as third:
        draw(first)
        draw(second, third, name="2.jsonl")
    assert second.requests and third.requests
    assert (tmp_path / "2.jsonl").read_bytes() == (tmp_path / "s.jsonl").read_bytes()


@pytest.mark.parametrize("fault", ["die", "status 500", "hang", "error 404 no such model", "other_model base"])
def test_the_work_of_a_lost_server_goes_to_the_others(
    draw: Callable[..., list[Sample]], capfd: pytest.CaptureFixture[str], fault: str
) -> None:
    with Completions(GOOD, fault) as lost, Completions(pause=0.05) as other:
        samples = draw(lost, other, timeout_seconds=0.5 if fault == "hang" else 5.0, retries=0)
    assert capfd.readouterr().err.count("dropped") == 1
    answered = {body["seed"]: text_of(body) for body in [*lost.requests, *other.requests]}
    assert [s.completion for s in samples] == [answered[s.seed] for s in samples]


def test_without_a_server_left_whole_shards_are_kept(
    draw: Callable[..., list[Sample]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Completions() as whole:
        draw(whole)
    with Completions(*[GOOD] * 14, "die") as dying, pytest.raises(HaloForgeError) as error:
        draw(dying, name="2.jsonl", retries=1)
    assert "no server is left" in str(error.value) and "\n" not in str(error.value)
    kept = list(tmp_path.glob("2.jsonl.partial/*/shard-*.jsonl"))
    assert kept and not (tmp_path / "2.jsonl").exists()
    with Completions() as again:  # at another address: what was drawn stays good
        draw(again, name="2.jsonl")
    assert len(again.requests) == 20 - sum(6 for _ in kept)
    assert (tmp_path / "2.jsonl").read_bytes() == (tmp_path / "s.jsonl").read_bytes()


def test_a_server_that_is_not_there_is_left_out(
    draw: Callable[..., list[Sample]], capfd: pytest.CaptureFixture[str]
) -> None:
    absent = "http://127.0.0.1:9/v1"
    with Completions() as server:
        assert len(draw(urls=[absent, server.url])) == 20
    assert f"{absent}: not used: no connection" in capfd.readouterr().err
    with pytest.raises(HaloForgeError, match=r"none of the 1 servers answers .*make serve MODEL="):
        draw(urls=[absent], name="2.jsonl")


def test_a_request_that_always_fails_is_named(draw: Callable[..., list[Sample]]) -> None:
    for servers in (1, 2):
        with ExitStack() as stack, pytest.raises(HaloForgeError) as error:
            draw(*(stack.enter_context(Completions(poison="add 9")) for _ in range(servers)), name=f"{servers}.jsonl")
        assert "task t/9: " in str(error.value) and "HTTP 500" in str(error.value)
    with Completions("error 400 no such field") as server, pytest.raises(HaloForgeError) as error:
        draw(server)
    assert "task t/" in str(error.value) and "refuses the request: HTTP 400" in str(error.value)


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8 tokens. However, you requested 9 tokens",
        "the request exceeds the available context size, try increasing it",
    ],
)
def test_a_prompt_that_the_server_has_no_room_for_has_empty_samples(
    draw: Callable[..., list[Sample]], capfd: pytest.CaptureFixture[str], words: str
) -> None:
    with Completions(f"error 400 {words}", f"error 400 {words}", GOOD) as server:
        samples = draw(server, concurrency=1)  # the second refusal is of the same prompt with room for one token
    empty = [s for s in samples if s.finish_reason == "context"]
    assert [(s.completion, s.tokens, s.logprob) for s in empty] == [("", 0, None)]
    assert "1 tasks have prompts without room" in capfd.readouterr().out


def test_a_server_with_too_small_a_context_ends_the_run(draw: Callable[..., list[Sample]]) -> None:
    """Its prompts fit, their answers do not: samples without text would be the server's fault and not the model's."""
    words = "This model's maximum context length is 64 tokens. However, you requested 90 tokens"
    with Completions(f"error 400 {words}", GOOD) as server, pytest.raises(HaloForgeError) as error:
        draw(server)
    assert "has a smaller context than the checkpoint" in str(error.value)


def test_a_server_s_own_context_limits_the_answers(draw: Callable[..., list[Sample]], tasks: Path) -> None:
    records.write(tasks, [make_task(0)])
    with Completions() as server:
        draw(server, name="whole.jsonl")
        whole = server.requests[0]["max_tokens"]
        prompt = len(server.requests[0]["prompt"])
    with Completions(context=prompt + whole - 2) as server:
        draw(server, name="limited.jsonl")
        assert server.requests[0]["max_tokens"] in range(1, whole + 1)
    with Completions(context=1) as server:
        assert {s.finish_reason for s in draw(server, name="none.jsonl")} == {"context"}


def test_a_prompt_longer_than_the_context_is_not_sent(draw: Callable[..., list[Sample]], tasks: Path) -> None:
    records.write(tasks, [make_task(0), make_task(1, prompt="x " * 600)])
    with Completions() as server:
        samples = draw(server)
    assert [(s.task_id, s.finish_reason, s.tokens) for s in samples[2:]] == [("t/1", "context", 0)] * 2
    assert len(server.requests) == 2


def test_what_a_server_does_not_say_is_null(draw: Callable[..., list[Sample]]) -> None:
    with Completions("no_usage") as server:
        assert {(s.tokens, s.logprob) for s in draw(server)} == {(None, None)}
    with Completions("refuses logprobs") as server:
        samples = draw(server, name="2.jsonl")
    assert {s.logprob for s in samples} == {None} and all(s.tokens for s in samples)


def test_another_model_is_one_line(draw: Callable[..., list[Sample]], checkpoint: Path) -> None:
    with Completions(models=["models/base"]) as server, pytest.raises(HaloForgeError) as error:
        draw(server)
    told = str(error.value)
    assert f"or tiny; found models/base; to serve the checkpoint: make serve MODEL={checkpoint}" in told
    assert not server.requests
    for name, settings in ((str(checkpoint), {}), ("mine", {"model": "mine"})):
        with Completions(models=["models/base", name]) as server:
            draw(server, name=f"{len(settings)}.jsonl", **settings)
            assert server.requests[0]["model"] == name


def test_keys_come_from_the_environment_and_stay_there(
    draw: Callable[..., list[Sample]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Completions("status 500", GOOD, key=KEY) as server:
        with pytest.raises(InputError, match="MY_KEY, which is not set"):
            draw(server, key_env="MY_KEY")
        monkeypatch.setenv("MY_KEY", KEY[:-1] + "0")
        with pytest.raises(HaloForgeError, match=r"refuses access .401.; check the key in MY_KEY"):
            draw(server, key_env="MY_KEY")
        monkeypatch.setenv("MY_KEY", KEY)
        draw(server, key_env="MY_KEY")
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    said = capfd.readouterr()
    assert "HTTP 500" in said.err and KEY not in said.out + said.err
    text = (tmp_path / "s.jsonl").read_text()
    assert KEY not in text and "127.0.0.1" not in text and str(tmp_path) not in text


def settings(folder: Path, **servers: Any) -> None:
    sample = {"n": 2, "max_new_tokens": 16, "shard": 2, "backend": "openai", "servers": {**SLOW, **servers}}
    params = {"seed": 7, "sample": sample, "compute": {"threads": 1, "dtype": "float32"}}
    params["cycles"] = {"1": {"parent": "sft"}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def test_a_killed_run_goes_on_and_ends_the_same(
    tmp_path: Path, stage: Run, checkpoint: Path, tasks: Path, draw: Callable[..., list[Sample]]
) -> None:
    with Completions() as server:
        draw(server, name="whole.jsonl", shard=2)
    command = ["--model", str(checkpoint), "--tasks", str(tasks), "--cycle", "1", "--out"]
    with Completions(*[GOOD] * 11, "hang") as server:
        settings(tmp_path, urls=[server.url])
        running = subprocess.Popen(
            [sys.executable, "-m", "stages.sample", *command, "cut.jsonl"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        while len(kept := list(tmp_path.glob("cut.jsonl.partial/*/shard-*.jsonl"))) < 2:
            assert running.poll() is None, "the run ended before it could be killed"
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    assert not (tmp_path / "cut.jsonl").exists()
    with Completions() as first, Completions() as second:
        settings(tmp_path, urls=[first.url, second.url])
        again = stage("sample", *command, "cut.jsonl", "--timing", "t.json")
    assert f"{len(kept)} of 5 shards are there" in again.stdout
    assert len(first.requests) + len(second.requests) == 20 - 4 * len(kept)
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert json.loads((tmp_path / "t.json").read_text())["servers"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"urls": ["http://user:secret@host/v1"]}, "urls: expected addresses"),
        ({"urls": ["host:8000"]}, "urls: expected http://HOST:PORT/v1"),
        ({"urls": ["http://a/v1", "http://a/v1"]}, "twice"),
        ({"launch": "vllm serve"}, "{model} and {port}"),
        ({"adapter": "merge"}, "needs launch"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        SampleSettings.parse({"servers": changes}, "params.yaml: sample")
    assert message in str(error.value) and "secret" not in str(error.value).partition(": expected")[2]


def test_address_and_patience_do_not_touch_what_was_drawn(checkpoint: Path) -> None:
    def fingerprint(**changes: Any) -> str:
        settings = SampleSettings(backend="openai", servers=ServerSettings(**changes))
        return ServedSampler(checkpoint, settings, PromptSettings(), COMPUTE, 0, "s").fingerprint([make_task(0)])

    same = fingerprint()
    assert fingerprint(urls=["http://b/v1"], concurrency=3, timeout_seconds=9.0, retries=1, key_env="K") == same
    assert len({same, fingerprint(endpoint="chat"), fingerprint(request={"top_k": 3}), fingerprint(model="m")}) == 4


def test_the_page_names_every_setting() -> None:
    page = (ROOT / "docs" / "SAMPLING.md").read_text(encoding="utf-8")
    block = next(text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "backend: openai" in text)
    settings = SampleSettings.parse(yaml.safe_load(block)["sample"], "page")
    assert settings.servers.model_fields_set == set(ServerSettings.model_fields)
    defaults = ServerSettings()
    assert settings.servers == defaults
    for text in re.findall(r"^servers: .*$", page, re.MULTILINE):
        ServerSettings.parse(yaml.safe_load(text)["servers"], "page")


def test_a_run_goes_on_with_servers_of_the_same_context_only(tmp_path: Path) -> None:
    work = Work([], [], tmp_path)
    for _ in range(2):
        _expect_same_context(work, 512)
    with pytest.raises(InputError, match="begun by servers with a context of 512 tokens, found 256"):
        _expect_same_context(work, 256)
