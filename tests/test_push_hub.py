"""Pushing releases to the hub: a real git and DVC repository, real huggingface_hub, the hub's API on loopback."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import hf_xet
import pytest

from tests.hub_server import TOKEN, Hub
from tests.releasing import Workspace

BY_LFS = {"HF_HUB_DISABLE_XET": "1"}
V1, V2 = "halo-coder@v0.1.0", "halo-coder@v0.2.0"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> tuple[Workspace, dict[str, dict[str, bytes]]]:
    """Two releases, the newer one in the workspace; what each holds."""
    workspace = Workspace(tmp_path_factory.mktemp("hub") / "repository")
    workspace.start("stages: {}\n")
    first = workspace.release("v0.1.0", checkpoint)
    (more := checkpoint.parent / "more").mkdir(exist_ok=True)
    for path in checkpoint.iterdir():
        (more / path.name).write_bytes(path.read_bytes())
    (more / "extra").mkdir(exist_ok=True)
    (more / "extra/notes é.txt").write_text("in a folder\n")
    (more / "empty.txt").write_text("")
    second = workspace.release("v0.2.0", more)
    return workspace, {"v0.1.0": first, "v0.2.0": second}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path) as server:
        yield server


def push(workspace: Workspace, hub: Hub, *arguments: str, code: int = 0, **extra: str) -> str:
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, **BY_LFS, **extra}
    said = workspace.stage("push_hub", *arguments, code=code, **environment)
    assert TOKEN not in said
    assert code == 0 or (said.startswith("error: ") and said.count("\n") == 1), said
    return said


def arrived(hub: Hub, name: str, revision: str) -> dict[str, bytes | None]:
    return {path: stored.content for path, stored in hub.files(name, revision).items()}


def test_the_newest_release_arrives_byte_for_byte(released, hub: Hub) -> None:
    workspace, contents = released
    said = push(workspace, hub, "org/coder")
    assert f"{V2}: commit " in said
    assert f"{hub.url}/org/coder/tree/v0.2.0" in said
    assert arrived(hub, "org/coder", "v0.2.0") == contents["v0.2.0"]
    assert "model.safetensors" in contents["v0.2.0"] and "README.md" in contents["v0.2.0"]
    repository = hub.repositories["org/coder"]
    assert repository.private
    assert repository.messages == ["initial commit", V2], "one commit"
    assert list(repository.tags) == ["v0.2.0"]
    before = len(hub.calls)
    assert "was there already" in push(workspace, hub, "org/coder")
    assert not any(word in call for call in hub.calls[before:] for word in ("preupload", "commit/", "tag/"))


def test_what_the_tag_names_is_pushed_and_not_what_lies_here(released, hub: Hub) -> None:
    workspace, contents = released
    config = workspace.path / "models/release/config.json"
    before = config.read_bytes()
    config.unlink()  # it may be a link into the cache
    config.write_bytes(b"{}")
    try:
        push(workspace, hub, "org/coder")
    finally:
        config.write_bytes(before)
    assert arrived(hub, "org/coder", "v0.2.0") == contents["v0.2.0"]
    said = push(workspace, hub, "org/coder", "--version", "v0.1.0")
    assert "taken out, as the release has them not (earlier commits do): empty.txt, extra/notes é.txt" in said
    assert arrived(hub, "org/coder", "main") == contents["v0.1.0"]
    assert arrived(hub, "org/coder", "v0.2.0") == contents["v0.2.0"], "the earlier commit is as it was"
    assert not list((workspace.path / "build/push-hub").iterdir()), "what was fetched is gone"


def test_large_files_go_by_xet_where_the_hub_has_it(released, hub: Hub, tmp_path: Path) -> None:
    workspace, contents = released
    push(workspace, hub, "org/coder", HF_HUB_DISABLE_XET="0")
    assert any("xet-write-token" in call for call in hub.calls)
    assert not hub.large
    large = hub.files("org/coder", "v0.2.0")["model.safetensors"]
    own = contents["v0.2.0"]["model.safetensors"]
    assert (large.sha256, large.size) == (hashlib.sha256(own).hexdigest(), len(own))
    (info,) = hf_xet.hash_files([str(workspace.path / "models/release/model.safetensors")])
    out = tmp_path / "out"
    with hf_xet.XetSession().new_file_download_group(endpoint=f"local://{hub.store}") as group:
        group.start_download_file(hf_xet.XetFileInfo(info.hash, len(own)), str(out))
    assert out.read_bytes() == own


def test_a_dry_run_lists_all_and_asks_nothing(released, hub: Hub) -> None:
    workspace, contents = released
    said = push(workspace, hub, "org/coder", "--dry-run", HF_TOKEN="")
    assert hub.calls == []
    assert f"{V2} (commit " in said
    assert "-> org/coder, private" in said
    lines = [line.split(maxsplit=1) for line in said.splitlines()]
    sizes = {name: int(size.replace(",", "")) for size, name in lines if name in contents["v0.2.0"]}
    assert sizes == {name: len(data) for name, data in contents["v0.2.0"].items()}
    assert f"{sum(sizes.values()):,}  bytes in {len(sizes)} files" in said
    make = ("make", "-o", "setup", "-f", "Makefile", "push-hub")
    assert make


def test_a_push_that_was_cut_off_goes_on(released, hub: Hub) -> None:
    workspace, contents = released
    hub.faults["tag/"] = (500, "tomorrow perhaps")
    said = push(workspace, hub, "me/coder", code=1)
    assert "me/coder: the hub answers (HTTP 500 of /api/models/me/coder/tag/" in said
    assert "tomorrow perhaps" in said
    hub.faults.clear()
    push(workspace, hub, "me/coder")
    repository = hub.repositories["me/coder"]
    assert repository.messages == ["initial commit", V2], "nothing is committed twice"
    assert arrived(hub, "me/coder", "v0.2.0") == contents["v0.2.0"]


def test_what_is_public_and_what_is_another_version_stays(released, hub: Hub) -> None:
    workspace, _ = released
    hub.add("org/open", private=False)
    assert "org/open: is public on the hub, expected private" in push(workspace, hub, "org/open", code=1)
    assert hub.repositories["org/open"].messages == ["initial commit"]
    push(workspace, hub, "org/open", "--public")
    push(workspace, hub, "org/new", "--public")
    assert not hub.repositories["org/new"].private
    assert "org/new: is public on the hub, expected private" in push(workspace, hub, "org/new", code=1)
    hub.add("org/shut")
    assert "org/shut: is private on the hub, expected public" in push(workspace, hub, "org/shut", "--public", code=1)
    hub.repositories["org/shut"].tags["v0.2.0"] = hub.repositories["org/shut"].resolve("main")
    assert "org/shut: has another v0.2.0 (" in push(workspace, hub, "org/shut", code=1)


def test_what_arrives_otherwise_gets_no_tag(released, hub: Hub) -> None:
    workspace, _ = released
    hub.corrupts = True
    said = push(workspace, hub, "org/coder", code=1)
    assert f"is not as {V2} (1 files, such as config.json); not tagged" in said
    assert not hub.repositories["org/coder"].tags


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        ("repos/create", 401, "org/coder: the hub refuses the token; `hf auth login` or HF_TOKEN gives another"),
        ("repos/create", 403, "org/coder: the token may not write there"),
        ("commit/", 409, "org/coder: something else has changed it meanwhile"),
        ("commit/", 412, "org/coder: something else has changed it meanwhile; run again"),
        ("lfs/objects/batch", 403, "org/coder: the token may not write there"),
        ("PUT /upload", 400, "org/coder: the hub answers (HTTP 400 of /upload/"),
    ],
)
def test_what_the_hub_refuses_is_one_line(released, hub: Hub, fault: str, status: int, told: str) -> None:
    hub.faults[fault] = (status, f"no,\nnot with {TOKEN}")
    said = push(released[0], hub, "org/coder", code=1)
    assert told in said
    assert f"HTTP {status} of /" in said
    assert "no, not with [token]" in said
    assert all(not repository.tags for repository in hub.repositories.values())


def test_what_is_wrong_is_told_in_one_line(released, hub: Hub) -> None:
    workspace, _ = released
    assert "no token for the hub: set HF_TOKEN, or run `hf auth login`" in push(workspace, hub, "a/b", code=1, HF_TOKEN="")
    assert "the hub refuses the token" in push(workspace, hub, "org/b", code=1, HF_TOKEN="hf_another-one")
    assert "nobody/b: the token may not write there" in push(workspace, hub, "nobody/b", code=1)
    calls = len(hub.calls)
    for name in ("coder", "", "a/b/c", "a/b c", "-a/b", "a/b.git", "https://huggingface.co/a/b"):
        assert f"REPO: found '{name}', expected OWNER/NAME" in push(workspace, hub, name, code=1) or name.startswith("-")
    said = push(workspace, hub, "a/b", "--version", "v9.0.0", code=1)
    assert said == f"error: halo-coder@v9.0.0: no such release; there are: v0.2.0, v0.1.0\n"
    assert "--version: found '0.1.0', expected v and" in push(workspace, hub, "a/b", "--version", "0.1.0", code=1)
    assert "other: no release has a tag here" in push(workspace, hub, "a/b", "--name", "other", code=1)
    assert len(hub.calls) == calls, "none of these asks the hub"
    hub.faults["repos/create"] = None
    assert f"org/b: cannot reach {hub.url}: " in push(workspace, hub, "org/b", code=1)
    closed = "http://127.0.0.1:9"
    assert f"org/b: cannot reach {closed}: " in push(workspace, hub, "org/b", code=1, HF_ENDPOINT=closed)
    assert "org/b: cannot reach" in push(workspace, hub, "org/b", code=1, HF_HUB_OFFLINE="1")
