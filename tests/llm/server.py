"""A scripted server on loopback that speaks OpenAI's chat completions and Anthropic's messages, and can misbehave.

A script is a list of steps, one per request, the last of which is repeated. A step is a name (`Scripted._misbehave`) or
a function from the request's prompt to the text of a good answer.
"""

import json
import re
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Step = str | Callable[[str], str]
TOKENS_IN, TOKENS_OUT = 100, 50  # what the server says that an answer was


def good(prompt: str) -> str:
    """An example with a name of its own, told from the prompt: another one for each category, level and variation."""
    words = re.search(r"Category: (\w+).*?Level: (\w+).*?variation (\d+)", prompt, re.DOTALL)
    assert words, prompt
    name = f"add_{words[1]}_{words[2]}_{words[3]}"
    number = zlib.crc32(name.encode()) % 9973
    return example(name, f"return x + {number}", number)


def example(name: str, body: str, number: int) -> str:
    """An answer in the form that is asked for."""
    return (
        f"### Problem\nWrite `{name}(x: int) -> int`, which adds {number} to x.\n\n"
        f"### Solution\n```python\ndef {name}(x: int) -> int:\n    {body}\n```\n\n"
        f"### Tests\n```python\nassert {name}(1) == {number + 1}\nassert {name}(0) == {number}\n```\n"
    )


class Scripted:
    """The server. `requests` are the decoded bodies, `headers` theirs, in the order in which they came."""

    def __init__(self, *script: Step, key: str | None = None) -> None:
        self.script, self.key = list(script) or [good], key
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.released = threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._serve(self)

            def do_GET(self) -> None:
                outer._get(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The base_url of OpenAI's API here."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def address(self, backend: str) -> str:
        """The base_url for a backend: that of Anthropic's API has no version in it."""
        return self.url.removesuffix("/v1") if backend == "anthropic" else self.url

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.times.append(time.monotonic())
        step = self.script[min(number, len(self.script) - 1)]
        try:
            if isinstance(step, str):
                self._misbehave(handler, step)
            else:
                self._answer(handler, step("\n".join(m["content"] for m in body["messages"])), "stop")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has lost its patience

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        self._send(handler, 404, b"{}")

    def _answer(self, handler: BaseHTTPRequestHandler, text: str, finish: str) -> None:
        if handler.path.endswith("/messages"):
            usage: dict[str, Any] = {"input_tokens": TOKENS_IN, "output_tokens": TOKENS_OUT}
            reason = {"stop": "end_turn", "length": "max_tokens"}[finish]
            value: dict[str, Any] = {"type": "message", "role": "assistant", "stop_reason": reason, "usage": usage}
            value["content"] = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}]
        else:
            usage = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT}
            message = {"role": "assistant", "content": text}
            value = {"object": "chat.completion", "usage": usage}
            value["choices"] = [{"index": 0, "message": message, "finish_reason": finish}]
        self._send(handler, 200, json.dumps(value).encode())

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    def _misbehave(self, handler: BaseHTTPRequestHandler, step: str) -> None:
        name, _, argument = step.partition(" ")
        error = json.dumps({"error": {"message": f"no: {self.key}", "type": "x"}}).encode()
        if name == "status":  # "status 429 Retry-After=1"
            code, *extra = argument.split()
            headers = dict(pair.split("=") for pair in extra)
            self._send(handler, int(code), error, X_Echo=self.key or "", **headers)
        elif name == "cut":  # half an answer, and the connection is gone
            handler.send_response(200)
            handler.send_header("Content-Length", "5000")
            handler.end_headers()
            handler.wfile.write(b'{"choices": [{"message": {"content": "### Pro')
            handler.wfile.flush()
            handler.connection.close()
        elif name == "garbage":
            self._send(handler, 200, argument.encode() or b"<html>not JSON</html>")
        elif name == "hang":
            self.released.wait(60)
        elif name == "dribble":  # a byte now and then: no pause is long, and it never ends
            handler.send_response(200)
            handler.end_headers()
            while not self.released.wait(0.1):
                handler.wfile.write(b" ")
                handler.wfile.flush()
        elif name == "redirect":
            self._send(handler, 307, b"", Location=argument)
        elif name == "echo":  # the key in a good answer
            self._answer(handler, f"{example('echo_it', 'return x + 1', 1)}\n# {self.key}\n", "stop")
        elif name == "length":
            self._answer(handler, "### Problem\nWrite", "length")
        else:
            self._answer(handler, argument, "stop")
