"""Pushing releases to the hub: a real git and DVC repository, real huggingface_hub, the hub's API on loopback."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import hf_xet
import huggingface_hub.constants
import pytest
from huggingface_hub import HfApi

from stages import push_hub
from stages.common.errors import HaloForgeError, InputError
from tests.hub_server import TOKEN, Hub
from tests.releasing import Workspace
from tests.test_setup import make

Released = tuple[Workspace, dict[str, dict[str, bytes]]]
BY_LFS = {"HF_HUB_DISABLE_XET": "1"}
V1, V2 = "halo-coder@v0.1.0", "halo-coder@v0.2.0"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Released:
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


def push_here(released: Released, hub: Hub, repository: str, public: bool = False, xet: bool = False) -> str:
    """The same of the newest release within this process."""
    api = HfApi(endpoint=hub.url, token=TOKEN)
    files = push_hub.files_in(released[0].path / "models/release")
    with pytest.MonkeyPatch.context() as patch, push_hub.hub_faults(api, repository):
        patch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", not xet)
        return push_hub.push(api, repository, V2, files, public)


def arrived(hub: Hub, name: str, revision: str) -> dict[str, bytes | None]:
    return {path: stored.content for path, stored in hub.files(name, revision).items()}


def test_the_newest_release_arrives_byte_for_byte(released: Released, hub: Hub) -> None:
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


def test_what_the_tag_names_is_pushed_and_not_what_lies_here(released: Released, hub: Hub) -> None:
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
    assert "taken out, as the release does not have them (earlier commits do): empty.txt, extra/notes é.txt" in said
    assert arrived(hub, "org/coder", "main") == contents["v0.1.0"]
    assert arrived(hub, "org/coder", "v0.2.0") == contents["v0.2.0"], "the earlier commit is as it was"
    assert not list((workspace.path / "build/push-hub").iterdir()), "what was fetched is gone"


def test_large_files_go_by_xet_where_the_hub_has_it(released: Released, hub: Hub, tmp_path: Path) -> None:
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


def test_a_dry_run_lists_all_and_asks_nothing(released: Released, hub: Hub) -> None:
    workspace, contents = released
    said = push(workspace, hub, "org/coder", "--dry-run", HF_TOKEN="")
    assert hub.calls == []
    assert f"{V2} (commit " in said
    assert "-> org/coder, private" in said
    lines = [line.split(maxsplit=1) for line in said.splitlines()]
    sizes = {name: int(size.replace(",", "")) for size, name in lines if name in contents["v0.2.0"]}
    assert sizes == {name: len(data) for name, data in contents["v0.2.0"].items()}
    assert f"{sum(sizes.values()):,}  bytes in {len(sizes)} files" in said


def test_a_push_that_was_cut_off_goes_on(released: Released, hub: Hub) -> None:
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


def test_what_is_public_and_what_is_another_version_stays(released: Released, hub: Hub) -> None:
    hub.add("org/open", private=False)
    with pytest.raises(HaloForgeError, match=r"^org/open: is public on the hub, expected private, as PUBLIC=1"):
        push_here(released, hub, "org/open")
    assert hub.repositories["org/open"].messages == ["initial commit"]
    push_here(released, hub, "org/open", public=True)
    push_here(released, hub, "org/new", public=True)
    assert not hub.repositories["org/new"].private
    hub.add("org/shut")
    with pytest.raises(HaloForgeError, match=r"^org/shut: is private on the hub, expected public, as asked for"):
        push_here(released, hub, "org/shut", public=True)
    hub.repositories["org/shut"].tags["v0.2.0"] = hub.repositories["org/shut"].resolve("main")
    with pytest.raises(HaloForgeError, match=r"^org/shut: has another v0\.2\.0 \(9 files, such as README\.md\)$"):
        push_here(released, hub, "org/shut")


def test_what_arrives_otherwise_gets_no_tag(released: Released, hub: Hub) -> None:
    hub.corrupts = True
    with pytest.raises(HaloForgeError, match=rf"is not as {V2} \(1 files, such as config\.json\); not tagged"):
        push_here(released, hub, "org/coder")
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
def test_what_the_hub_refuses_is_one_line(released: Released, hub: Hub, fault: str, status: int, told: str) -> None:
    hub.faults[fault] = (status, f"no,\nnot with {TOKEN}")
    with pytest.raises(HaloForgeError) as error:
        push_here(released, hub, "org/coder")
    said = str(error.value)
    assert said.startswith(told)
    assert f"(HTTP {status} of /" in said
    assert "no, not with [token]" in said
    assert TOKEN not in said
    assert "\n" not in said
    assert not any(repository.tags for repository in hub.repositories.values())


def test_a_hub_that_is_not_there_is_one_line(released: Released, hub: Hub) -> None:
    workspace, _ = released
    hub.faults["repos/create"] = None
    with pytest.raises(HaloForgeError, match=rf"^org/b: the connection to {hub.url} failed: \w+"):
        push_here(released, hub, "org/b")
    hub.faults = {"xet-write-token": (403, "no rights")}
    with pytest.raises(HaloForgeError, match=r"^org/b: the connection to .* failed: .*403 Forbidden"):
        push_here(released, hub, "org/b", xet=True)
    closed = "http://127.0.0.1:9"
    assert f"org/b: the connection to {closed} failed: " in push(workspace, hub, "org/b", code=1, HF_ENDPOINT=closed)
    assert "org/b: the connection to" in push(workspace, hub, "org/b", code=1, HF_HUB_OFFLINE="1")


def test_what_is_wrong_is_told_before_the_hub_is_asked(released: Released, hub: Hub) -> None:
    workspace, _ = released
    said = push(workspace, hub, "a/b", code=1, HF_TOKEN="")
    assert said == "error: no token for the hub: set HF_TOKEN, or run `hf auth login`\n"
    said = push(workspace, hub, "a/b", "--version", "v9.0.0", code=1)
    assert said == "error: halo-coder@v9.0.0: no such release; there are: v0.2.0, v0.1.0\n"
    said = push(workspace, hub, "coder", code=1)
    assert said.startswith("error: REPO: found 'coder', expected OWNER/NAME of letters, digits")
    assert "other: no release has a tag here" in push(workspace, hub, "a/b", "--name", "other", code=1)
    assert hub.calls == []
    for name in ("", "a/b/c", "a/b c", "-a/b", "a/b.git", "https://huggingface.co/a/b"):
        with pytest.raises(InputError, match=r"^REPO: found '.*', expected OWNER/NAME"):
            push_hub.expect_repository(name)
    with pytest.raises(InputError, match=r"^--version: found '0\.1\.0', expected v and a semantic version"):
        push_hub.chosen("halo-coder", "0.1.0")


def test_a_token_that_the_hub_does_not_know(released: Released, hub: Hub) -> None:
    workspace, _ = released
    said = push(workspace, hub, "org/b", code=1, HF_TOKEN="hf_another-one")
    assert "org/b: the hub refuses the token" in said
    assert "hf_another-one" not in said
    with pytest.raises(HaloForgeError, match=r"^nobody/b: the token may not write there"):
        push_here(released, hub, "nobody/b")


def test_only_public_1_publishes_and_dry_run_0_is_none() -> None:
    def made(*settings: str) -> list[str]:
        return make("--no-print-directory", "-n", "-o", "setup", "push-hub", "REPO=org/coder", *settings).split()[1:]

    plain = ["-m", "stages.push_hub", '"org/coder"', "--name", '"halo-coder"']
    assert made() == made("PUBLIC=0", "DRY_RUN=0") == plain
    assert made("VERSION=v0.1.0", "PUBLIC=1") == [*plain, "--version", '"v0.1.0"', "--public"]
    assert made("DRY_RUN=1") == [*plain, "--dry-run"]
