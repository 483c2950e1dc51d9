"""A scripted server of OpenAI's completions and chat: what it answers is a function of the request alone."""

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.llm.server import Scripted

GOOD = "good"


def text_of(body: dict[str, Any]) -> str:
    """The text that a request is answered with."""
    asked = json.dumps([body.get("prompt"), body.get("messages"), body["seed"], body["temperature"]])
    return f"answer {hashlib.sha256(asked.encode()).hexdigest()[:12]}"


class Completions(Scripted):
    """Steps are GOOD, a name of `Scripted._misbehave` or of `_oddly`; the last one is repeated.

    `adapters` are the names loaded at run time, `asked` the paths of all requests but those for completions.
    """

    def __init__(
        self,
        *script: str,
        models: Sequence[str] = ("tiny",),
        owner: str = "vllm",
        key: str | None = None,
        updating: bool = True,
        pause: float = 0.0,
        poison: str | None = None,
        context: int | None = None,
    ) -> None:
        super().__init__(*(script or (GOOD,)), key=key)
        self.models, self.owner, self.updating = list(models), owner, updating
        self.adapters: dict[str, str] = {}
        self.asked: list[str] = []
        self.pause, self.poison = pause, poison  # seconds before each answer; what prompts never get one
        self.dead, self.context = False, context

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        if self.key and handler.headers["Authorization"] != f"Bearer {self.key}":
            self._send(handler, 401, json.dumps({"error": f"not {handler.headers['Authorization']}"}).encode())
            return
        said = {"object": "model", "owned_by": self.owner} | ({"max_model_len": self.context} if self.context else {})
        data = [{"id": name, **said} for name in [*self.models, *self.adapters]]
        self._send(handler, 200, json.dumps({"object": "list", "data": data}).encode())

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        if "completions" not in handler.path:
            self._update(handler, body)
            return
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        step = self.script[min(number, len(self.script) - 1)]
        if self.poison and self.poison in json.dumps(body.get("prompt")):
            step = "status 500"
        time.sleep(self.pause)
        try:
            if self.dead:
                handler.connection.close()
            elif not self._oddly(handler, body, step):
                self._misbehave(handler, step)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _update(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        """vLLM's adapters at run time."""
        self.asked.append(handler.path)
        if not self.updating:
            self._send(handler, 404, b'{"detail": "Not Found"}')
            return
        if handler.path.endswith("/load_lora_adapter"):
            self.adapters[body["lora_name"]] = body["lora_path"]
        else:
            del self.adapters[body["lora_name"]]
        handler.send_response(200)  # and no Content-Type
        handler.end_headers()
        handler.wfile.write(f"Success: LoRA adapter '{body['lora_name']}'".encode())

    def _oddly(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], step: str) -> bool:
        """Answer by a step of this class; whether there is one of this name."""
        value = self._value(handler, body)
        (choice,) = value["choices"]
        name, _, argument = step.partition(" ")
        if name == "no_choice":
            value["choices"] = []
        elif name == "two_choices":
            value["choices"] = [choice, choice]
        elif name == "no_usage":
            del value["usage"], choice["logprobs"]
        elif name == "other_model":
            value["model"] = argument
        elif name == "no_finish":
            choice["finish_reason"] = None
        elif name == "abort":
            choice["finish_reason"] = "abort"
        elif name == "error":  # "error 400 WORDS"
            code, _, words = argument.partition(" ")
            self._send(handler, int(code), json.dumps({"error": {"message": words}}).encode())
            return True
        elif name == "refuses":  # a field of the request, in vLLM's way
            if argument in body:
                self._send(handler, 400, json.dumps({"error": {"message": f"{argument} are not allowed"}}).encode())
                return True
        elif name == "die":
            self.dead = True
            handler.connection.close()
            threading.Thread(target=self._server.shutdown).start()
            self._server.socket.close()
            return True
        elif name != GOOD:
            return False
        self._send(handler, 200, json.dumps(value).encode())
        return True

    @staticmethod
    def _value(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> dict[str, Any]:
        text = text_of(body)
        logprobs: Any = None
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if handler.path.endswith("/chat/completions"):
            logprobs = {"content": [{"token": "x", "logprob": -0.5}, {"token": "y", "logprob": -1.0}]}
            choice["message"] = {"role": "assistant", "content": text}
        else:
            logprobs = {"tokens": ["x", "y"], "token_logprobs": [-0.25, -0.5]}
            choice["text"] = text
        choice["logprobs"] = logprobs if body.get("logprobs") else None
        usage = {"prompt_tokens": 9, "completion_tokens": 1 + len(text) % 5}
        return {"object": "text_completion", "model": body["model"], "choices": [choice], "usage": usage}
