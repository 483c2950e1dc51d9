"""Sampling through OpenAI-compatible servers (`sample.backend: openai`).

A sample is one request with a seed of its own, a function of (seed, stream, task, number) alone: raising `n` keeps the
samples that were there, and it does not matter which server answers when. One request for all n samples would save
little where servers cache prompts by prefix (vLLM, SGLang and llama.cpp do), and several ignore the field.

What the model reads is what training used: the prompt comes rendered by the checkpoint's own template.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.api import Failure, garbage
from stages.common.errors import HaloForgeError, InputError
from stages.common.files import content_hash, value_hash, write_json
from stages.common.json_reader import read_json, read_map
from stages.common.prompts import messages
from stages.common.records import CONTEXT, Sample, Task
from stages.lm import adapters, devices, load
from stages.lm.chat import end_ids, prompt_ids, prompt_text
from stages.lm.launched import launched
from stages.lm.merge import is_adapter, merge
from stages.lm.pool import OF_THE_REQUEST, Pool, Request, Server
from stages.lm.serving import connected
from stages.lm.shards import MERGED, Spread, Work
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings
from stages.settings.sampling import SampleSettings

NO_ROOM = re.compile(r"context[ _-](length|size|window)|exceed_context|max_model_len|too many tokens", re.IGNORECASE)
# What a server, or the generation_config.json beside the weights, would add to temperature and top_p, switched off.
# By the server's name in /v1/models (`owned_by`); other servers refuse fields that they do not know.
PLAIN: dict[str, dict[str, Any]] = {
    "vllm": {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
}
TOKENIZES_PLAINLY = {"vllm": {"add_special_tokens": False}}
TAKES_STOPS = ("vllm", "sglang")
OF_THE_TEXT = {"endpoint", "model", "adapter", "request", "launch"}  # settings of servers that may change a text


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sent; tokens and mean log probability are None where it does not say."""

    text: str
    finish: str
    tokens: int | None = None
    logprob: float | None = None


@dataclass
class ServedSampler:
    """All that samples depend on, beside their tasks and what a server makes of a request."""

    checkpoint: Path
    settings: SampleSettings
    prompts: PromptSettings
    compute: ComputeSettings
    seed: int
    stream: str  # names an independent sequence of seeds: `cycle-2`, `benchmark`
    cycle: str | None = None

    def fingerprint(self, tasks: Sequence[Task]) -> str:
        """Digest of every input of the samples; addresses and patience are none."""
        tasks_digest = value_hash([[t.task_id, t.language, t.prompt] for t in tasks])
        settings = self.settings.model_dump(exclude={"workers", "batch", "servers"})
        servers = self.settings.servers.model_dump(include=OF_THE_TEXT)
        origin = content_hash(self.checkpoint)
        return value_hash([origin, tasks_digest, settings, servers, self.prompts.system, self.seed, self.stream])

    def load(self) -> None:
        """The tokenizer, and the length of the context as the checkpoint has it."""
        self.tokenizer = load.load_tokenizer(self.checkpoint)
        self._rendered: dict[str, tuple[str, list[int]]] = {}  # by task under way: the prompt, its ids
        self.ends = end_ids(self.tokenizer)
        self.positions = _positions(self.checkpoint)
        bare = self.tokenizer("x", add_special_tokens=False)["input_ids"]
        # Such a tokenizer would double the first token of a text that the template has written it into.
        self.adds_tokens = self.tokenizer("x")["input_ids"] != bare

    def unload(self) -> None:
        """Nothing: the tokenizer is small, and the servers go on for the next run."""

    def request_seed(self, task_id: str, number: int) -> int:
        """31 bits of SHA-256 over (seed, stream, task, number): llama.cpp keeps 32, with the highest value for none."""
        digest = hashlib.sha256(f"{self.seed}/{self.stream}/{task_id}/{number}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1

    @property
    def asked(self) -> int:
        """Requests per task. Greedy answers are all the same, and asked for once."""
        return self.settings.n if self.settings.temperature else 1

    def requests(self, work: Work) -> Iterator[Request]:
        """What the missing shards want; a task's prompt is rendered as its first request is taken."""
        numbers = range(self.asked)
        for shard in work.missing:
            for index, task in enumerate(work.shards[shard]):
                text = prompt_text(self.tokenizer, task.prompt, task.language, self.prompts)
                ids = prompt_ids(self.tokenizer, task.prompt, task.language, self.prompts)
                self._rendered[task.task_id] = (text, ids)
                yield from (Request(shard, index, number, task.task_id) for number in numbers)

    def ask(self, server: Server, task: Task, number: int) -> Answer:
        """One sample from a server. Raises Failure; a prompt without room is an answer with nothing in it."""
        if self._room(task) <= 0:
            return Answer("", CONTEXT, 0)
        logprobs = server.logprobs
        try:
            return self._read(server, self._send(server, task, number, logprobs))
        except Failure as failure:
            if failure.status not in OF_THE_REQUEST:
                raise
            if NO_ROOM.search(str(failure)):
                return self._without_room(server, task, number, failure)
            if not logprobs or "logprob" not in str(failure):
                raise
            server.logprobs = False
            return self.ask(server, task, number)

    def _without_room(self, server: Server, task: Task, number: int, refused: Failure) -> Answer:
        """An answer with nothing in it, if the prompt alone is too long for the server.

        Raises HaloForgeError where just the room behind it is: the server's context is not the checkpoint's.
        """
        try:
            self._send(server, task, number, False, 1)
        except Failure as failure:
            if failure.status in OF_THE_REQUEST and NO_ROOM.search(str(failure)):
                return Answer("", CONTEXT, 0)
            raise
        raise HaloForgeError(
            f"{server.api.base_url}: has a smaller context than the checkpoint, and no room for max_new_tokens = "
            f"{self.settings.max_new_tokens}: start it with a longer one, or lower that ({refused})"
        )

    def _room(self, task: Task) -> int:
        """Tokens that an answer may have behind the task's prompt."""
        most = self.settings.max_new_tokens
        if not self.positions:
            return most
        return min(most, self.positions - len(self._rendered[task.task_id][1]))

    def _send(self, server: Server, task: Task, number: int, logprobs: bool, most: int | None = None) -> Any:
        s, chat = self.settings, self.settings.servers.endpoint == "chat"
        fields = {
            "max_tokens": most or self._room(task),
            "temperature": s.temperature,
            "top_p": s.top_p,
            "seed": self.request_seed(task.task_id, number),
            **PLAIN.get(server.kind, {}),
        }
        if server.kind in TAKES_STOPS:
            fields["stop_token_ids"] = self.ends
        if logprobs:
            fields["logprobs"] = True if chat else 1
        client = server.api.client
        if chat:
            asked = {"messages": messages(task.prompt, task.language, self.prompts)}
            create = client.chat.completions.with_streaming_response.create
        else:
            fields |= TOKENIZES_PLAINLY.get(server.kind, {})
            asked = {"prompt": self._prompt(server, task)}
            create = client.completions.with_streaming_response.create
        return server.api.receive(create(model=server.model, **asked, extra_body=fields | s.servers.request))

    def _prompt(self, server: Server, task: Task) -> str | list[int]:
        """The rendered prompt: its ids where the server would put another first token before the text."""
        text, ids = self._rendered[task.task_id]
        return ids if self.adds_tokens and server.kind not in TOKENIZES_PLAINLY else text

    def _read(self, server: Server, body: Any) -> Answer:
        try:
            (choice,) = body["choices"]
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            finish = choice["finish_reason"]
            usage, logprobs = body.get("usage") or {}, _logprobs(choice.get("logprobs"))
            tokens = usage.get("completion_tokens")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise garbage() from None
        known = tokens is None or (isinstance(tokens, int) and tokens >= 0)
        if not isinstance(text, str) or not isinstance(finish, str) or not known:
            raise garbage()
        if finish in ("abort", "error"):
            raise Failure("aborted", f"the server gave up on the request ({finish})", free=False)
        # `transformers serve` puts the revision behind an @.
        answered = body.get("model")
        if isinstance(answered, str) and answered.partition("@")[0] != server.model.partition("@")[0]:
            raise Failure("other_model", f"answers with the model '{answered[:100]}'", free=False, lasting=True)
        if tokens is None and logprobs:
            tokens = len(logprobs)
        mean = round(sum(logprobs) / len(logprobs), 6) if logprobs else None
        return Answer(text, finish, tokens, mean)

    def samples(self, tasks: Sequence[Task], answers: dict[tuple[int, int], Answer]) -> list[Sample]:
        """The records of a shard, in the order of the tasks, from its answers by (task, number)."""
        found = []
        for index, task in enumerate(tasks):
            self._rendered.pop(task.task_id, None)
            for number in range(self.settings.n):
                asked = number if self.settings.temperature else 0
                answer = answers[index, asked]
                found.append(
                    Sample(
                        task_id=task.task_id,
                        sample=number,
                        completion=answer.text,
                        checkpoint=self.checkpoint.name,
                        cycle=self.cycle,
                        seed=self.request_seed(task.task_id, asked),
                        temperature=self.settings.temperature,
                        tokens=answer.tokens,
                        finish_reason=answer.finish,
                        logprob=answer.logprob,
                    )
                )
        return found


def _logprobs(value: Any) -> list[float]:
    """Of the chosen tokens, from the form of completions or that of chat (which llama.cpp uses for both)."""
    if not value:
        return []
    found = [item["logprob"] for item in value["content"]] if value.get("content") else value.get("token_logprobs")
    return [number for number in found or [] if isinstance(number, int | float)]


def _positions(checkpoint: Path) -> int | None:
    """Tokens of the context, by the checkpoint's or its base's config.json; None where it does not say."""
    path = adapters.base_of(checkpoint) if is_adapter(checkpoint) else checkpoint
    config = read_map(path / "config.json", foreign=True)
    found = config.get("max_position_embeddings") or (config.get("text_config") or {}).get("max_position_embeddings")
    return found if isinstance(found, int) else None


@contextmanager
def over_servers() -> Iterator[Spread]:
    """Requests over all servers; shards are written as the last of their answers comes.

    Servers that are launched start with the first run that needs them, and serve the later ones, of the same
    checkpoint, too: they take minutes to load a large model.
    """
    with ExitStack() as shared:
        yield _OverServers(shared).asking


@dataclass
class _OverServers:
    shared: ExitStack  # ends the servers that were launched
    started: tuple[list[str], Path] | None = None  # their addresses, and the model that they were given

    def _addresses(self, sampler: ServedSampler, work: Work) -> tuple[list[str], Path]:
        settings, path = sampler.settings.servers, sampler.checkpoint
        if not settings.launch:
            return settings.urls, path
        if self.started is None:
            if settings.adapter == "merge" and is_adapter(path):
                path = work.folder / MERGED / path.name
                if not path.is_dir():
                    devices.use_threads(sampler.compute.threads)
                    merge(sampler.checkpoint, path, sampler.compute)
            self.started = self.shared.enter_context(launched(settings, path, work.folder.parent)), path
        return self.started

    @contextmanager
    def asking(self, sampler: ServedSampler, work: Work) -> Iterator[tuple[dict[str, Any], Iterator[tuple[int, int]]]]:
        """Draw one run's missing shards."""
        sampler.load()
        urls, path = self._addresses(sampler, work)
        with connected(sampler.settings.servers, urls, sampler.checkpoint, path) as servers:
            contexts = [length for length in (sampler.positions, *(server.context for server in servers)) if length]
            sampler.positions = min(contexts, default=None)
            _expect_same_context(work, sampler.positions)
            yield {"servers": len(servers)}, _shards(sampler, work, servers)


def _expect_same_context(work: Work, positions: int | None) -> None:
    """Raise InputError where shards are there that servers with another context have drawn: prompts may have had less
    room, or none."""
    path = work.folder / "context.json"
    if path.exists() and (found := read_json(path)) != positions:
        raise InputError(
            f"{work.folder}: was begun by servers with a context of {found} tokens, found {positions}; "
            "start them as they were, or remove this folder to begin anew"
        )
    write_json(path, positions)


def _shards(sampler: ServedSampler, work: Work, servers: list[Server]) -> Iterator[tuple[int, int]]:
    def ask(server: Server, request: Request) -> Answer:
        return sampler.ask(server, work.shards[request.shard][request.task], request.number)

    wanted = {number: len(work.shards[number]) * sampler.asked for number in work.missing}
    came: dict[int, dict[tuple[int, int], Answer]] = defaultdict(dict)  # by shard under way
    without_room: set[str] = set()
    pool = Pool(servers, sampler.settings.servers, ask)
    for request, answer in pool.answers(sampler.requests(work), sum(wanted.values())):
        came[request.shard][request.task, request.number] = answer
        if answer.finish == CONTEXT:
            without_room.add(request.label)
        if len(came[request.shard]) == wanted[request.shard]:
            answers = came.pop(request.shard)
            yield work.write(request.shard, sampler.samples(work.shards[request.shard], answers))
    if without_room:
        print(
            f"{len(without_room)} tasks have prompts without room in the context: their samples are empty", flush=True
        )
