"""Push a release to the Hugging Face hub: the files that its tag names, in one commit, tagged with its version.

python -m stages.push_hub org/name
python -m stages.push_hub org/name --version v0.1.0 --public
python -m stages.push_hub org/name --dry-run

The newest release unless `--version` picks another; private unless `--public`; the token is that of HF_TOKEN or of
`hf auth login`. The commit holds the release's files and no others, and gets its tag only when the hub lists each with
its hash; what was cut off goes on when run again. A dry run needs no token and asks the hub nothing: it reads git, and
DVC's cache or remote.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stages.common.cli import run
from stages.common.commands import said
from stages.common.errors import HaloForgeError, InputError
from stages.common.params import argument_parser, read_yaml
from stages.common.releases import NAME, is_version, release_tags
from stages.common.revisions import Revision

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

KEPT = ".gitattributes"  # the hub's own: which files it keeps as large ones
FETCHED = Path("build/push-hub")
HINTS = {
    401: "the hub refuses the token; `hf auth login` or HF_TOKEN gives another",
    403: "the token may not write there",
    409: "something else has changed it meanwhile",
    412: "something else has changed it meanwhile; run again",
}


def expect_repository(repository: str) -> None:
    """Raise InputError for what cannot be the name of a repository on the hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
        well_formed = repository.count("/") == 1
    except HFValidationError:
        well_formed = False
    if not well_formed:
        raise InputError(
            f"REPO: found '{repository}', expected OWNER/NAME of letters, digits, '-', '_' and '.', such as org/name"
        )


def chosen(name: str, version: str | None) -> str:
    """The tag of the version, or of the newest release. InputError where there is none."""
    if not NAME.fullmatch(name):
        raise InputError(f"--name: found '{name}', expected lower-case letters, digits and dashes")
    if version is not None and not is_version(version):
        raise InputError(f"--version: found '{version}', expected v and a semantic version, such as v0.1.0")
    tags = release_tags(name)
    if not tags:
        raise InputError(f"{name}: no release has a tag here; `make release` makes one, `git fetch --tags` brings them")
    tag = f"{name}@{version}" if version else tags[0]
    if tag not in tags:
        known = ", ".join(found.partition("@")[2] for found in tags)
        raise InputError(f"{tag}: no such release; there are: {known}")
    return tag


def expect_token() -> str:
    """The token of HF_TOKEN or of `hf auth login`. HaloForgeError where there is none."""
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        raise HaloForgeError("no token for the hub: set HF_TOKEN, or run `hf auth login`")
    return token


@contextmanager
def contents(revision: Revision, name: str) -> Iterator[Path]:
    """The folder that the artifact `name` was at the revision: the workspace's where that is the same, else a copy
    out of DVC's cache or remote that is gone at the end.

    Raises InputError where the revision has no such artifact, or where its content is nowhere to be had.
    """
    path = revision.artifact(name).get("path")
    if not isinstance(path, str):
        raise InputError(f"dvc.yaml at {revision.name}: artifacts: expected '{name}' with its path")
    pointer = f"{path}.dvc"
    here = Path(pointer)
    tracked = here.exists() and read_yaml(here).get("outs") == read_yaml(revision.fetch(pointer)).get("outs")
    same = tracked and not json.loads(said(sys.executable, "-m", "dvc", "status", "--json", pointer))
    # What .dvcignore names is no part of the release, though it may lie there.
    if same and set(files_in(Path(path))) == revision.files(path):
        yield Path(path)
        return
    FETCHED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FETCHED) as folder:  # not in /tmp, which may be memory
        revision.copy_folder(path, Path(folder))
        yield Path(folder)


def files_in(folder: Path) -> dict[str, Path]:
    """Every file below a folder by its name in the repository."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def listing(files: dict[str, Path]) -> Iterator[str]:
    """A line for each file with its size in bytes, and one for all."""
    sizes = {name: path.stat().st_size for name, path in files.items()}
    yield from (f"{size:>16,}  {name}" for name, size in sizes.items())
    yield f"{sum(sizes.values()):>16,}  bytes in {len(sizes)} files"


def content_id(path: Path, large: bool) -> str:
    """What the hub lists for a file: SHA-256 of its bytes where it is kept as a large one, else git's id of a blob,
    which is SHA-1 of `blob`, the size in bytes, a zero byte and the bytes."""
    with path.open("rb") as file:
        if large:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        digest.update(file.read())
    return digest.hexdigest()


def differing(api: "HfApi", repository: str, revision: str, files: dict[str, Path]) -> list[str]:
    """The names of which the hub's revision does not have just what `files` have: absent, other bytes, or beyond."""
    listed = api.model_info(repository, revision=revision, files_metadata=True).siblings or []
    there = {file.rfilename: file for file in listed if file.rfilename in files or file.rfilename != KEPT}

    def is_same(name: str) -> bool:
        if name not in files or name not in there:
            return False
        large = there[name].lfs
        return content_id(files[name], large is not None) == (large.sha256 if large else there[name].blob_id)

    return sorted(name for name in there.keys() | files.keys() if not is_same(name))


def prepared(api: "HfApi", repository: str, public: bool) -> "ModelInfo":
    """The repository as it is now, made where there was none.

    Raises HaloForgeError where it is there with the other visibility: what is public is not pushed to by accident.
    """
    api.create_repo(repository, private=not public, exist_ok=True)
    found = api.model_info(repository)
    if bool(found.private) == public:  # what the hub does not say is taken for public
        expected = "private, as PUBLIC=1 (--public) is not given" if not public else "public, as asked for"
        state = "private" if found.private else "public"
        raise HaloForgeError(f"{repository}: is {state} on the hub, expected {expected}; its settings there change it")
    return found


def commit(api: "HfApi", repository: str, tag: str, files: dict[str, Path], before: "ModelInfo") -> str:
    """The id of the commit that holds the files, and beside them only the hub's own.

    One call of create_commit: upload_folder splits what takes minutes into several commits.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    beyond = sorted({file.rfilename for file in before.siblings or []} - files.keys() - {KEPT})
    if beyond:
        print(f"taken out, as the release does not have them (earlier commits do): {', '.join(beyond)}", flush=True)
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(name, path) for name, path in files.items()),
        *(CommitOperationDelete(name) for name in beyond),
    ]
    return api.create_commit(repository, operations, commit_message=tag, parent_commit=before.sha).oid


def push(api: "HfApi", repository: str, tag: str, files: dict[str, Path], public: bool) -> str:
    """What was done. Raises HaloForgeError where the hub has another such version, or lists other files than it got."""
    version = tag.partition("@")[2]
    before = prepared(api, repository, public)
    if any(ref.name == version for ref in api.list_repo_refs(repository).tags):
        others = differing(api, repository, version, files)
        if others:
            raise HaloForgeError(f"{repository}: has another {version} ({len(others)} files, such as {others[0]})")
        return "was there already"
    made = commit(api, repository, tag, files, before)
    others = differing(api, repository, made, files)
    if others:
        told = f"{len(others)} files, such as {others[0]}"
        raise HaloForgeError(f"{repository}: commit {made[:12]} is not as {tag} ({told}); not tagged")
    api.create_tag(repository, tag=version, tag_message=tag, revision=made)
    return f"commit {made[:12]}"


@contextmanager
def hub_faults(api: "HfApi", repository: str) -> Iterator[None]:
    """Turn what the hub and the network raise into one line without the token."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    def told(error: BaseException) -> str:
        if isinstance(error, HfHubHTTPError):
            status, url = error.response.status_code, error.response.url
            words = error.server_message or error.response.reason_phrase
            return f"{HINTS.get(status, 'the hub answers')} (HTTP {status} of {url.path}: {words})"
        if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL | ConnectionError):  # the last is hf_xet's
            return f"the connection to {api.endpoint} failed: {error or type(error).__name__}"
        return f"not pushed: {error}"

    try:
        yield
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, RuntimeError, ValueError) as error:
        # huggingface_hub wraps what stopped the upload of a large file in a RuntimeError.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(cause, OSError) and cause.filename is not None:
            raise  # a file of ours
        line = " ".join(f"{repository}: {told(cause)}".split())
        raise HaloForgeError(line.replace(str(api.token), "[token]")) from None


def main() -> None:
    """Choose, fetch, push."""
    parser = argument_parser(__doc__)
    parser.add_argument("repository", metavar="REPO", help="OWNER/NAME on the hub")
    parser.add_argument("--version", help="such as v0.1.0 (default: the newest release)")
    parser.add_argument("--name", default="halo-coder", help="of the artifact")
    parser.add_argument("--public", action="store_true", help="make the repository public")
    parser.add_argument("--dry-run", action="store_true", help="list what would be pushed, and ask the hub nothing")
    args = parser.parse_args()
    expect_repository(args.repository)
    tag = chosen(args.name, args.version)
    token = None if args.dry_run else expect_token()
    visibility = "public" if args.public else "private"
    with Revision(tag) as revision, contents(revision, args.name) as folder:
        files = files_in(folder)
        print(f"{tag} (commit {revision.commit[:12]}) -> {args.repository}, {visibility}")
        print("\n".join(listing(files)), flush=True)
        if args.dry_run:
            print(f"a dry run: nothing was pushed or asked; the commit would be tagged {tag.partition('@')[2]}")
            return
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars

        if not sys.stderr.isatty():
            disable_progress_bars()
        api = HfApi(token=token)
        with hub_faults(api, args.repository):
            done = push(api, args.repository, tag, files, args.public)
    print(f"{tag}: {done}, {api.endpoint}/{args.repository}/tree/{tag.partition('@')[2]}")


if __name__ == "__main__":
    run(main)
