"""`python -m stages.generate` against real HTTP servers on loopback, good ones and bad ones, and what a run leaves."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.llm.server import TOKENS_IN, TOKENS_OUT, Scripted, example, good
from tests.llm.specs import KEY, Workplace

pytest.importorskip("openai", reason="needs the openai package: pip install -e '.[generate]'")


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


def wrong(prompt: str) -> str:
    """A good answer but for its solution."""
    return good(prompt).replace("return x +", "return x -")


def test_good_answers_are_kept(place: Workplace) -> None:
    with Scripted(good) as server:
        place.write(server)
        said = place.run()
    assert "4 of 4 examples from 4 answers" in said
    ids = ["adding/small/easy/000", "adding/small/easy/001", "adding/large/easy/000", "adding/large/easy/001"]
    assert [task["task_id"] for task in place.kept] == ids
    first = place.kept[0]
    assert (first["source"], first["verifier"], first["entry_point"]) == (
        "generate/adding",
        "pytest",
        "add_small_easy_1",
    )
    assert first["meta"] == {"category": "small", "level": "easy", "model": "m"}
    assert first["reference"].startswith("def add_small_easy_1")
    figures = place.metrics
    assert (figures["asked"], figures["answered"], figures["kept"], figures["yield"]) == (4, 4, 4, 1.0)
    assert (figures["tokens_in"], figures["tokens_out"]) == (4 * TOKENS_IN, 4 * TOKENS_OUT)
    assert figures["categories"]["small"]["easy"] == {"wanted": 2, "asked": 2, "answered": 2, "kept": 2, "yield": 1.0}
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert server.requests[0]["max_tokens"] == 100
    assert str(place.folder) not in (place.folder / "generated/adding.jsonl").read_text()


def test_a_second_run_asks_nothing_and_writes_the_same(place: Workplace) -> None:
    with Scripted(good, "nonsense", wrong, good) as server:
        place.write(server)
        place.run()
        asked = len(server.requests)
        files = {name: (place.folder / name).read_bytes() for name in ("generated/adding.jsonl", "metrics.json")}
        (place.folder / "generated/adding.jsonl").unlink()
        del place.environment["TEST_KEY"]
        place.run()  # whoever has the answers needs no key
        assert len(server.requests) == asked
    assert {name: (place.folder / name).read_bytes() for name in files} == files


def test_the_order_in_which_answers_come_does_not_matter(place: Workplace) -> None:
    written = []
    for concurrency in (1, 8):
        sleep = random.Random(concurrency)

        def late(prompt: str, sleep: random.Random = sleep) -> str:
            time.sleep(sleep.random() * 0.1)
            # One in three is wrong, and two indices have the same example.
            text = good(re.sub(r"variation 5", "variation 4", prompt))
            return text.replace("return x +", "return x -") if re.search(r"variation [258]\b", prompt) else text

        with Scripted(late) as server:
            place.write(server, {"count": 6}, concurrency=concurrency)
            place.run()
        written.append([(place.folder / name).read_text() for name in ("generated/adding.jsonl", "metrics.json")])
        (place.folder / "answers" / "adding.jsonl").unlink()
    assert written[0] == written[1]
    assert json.loads(written[0][1])["kept"] == 12


def test_answers_may_go_to_a_pipe(place: Workplace) -> None:
    """Nothing can be read from there, and nothing takes its place; so it is with the other outputs."""
    with Scripted(good) as server:
        place.write(server)
        place.run("--answers", "/dev/stdout", "--out", "/dev/fd/1")
        asked = len(server.requests)
        said = place.run("--answers", "/dev/stdout", "--metrics", "/dev/null")
        assert len(server.requests) == 2 * asked
        assert place.run("--answers", "metrics.json/x", code=1).startswith(
            "error: metrics.json/x: expected a folder at metrics.json, found a file"
        )
    assert sum('"event": "answered"' in line for line in said.splitlines()) == asked
    assert len(place.kept) == 4


def test_failed_requests_are_tried_again(place: Workplace) -> None:
    steps = ["status 429 Retry-After=1", "status 500", "status 503", "cut", good]
    with Scripted(*steps) as server:
        place.write(server, concurrency=1)
        said = place.run()
    assert place.metrics["kept"] == 4
    assert place.metrics["failed_requests"] == {"connection_lost": 1, "rate_limit": 1, "server_error": 2}
    assert server.times[1] - server.times[0] >= 1.0, "Retry-After is honoured"
    assert "attempt 2 of 6 in 1.0 s" in said
    # What was cut may have been paid for; what was refused was not.
    charged = {event["kind"]: event["tokens"] for event in place.events("failed")}
    assert charged["connection_lost"] > 0 == charged["rate_limit"] == charged["server_error"]


def test_hanging_and_dribbling_servers_are_given_up(place: Workplace) -> None:
    with Scripted("hang", "dribble", good) as server:
        place.write(server, concurrency=1, timeout_seconds=1.0)
        place.run()
    assert place.metrics["kept"] == 4
    assert place.metrics["failed_requests"] == {"timeout": 2}


@pytest.mark.parametrize("body", ["", "[]", '{"choices": []}', '{"choices": [{"message": {"content": 5}}]}', "null"])
def test_garbage_is_a_failed_request(place: Workplace, body: str) -> None:
    with Scripted(f"garbage {body}", good) as server:
        place.write(server, concurrency=1)
        place.run()
    assert place.metrics["failed_requests"] == {"garbage": 1}


def test_what_is_malformed_or_wrong_is_counted_by_kind(place: Workplace) -> None:
    answers = [
        "answer ",
        "answer I'm sorry, but I cannot help with that.",
        "length",
        "answer ### Problem\nWrite f.\n### Solution\n```python\ndef f(): ...\n",
        wrong,
        lambda p: good(p).replace("assert", "# assert"),
        lambda p: good(p).replace("return", "eval('0'); return"),
        lambda p: example("add_two", "return x + 2", 2),
        lambda p: good(p).replace("== ", "!= None #"),
        good,
    ]
    with Scripted(*answers) as server:
        place.write(server, {"count": 3}, concurrency=1, attempts=6)
        said = place.run()
    assert re.search(r"^adding/\w+/easy/\d+: the tests pass a solution that returns its argument$", said, re.MULTILINE)
    figures = place.metrics
    assert figures["malformed"] == {"empty": 1, "refused": 1, "unfinished": 1, "unbalanced_fence": 1}
    assert figures["dropped"] == {
        "duplicate": 1,
        "matches_forbidden": 1,
        "passes_stub": 1,
        "weak_tests": 1,
        "wrong_answer": 1,
    }
    assert figures["kept"] == 6 == len(place.kept)


def test_nothing_kept_is_an_error_and_writes_nothing(place: Workplace) -> None:
    with Scripted("answer no") as server:
        place.write(server, attempts=1.5)
        said = place.run(code=1)
    assert "error: spec adding: not one example kept of 6 answers: 6 no_problem" in said
    assert not (place.folder / "generated").exists()
    assert not (place.folder / "metrics.json").exists()


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"cap": {"tokens": 3200}}, "tokens"), ({"cap": {"cost": 0.0032}, "price_input": 1, "price_output": 1}, "cost")],
)
def test_the_cap_ends_the_run_in_order(place: Workplace, settings: dict, name: str) -> None:
    with Scripted(good) as server:
        place.write(server, {"count": 20}, concurrency=3, **settings)
        said = place.run()
        assert f"stopped at the {name} cap, raise specs.adding.cap to go on" in said
        figures = place.metrics
        assert figures["stopped"] == f"{name} cap"
        assert 0 < figures["kept"] == figures["answered"] == len(server.requests) < 40
        assert figures["charged_tokens"] == 150 * figures["answered"] <= 3200
        before = len(server.requests)
        place.run()
        assert len(server.requests) == before
        assert place.metrics == figures
        place.write(server, {"count": 20}, concurrency=3)
        place.run()
        assert len(server.requests) == 40, "with a higher cap it goes on, and pays for nothing twice"


def test_a_killed_run_pays_nothing_twice(place: Workplace) -> None:
    slow = [good] * 5 + ["hang"]
    with Scripted(*slow) as server:
        place.write(server, {"count": 6}, concurrency=2)
        command = subprocess.Popen(place.command(), cwd=place.folder, env=place.env, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(server.requests) < 7:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        command.send_signal(signal.SIGKILL)
        command.wait()
    answered = {event["key"] for event in place.events("answered")}
    assert len(answered) == 5
    with (place.folder / "answers/adding.jsonl").open("a") as file:
        file.write('{"event": "answered", "key": "cut in the mid')
    with Scripted(good) as server:
        place.write(server, {"count": 6}, concurrency=2)
        place.run()
        assert len(server.requests) == 12 - 5
    assert place.metrics["kept"] == 12
    asked = place.events("asked")
    assert len({(event["key"], event["try"]) for event in asked}) == len(asked) == 14
    # Two questions were in flight when the run was killed. They may have been answered: they count at their reserve.
    twice = [event["tokens"] for event in asked if event["try"] == 1 and event["key"] not in answered][:2]
    assert place.metrics["charged_tokens"] == 12 * 150 + sum(twice)


def test_two_runs_do_not_share_a_ledger(place: Workplace) -> None:
    with Scripted("hang") as server:
        place.write(server)
        first = subprocess.Popen(place.command(), cwd=place.folder, env=place.env, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not server.requests:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        said = place.run(code=1)
        first.kill()
        first.wait()
    assert "answers/adding.jsonl: in use by another run" in said


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_at_once(place: Workplace, sign: signal.Signals) -> None:
    with Scripted(good, "hang") as server:
        place.write(server, concurrency=2)
        run = subprocess.Popen(place.command(), cwd=place.folder, env=place.env, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while len(server.requests) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run.send_signal(sign)
        _, said = run.communicate(timeout=10)
    assert run.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[sign]
    assert "Traceback" not in said
    assert len(place.events("answered")) == 1


def all_text(folder: Path) -> str:
    """All that lies in a folder."""
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("step", "code"),
    [("echo", 0), ("status 401", 1), ("status 400", 1), ("status 500", 1), (f"answer {KEY}", 1), ("garbage " + KEY, 1)],
)
@pytest.mark.parametrize("backend", ["server", "anthropic"])
def test_the_key_is_nowhere(place: Workplace, step: str, code: int, backend: str) -> None:
    """A server that sends the key back, in an error, a header or an answer; clients that are told to log all."""
    if backend == "anthropic":
        pytest.importorskip("anthropic")
    place.environment |= {"OPENAI_LOG": "debug", "ANTHROPIC_LOG": "debug", "PYTHONFAULTHANDLER": "1"}
    with Scripted(step, key=KEY) as server:
        place.write(server, backend=backend, base_url=server.address(backend), retries=1)
        said = place.run(code=code)
        assert server.requests
    assert KEY in str(server.headers)
    assert KEY not in said
    assert KEY[4:] not in said
    assert KEY not in all_text(place.folder)
    assert "Traceback" not in said
    if step == "echo":
        assert "[key]" in all_text(place.folder)


def test_other_keys_go_nowhere(place: Workplace) -> None:
    pytest.importorskip("anthropic")
    other = "sk-other-0123456789"
    place.environment |= {"OPENAI_API_KEY": other, "ANTHROPIC_AUTH_TOKEN": other, "ANTHROPIC_API_KEY": other}
    for backend in ("server", "anthropic"):
        with Scripted(good) as server:
            place.write(server, backend=backend, base_url=server.address(backend))
            place.run()
            assert other not in str(server.headers)


def test_a_redirect_is_not_followed(place: Workplace) -> None:
    with Scripted(good) as other, Scripted(f"redirect {other.url}/chat/completions") as server:
        place.write(server, retries=0)
        assert "HTTP 307" in place.run(code=1)
        assert not other.requests


def test_anthropic_speaks_its_own_protocol(place: Workplace) -> None:
    pytest.importorskip("anthropic")
    with Scripted("status 529", good) as server:
        place.write(server, backend="anthropic", base_url=server.address("anthropic"), concurrency=1)
        place.run()
    assert place.metrics["kept"] == 4
    assert place.metrics["failed_requests"] == {"server_error": 1}
    assert (place.metrics["tokens_in"], place.metrics["tokens_out"]) == (4 * TOKENS_IN, 4 * TOKENS_OUT)
    assert KEY in server.headers[0].get("x-api-key", "") + server.headers[0].get("authorization", "")
    assert server.requests[0]["system"] == "You write exercises."
    assert [message["role"] for message in server.requests[0]["messages"]] == ["user"]


def test_requests_per_minute(place: Workplace) -> None:
    with Scripted(good) as server:
        place.write(server, requests_per_minute=120, concurrency=4)
        place.run()
    gaps = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert min(gaps) > 0.4


def test_a_dead_server_is_one_line(place: Workplace) -> None:
    with Scripted(good) as server:
        place.write(server, retries=1)
    said = place.run(code=1)
    assert "error: backend 'server': no connection to http://127.0.0.1:" in said
    assert all(event["tokens"] == 0 for event in place.events("failed"))


def test_no_torch_for_a_server(place: Workplace) -> None:
    with Scripted(good) as server:
        place.write(server)
        words = place.command()[3:]
        code = f"import sys; sys.argv[1:] = {words!r}\nfrom stages import generate\ngenerate.main()\n"
        code += "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], cwd=place.folder, env=place.env, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "deepseak"}, "specs.adding.backend: found 'deepseak'"),
        ({"temprature": 1.0}, "specs.adding.temprature: unknown key; did you mean 'temperature'?"),
        ({"backend": "deepseek", "cap": {"cost": 1.0}}, "cap.cost needs price_input and price_output"),
        ({"cap": {"costs": 1.0}}, "specs.adding.cap.costs: unknown key; did you mean 'cost'?"),
        ({"backend": "openai"}, "backend 'openai' needs model"),
        ({"backend": "server", "model": "m"}, "backend 'server' needs base_url"),
        ({"backend": "deepseek", "base_url": "http://127.0.0.1:1/v1"}, "say by key_env which key goes there"),
        ({"backend": "server", "model": "m", "base_url": "ftp://x"}, "expected http://HOST:PORT/v1"),
        ({"backend": "server", "model": "m", "base_url": f"http://u:{KEY}@h/v1"}, "an address and nothing else"),
        ({"backend": "deepseek", "key_env": "NOT_SET"}, "environment variable NOT_SET, which is not set"),
        ({"backend": "deepseek", "key_env": "SHORT"}, "SHORT: a key of 3 characters"),
        ({"backend": "deepseek", "key_env": "BROKEN"}, "BROKEN: holds characters that no key has"),
        ({"backend": "local"}, "backend 'local' needs --model"),
    ],
)
def test_a_bad_setting_is_one_line(place: Workplace, settings: dict, message: str) -> None:
    place.environment |= {"SHORT": "abc", "BROKEN": "abc\ndefghijk"}
    place.write(None, **settings)
    said = place.run(code=1)
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert KEY not in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categoris": {}}, "adding.yaml.categoris: unknown key; did you mean 'categories'?"),
        ({"categories": {"a": {"descripton": "x"}}}, "categories.a.description: missing (and 1 more)"),
        ({"levels": {"a": {"description": "x", "topic": []}}}, "levels.a.topic: unknown key; known keys: description"),
        ({"language": "pyton"}, "language: found 'pyton'"),
        ({"verifier": "pytset"}, "unknown verifier 'pytset'; did you mean 'pytest'?"),
        ({"count": 0}, "count: found 0"),
        ({"categories": {}}, "categories: found {}"),
        ({"required": ["("]}, "required.0: found '(': not a regular expression"),
        ({"style": "cases"}, "examples.0 has tests, and style is 'cases'"),
        ({"clean": True}, "clean is for compiled languages"),
        ({"verify": {"pytset": {}}}, "verify.pytset: unknown key; did you mean 'pytest'?"),
        ({"examples": [{"problem": "p", "solution": "s"}]}, "expected either tests or cases"),
        ({"required": ["nowhere"]}, "examples.0: lacks_required"),
        (
            {"examples": [{"problem": "f", "solution": "def f(): return 1\n", "tests": "assert f() == 2\n"}]},
            "examples.0: does not pass: wrong_answer",
        ),
    ],
)
def test_a_bad_spec_is_one_line(place: Workplace, changes: dict, message: str) -> None:
    with Scripted(good) as server:
        place.write(server, changes)
        said = place.run(code=1)
        assert not server.requests, "nothing is asked before the spec is known to be good"
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_a_spec_without_an_entry_and_one_of_another_name(place: Workplace) -> None:
    place.write(None)
    spec = place.folder / "specs" / "adding.yaml"
    (place.folder / "specs" / "other.yaml").write_text(spec.read_text())
    assert "name: found 'adding', expected 'other'" in place.run(code=1, name="other")
    (place.folder / "specs" / "other.yaml").write_text(spec.read_text().replace("name: adding", "name: other"))
    assert "specs.other: no such entry; `make generate SPEC=other BACKEND=...`" in place.run(code=1, name="other")
    assert "no such file" in place.run(code=1, name="absent")


def test_a_broken_ledger_names_its_line(place: Workplace) -> None:
    with Scripted(good) as server:
        place.write(server)
        place.run()
        path = place.folder / "answers" / "adding.jsonl"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")
        assert "answers/adding.jsonl:2: not a line of an answers file" in place.run(code=1)
        assert len(path.read_text().splitlines()) == len(lines) + 1, "and it is left as it is"
        path.write_text(json.dumps({"event": "asked"}) + "\n")
        assert "answers/adding.jsonl:1: not a line of an answers file" in place.run(code=1)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint whose context holds a whole prompt."""
    from stages.lm import load, tiny
    from stages.settings.model import TinySettings
    from stages.settings.training import TrainSettings

    train = TrainSettings(learning_rate=1e-3)
    settings = TinySettings(vocabulary=400, hidden=32, layers=2, heads=2, intermediate=64, positions=4096, train=train)
    tokenizer = tiny.build_tokenizer(["### Problem\nWrite f.\n### Solution\n```python\ndef f(): pass\n```\n"] * 9, 400)
    path = tmp_path_factory.mktemp("models") / "roomy"
    load.save(path, tiny.build_model(settings, tokenizer, seed=0), tokenizer)
    return path


def test_a_prompt_that_a_local_model_cannot_hold_is_one_line(place: Workplace, checkpoint: Path) -> None:
    place.write(None)
    said = place.run("--model", checkpoint, code=1)
    assert re.search(r"^error: backend 'local': .* exceed the model's context of 512 tokens$", said, re.MULTILINE)


def test_local_model(place: Workplace, roomy: Path) -> None:
    """The tiny model writes nonsense, and that is what is said; the answers are the same each time."""
    place.write(None, {"guide": "x", "system": "y"}, attempts=1, max_tokens=16, concurrency=3)
    said = place.run("--model", roomy, code=1)
    assert "spec adding: not one example kept of 4 answers" in said
    first = [event["text"] for event in place.events("answered")]
    assert len(first) == 4
    os.remove(place.folder / "answers/adding.jsonl")
    place.run("--model", roomy, code=1)
    assert [event["text"] for event in place.events("answered")] == first


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_transformers_serve(place: Workplace, roomy: Path) -> None:
    """A real server that others have written, with a model that writes nonsense."""
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package, reason=f"`transformers serve` needs {package}")
    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    log = place.folder / "serve.log"
    with log.open("w") as said:
        serving = subprocess.Popen(
            [*command, str(roomy)], env=environment, stdout=said, stderr=said, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert serving.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)
        address = f"http://127.0.0.1:{port}/v1"
        place.write(None, backend="vllm", base_url=address, model=str(roomy), attempts=1, max_tokens=16, retries=0)
        told = place.run(code=1)
    finally:
        os.killpg(serving.pid, signal.SIGKILL)
        serving.wait()
    assert "not one example kept of 4 answers" in told, log.read_text()[-2000:]
    answered = place.events("answered")
    assert len(answered) == 4
    assert all(event["text"] and 0 < event["tokens_out"] <= 16 < event["tokens_in"] for event in answered)
