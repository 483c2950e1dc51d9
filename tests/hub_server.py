"""The Hugging Face hub's API on loopback, as far as huggingface_hub asks it to push a model: repositories with commits
and tags, preupload, git LFS, Xet tokens, commits, tags. It keeps what arrives, and can be told to fail.

Large files come by Xet where hf_xet is used, into a store in a folder (`local://`, hf_xet's own), else by git LFS.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_a-token-that-nothing-must-print"
OWNERS = ("org", "me")  # whom the token may write for
LARGE = (".safetensors", ".bin")


@dataclass(frozen=True)
class Stored:
    """A file: its bytes, or for one that came by Xet (which keeps bytes elsewhere) None and its SHA-256."""

    content: bytes | None
    size: int
    sha256: str | None = None  # of a large one

    @property
    def blob_id(self) -> str:
        return hashlib.sha1(b"blob %d\0" % self.size + (self.content or b"")).hexdigest()


@dataclass
class Repository:
    """Commits by id, the last one being `main`; tags."""

    private: bool
    commits: dict[str, dict[str, Stored]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, files: dict[str, Stored], message: str) -> str:
        commit = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits[commit] = files
        self.messages.append(message)
        return commit

    def resolve(self, revision: str) -> str:
        last = list(self.commits)[-1]
        return {"main": last, **self.tags}.get(revision, revision)


class Hub:
    """The server. `calls` are `METHOD /path` of all requests, `faults` says where to fail: a part of such a line by
    (status, the hub's words), or by None for a connection that is cut."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "xet"
        self.cas = f"local://{self.store}"  # where Xet sends to
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}  # by git LFS
        self.calls: list[str] = []
        self.faults: dict[str, tuple[int, str] | None] = {}
        self.corrupts = False  # whether a file is lost on its way into a commit
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._serve(self)

            do_POST = do_PUT = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self, name: str, revision: str) -> dict[str, Stored]:
        """What a revision holds, but for the hub's own file."""
        repository = self.repositories[name]
        found = repository.commits[repository.resolve(revision)]
        return {path: stored for path, stored in found.items() if path != ".gitattributes"}

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        line = f"{handler.command} {unquote(url.path)}"
        with self._lock:
            self.calls.append(line)
            fault = next((self.faults[part] for part in self.faults if part in line), ())
            if fault is None:
                handler.connection.close()
                return
            status, answer = fault or self._answer(line, body, parse_qs(url.query), handler.headers)
        if isinstance(answer, str):
            answer = {"error": answer}
        content = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _answer(self, line: str, body: bytes, query: dict[str, list[str]], headers: Any) -> tuple[int, Any]:
        if match := re.fullmatch(r"PUT /upload/(\w+)", line):  # its address is secret, there is no token
            self.large[match[1]] = body
            return (200, {}) if hashlib.sha256(body).hexdigest() == match[1] else (400, "not what its hash says")
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, "Invalid username or password."
        if line == "POST /api/repos/create":
            return self._create(json.loads(body))
        if line == "POST /api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        return self._about_one(line, body, query)

    def _about_one(self, line: str, body: bytes, query: dict[str, list[str]]) -> tuple[int, Any]:
        if re.fullmatch(r"POST /(.+)\.git/info/lfs/objects/batch", line):
            return 200, {"transfer": "basic", "objects": [self._lfs(item) for item in json.loads(body)["objects"]]}
        match = re.fullmatch(r"(GET|POST) /api/models/([\w.-]+/[\w.-]+)(?:/([\w-]+))?(?:/(.+))?", line)
        if not match or match[2] not in self.repositories:
            return 404, "Repository not found"
        return self._asked(match[2], match[3] or "revision", match[4] or "main", body, "blobs" in query)

    def _asked(self, name: str, what: str, revision: str, body: bytes, blobs: bool) -> tuple[int, Any]:
        repository = self.repositories[name]
        answers: dict[str, Callable[[], tuple[int, Any]]] = {
            "revision": lambda: (200, self._info(name, repository, repository.resolve(revision), blobs)),
            "refs": lambda: (200, self._refs(repository)),
            "preupload": lambda: (
                200,
                {"files": [self._mode(repository, f["path"]) for f in json.loads(body)["files"]]},
            ),
            "xet-write-token": lambda: (
                200,
                {"accessToken": "t", "exp": 4102444800, "casUrl": self.cas},
            ),
            "commit": lambda: self._commit(name, repository, [json.loads(row) for row in body.splitlines()]),
            "tag": lambda: self._tag(repository, json.loads(body)["tag"], revision),
        }
        return answers[what]() if what in answers else (404, f"no {what} here")

    @staticmethod
    def _tag(repository: Repository, tag: str, revision: str) -> tuple[int, Any]:
        if tag in repository.tags:
            return 409, "Tag reference exists already"
        repository.tags[tag] = repository.resolve(revision)
        return 200, {}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] not in OWNERS:
            return 403, "You don't have the rights to create a model under this namespace"
        url = {"url": f"{self.url}/{name}"}
        if name in self.repositories:
            return 409, {"error": "You already created this model repo", **url}
        self.add(name, private=asked.get("visibility") == "private")
        return 200, url

    def add(self, name: str, *, private: bool = True, **files: bytes) -> None:
        """A repository with its first commit."""
        content = {".gitattributes": b"*.safetensors filter=lfs\n", **files}
        self.repositories[name] = Repository(private)
        self.repositories[name].add({path: Stored(data, len(data)) for path, data in content.items()}, "initial commit")

    @staticmethod
    def _validate(content: str) -> tuple[int, Any]:
        try:
            meta = yaml.safe_load(content.split("---\n")[1])
            errors = [] if meta.get("license") else [{"message": '"license" is required'}]
        except (yaml.YAMLError, IndexError, AttributeError) as error:
            errors = [{"message": str(error)}]
        return 400 if errors else 200, {"errors": errors, "warnings": []}

    def _lfs(self, item: dict[str, Any]) -> dict[str, Any]:
        action = {"upload": {"href": f"{self.url}/upload/{item['oid']}"}}
        return item if item["oid"] in self.large else {**item, "actions": action}

    @staticmethod
    def _refs(repository: Repository) -> dict[str, Any]:
        tags = [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": c} for t, c in repository.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.resolve("main")}
        return {"tags": tags, "branches": [main], "converts": []}

    @staticmethod
    def _info(name: str, repository: Repository, commit: str, blobs: bool) -> dict[str, Any]:
        siblings = []
        for path, stored in repository.commits[commit].items():
            file: dict[str, Any] = {"rfilename": path}
            if blobs:
                file |= {"size": stored.size, "blobId": stored.blob_id}
            if blobs and stored.sha256:
                file["lfs"] = {"sha256": stored.sha256, "size": stored.size, "pointerSize": 134}
            siblings.append(file)
        return {"id": name, "sha": commit, "private": repository.private, "siblings": siblings}

    @staticmethod
    def _mode(repository: Repository, path: str) -> dict[str, Any]:
        there = repository.commits[repository.resolve("main")].get(path)
        mode = "lfs" if path.endswith(LARGE) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False,
                "oid": there and (there.sha256 or there.blob_id)}  # fmt: skip

    def _commit(self, name: str, repository: Repository, rows: list[dict[str, Any]]) -> tuple[int, Any]:
        head = repository.resolve("main")
        header = rows[0]["value"]
        if header.get("parentCommit", head) != head:
            return 412, "A commit has happened since. Please refresh and try again."
        files = dict(repository.commits[head])
        for row in rows[1:]:
            value = row["value"]
            if row["key"] == "file":
                content = base64.b64decode(value["content"])
                files[value["path"]] = Stored(content, len(content))
            elif row["key"] == "lfsFile":
                files[value["path"]] = Stored(self.large.get(value["oid"]), value["size"], value["oid"])
            elif row["key"] == "deletedFile":
                del files[value["path"]]
            else:
                return 400, f"unknown operation {row['key']}"
        if self.corrupts:
            files["config.json"] = Stored(b"{}", 2)
        commit = repository.add(files, header["summary"])
        return 200, {"commitUrl": f"{self.url}/{name}/commit/{commit}", "commitOid": commit, "success": True}
