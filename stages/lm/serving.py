"""Which servers have a checkpoint, and by what name; adapters that they are told to load."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from stages.common.api import Api, Failure
from stages.common.errors import HaloForgeError
from stages.common.files import content_hash
from stages.common.secrets import Secrets
from stages.lm.merge import is_adapter
from stages.lm.pool import Server
from stages.settings.servers import ServerSettings

PATIENCE = 30.0  # seconds for a list of models
SHOWN = 5  # models listed in an error


@contextmanager
def connected(settings: ServerSettings, urls: list[str], checkpoint: Path, path: Path) -> Iterator[list[Server]]:
    """The servers that answer, each with the model's name there. `path`: what a launched server was given.

    An adapter that servers were told to load is unloaded at the end. Raises HaloForgeError where none answers, or where
    one has other models than the checkpoint.
    """
    secrets = Secrets(settings.key_env)
    names = [settings.model] if settings.model else list(_names(checkpoint) | _names(path))
    load = settings.adapter == "load" and is_adapter(checkpoint)
    servers: list[Server] = []
    with ExitStack() as stack:
        for url in urls:
            api = Api("backend 'openai'", url, settings.timeout_seconds, secrets)
            try:
                listed = _listed(api)
            except Failure as failure:
                if failure.kind == "denied":
                    raise HaloForgeError(f"{url}: {failure}") from None
                print(f"{url}: not used: {failure}", file=sys.stderr, flush=True)
                continue
            owner = next((str(model.get("owned_by") or "") for model in listed), "")
            ids = [str(model["id"]) for model in listed]
            if load:
                model = stack.enter_context(_loaded(api, settings.model or _own_name(checkpoint), checkpoint, ids))
            else:
                model = _chosen(api, names, ids, checkpoint)
            lengths = [each.get("max_model_len") for each in listed]
            context = min((length for length in lengths if isinstance(length, int)), default=None)
            servers.append(Server(api, model, owner.lower(), context))
        if not servers:
            raise HaloForgeError(f"none of the {len(urls)} servers answers (sample.servers.urls); {_how(checkpoint)}")
        told = ", ".join(dict.fromkeys(f"'{server.model}'" for server in servers))
        print(f"{len(servers)} of {len(urls)} servers have {checkpoint}, as {told}", flush=True)
        yield servers


def _names(path: Path) -> dict[str, None]:
    """What servers may call a checkpoint, the most exact first."""
    return dict.fromkeys((str(path), str(path.resolve()), path.name))


def _how(checkpoint: Path) -> str:
    return f"to serve the checkpoint: make serve MODEL={checkpoint}"


def _listed(api: Api) -> list[dict[str, Any]]:
    body = api.get("/models", PATIENCE)
    found = body.get("data") if isinstance(body, dict) else None
    if not isinstance(found, list) or not all(isinstance(model, dict) and "id" in model for model in found):
        raise Failure("garbage", "/models is not a list of models", free=True)
    return found


def _chosen(api: Api, names: list[str], ids: list[str], checkpoint: Path) -> str:
    for name in names:
        if name in ids:
            return name
    if not ids:  # `transformers serve` lists what is in the hub's cache, and not what it was given
        for name in names:
            if _answers(api, name):
                return name
    found = ", ".join(ids[:SHOWN]) or "none that answers to one of these names"
    raise HaloForgeError(f"{api.base_url}: expected the model {' or '.join(names)}; found {found}; {_how(checkpoint)}")


def _answers(api: Api, name: str) -> bool:
    """Whether a server that lists nothing has a model of this name."""
    try:
        api.post("/completions", {"model": name, "prompt": "x", "max_tokens": 1})
    except Failure:
        return False
    return True


def _own_name(checkpoint: Path) -> str:
    """A name that another version of the adapter does not have: what is loaded under a name stays under it."""
    return f"{checkpoint.name}-{content_hash(checkpoint)[:12]}"


@contextmanager
def _loaded(api: Api, name: str, checkpoint: Path, ids: list[str]) -> Iterator[str]:
    """Have vLLM load an adapter (docs.vllm.ai/en/latest/features/lora), and unload it at the end."""
    if name not in ids:  # else a run that was killed has left it
        try:
            api.post("/load_lora_adapter", {"lora_name": name, "lora_path": str(checkpoint.resolve())})
        except Failure as failure:
            raise HaloForgeError(
                f"{api.base_url}: cannot load the adapter {checkpoint}: {failure}; expected vLLM with --enable-lora "
                f"and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, as make serve MODEL={checkpoint} starts it"
            ) from None
    try:
        yield name
    finally:
        try:
            api.post("/unload_lora_adapter", {"lora_name": name})
        except Failure as failure:
            print(f"{api.base_url}: the adapter stays loaded: {failure}", file=sys.stderr, flush=True)
