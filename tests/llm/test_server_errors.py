"""Errors that come with HTTP status 200: told in the server's words, not charged, tried again where that may help."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.common.api_errors import error_in
from tests.llm.server import Scripted, good
from tests.llm.specs import KEY, Workplace

SSE = 'data: {"error": {"message": "out of memory", "code": 503}}\n\ndata: [DONE]\n'


pytest.importorskip("openai", reason="needs the openai package: pip install -e '.[generate]'")


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ({"error": {"message": "Rate limit exceeded", "code": 429}}, "rate_limit", "Rate limit exceeded"),
        ({"error": {"message": "busy", "type": "overloaded_error"}, "type": "error"}, "server_error", "busy"),
        ({"error": "the model has crashed", "choices": []}, "server_error", "the model has crashed"),
        ({"error": {"message": "later", "code": "rate_limit_exceeded"}, "choices": None}, "rate_limit", "later"),
        ({"error": {"code": 502, "message": "Provider", "metadata": {"raw": "raw"}}}, "server_error", "Provider: raw"),
        ([{"error": {"code": 503, "message": "The model is overloaded"}}], "server_error", "overloaded"),
        ({"object": "error", "message": "Internal", "code": 500}, "server_error", "Internal"),
        ({"detail": "worker lost"}, "server_error", "worker lost"),
        (SSE, "server_error", "out of memory"),
        ('{"error": {"message": "cut sho', "server_error", "cut sho"),
    ],
)
def test_an_error_that_passes_is_tried_again(place: Workplace, body: Any, kind: str, words: str) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    with Scripted(f"garbage {text}", good) as server:
        place.write(server, concurrency=1)
        said = place.run()
    assert f"{kind}: HTTP 200 with an error: " in said and words in said
    assert place.metrics["failed_requests"] == {kind: 1}
    assert [event["tokens"] for event in place.events("failed")] == [0]
    assert place.metrics["kept"] == 4


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"message": "no such model: m", "code": 404}, "no such model: m"),
        ({"message": "Insufficient credits", "code": 402}, "Insufficient credits"),
        ({"message": "You exceeded your quota", "type": "insufficient_quota"}, "You exceeded your quota"),
        ({"message": "bad field", "type": "invalid_request_error"}, "bad field"),
        ("model 'm' not found, try pulling it first", "model 'm' not found"),
    ],
)
def test_an_error_that_lasts_ends_the_run_in_the_servers_words(place: Workplace, error: Any, words: str) -> None:
    with Scripted("garbage " + json.dumps({"error": error})) as server:
        place.write(server, concurrency=1)
        said = place.run(code=1)
        assert len(server.requests) == 1
    assert said.splitlines()[-1].startswith("error: backend 'server': HTTP 200 with an error: ") and words in said
    assert [event["tokens"] for event in place.events("failed")] == [0]


def test_a_key_that_is_refused_is_no_part_of_what_is_told(place: Workplace) -> None:
    with Scripted("garbage " + json.dumps({"error": {"message": f"bad key {KEY}", "code": 401}})) as server:
        place.write(server, concurrency=1)
        said = place.run(code=1)
    assert "the server refuses access (401); check the key in TEST_KEY" in said and KEY not in said


def test_an_answer_that_broke_off_is_charged(place: Workplace) -> None:
    choice = {"message": {"content": "### Pro"}, "finish_reason": "error", "error": {"code": 502, "message": "lost"}}
    with Scripted("garbage " + json.dumps({"choices": [choice]}), good) as server:
        place.write(server, concurrency=1)
        assert "server_error: the answer broke off: lost" in place.run()
    assert [event["tokens"] > 0 for event in place.events("failed")] == [True]


def test_garbage_is_shown(place: Workplace) -> None:
    with Scripted(f"garbage <html>Please log in, {KEY}</html>", good) as server:
        place.write(server, concurrency=1)
        said = place.run()
    assert "garbage: the answer is not what the API promises: <html>Please log in, " in said and KEY not in said


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "x"}}], "error": {"message": "a warning"}},
        {"content": [{"type": "text", "text": "x"}], "error": None},
        {"choices": []},
        {"error": None},
        [],
        "error",
        None,
        3,
    ],
)
def test_what_may_be_an_answer_is_no_error(body: Any) -> None:
    assert error_in(json.dumps(body)) is None


def test_hostile_bodies_are_read_in_time() -> None:
    assert error_in("[" * 100_000) is None
    assert error_in("data:\n" * 1_000_000) is None
    assert error_in('{"error": {"message": "' + "model " * 200_000 + '"}}') is not None
