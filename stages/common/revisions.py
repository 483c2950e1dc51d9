"""The project's files as they were at a git revision, at an experiment's, or as they lie in the workspace."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from stages.common.errors import InputError
from stages.common.json_reader import read_json
from stages.common.releases import tag_of
from stages.common.yaml_reader import read_yaml

WORKSPACE = "workspace"
BESIDE = ("control-", "grpo-")  # checkpoints that are not the chain's


class Revision:
    """A context manager; what it has fetched is gone at its end.

    `name` is whatever git or DVC resolve (a tag, a branch, a commit, an experiment's name), `workspace`, or a version
    (v0.1.0) that one release has, whose tag becomes the name.
    """

    def __init__(self, name: str = WORKSPACE) -> None:
        self.name = name
        self._stack = ExitStack()
        self._files: Any = None
        self._outputs: dict[str, str] | None = None  # of dvc.lock, once it has been read

    def __enter__(self) -> Self:
        if self.name != WORKSPACE:
            from dvc.api import DVCFileSystem
            from dvc.exceptions import DvcException
            from dvc.scm import RevError

            try:
                self._files = self._opened(DVCFileSystem)
            except RevError:
                raise InputError(f"{self.name}: git knows no such revision, and DVC no such experiment") from None
            except (DvcException, OSError) as error:
                raise InputError(f"{self.name}: {' '.join(str(error).split())}") from None
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        return self

    def _opened(self, system: Callable[..., Any]) -> Any:
        from dvc.scm import RevError

        try:
            files = system(rev=self.name)
            files.ls("/", detail=False)  # or an unknown revision would be one without files
        except RevError:
            tag = tag_of(self.name)
            if tag is None:
                raise
            self.name = tag
            files = system(rev=tag)
        return files

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def commit(self) -> str:
        """The commit's hash, of an experiment too."""
        return "HEAD" if self._files is None else self._files.repo.get_rev()

    def has(self, path: str) -> bool:
        """Whether the revision has the file at all, wherever its content is."""
        return Path(path).exists() if self._files is None else self._files.exists(path)

    def fetch(self, path: str) -> Path:
        """The file here: itself in the workspace, else a copy out of git or DVC's cache or remote.

        Raises InputError where the revision has none, or where its content is neither in the cache nor on a remote.
        """
        if not self.has(path):
            raise InputError(f"{path}: no such file at {self.name}; run the stage that writes it")
        if self._files is None:
            return Path(path)
        copy = self._folder / path
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            self._copy(path, copy)
        return copy

    def files(self, path: str) -> set[str]:
        """Names of all files below a directory of the revision, relative to it. Raises InputError as `fetch` does."""
        with self._reading(path):
            return {Path(file).relative_to(path).as_posix() for file in self._files.find(path)}

    def copy_folder(self, path: str, folder: Path) -> None:
        """Copy all files below a directory of the revision into `folder`, out of git or DVC's cache or remote.

        Raises InputError as `fetch` does.
        """
        with self._reading(path):
            found = self._files.find(path)
        if not found:
            raise InputError(f"{path}: no such folder at {self.name}")
        for file in found:
            copy = folder / Path(file).relative_to(path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            self._copy(file, copy)

    def _copy(self, path: str, copy: Path) -> None:
        with self._reading(path):
            self._files.get_file(path, str(copy))

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        """Turn what DVC, and the client of its remote, raise about a path into InputError."""
        from dvc_data.index import DataIndexDirError

        try:
            yield
        except Exception as error:  # each remote's client has classes of its own: botocore's are no OSError
            cause = error.__cause__ if isinstance(error, DataIndexDirError) else error
            if isinstance(cause, FileNotFoundError):
                raise InputError(
                    f"{path}: the content at {self.name} is neither in DVC's cache nor on a remote; "
                    "run `dvc fetch --all-tags` where they are, or reproduce the revision"
                ) from None
            raise InputError(f"{path} at {self.name}: {' '.join(str(cause).split())}") from None

    def params(self) -> dict[str, Any]:
        """params.yaml, decoded and not checked: an older one may not have all that is known today."""
        found = read_yaml(self.fetch("params.yaml"))
        if not isinstance(found, dict):
            raise InputError(f"params.yaml at {self.name}: expected a map of settings")
        return found

    def profile(self) -> dict[str, Any]:
        """The settings of the profile that was active there."""
        params = self.params()
        found = (params.get("profiles") or {}).get(params.get("profile"))
        return found if isinstance(found, dict) else {}

    def json(self, path: str) -> dict[str, Any]:
        """A file with a map in JSON, such as metrics; InputError if it is none."""
        copy = self.fetch(path)
        try:
            found = read_json(copy)
        except InputError as error:
            raise InputError(str(error).replace(str(copy), f"{path} at {self.name}", 1)) from None
        if not isinstance(found, dict):
            raise InputError(f"{path} at {self.name}: expected a map of figures, found {type(found).__name__}")
        return found

    def digest(self, path: str) -> str | None:
        """DVC's hash of an output, by dvc.lock; None where that has none."""
        if self._outputs is None:
            self._outputs = outputs(self.fetch("dvc.lock")) if self.has("dvc.lock") else {}
        return self._outputs.get(path)

    def artifact(self, name: str) -> dict[str, Any]:
        """The entry of `name` under `artifacts` in dvc.yaml; empty where there is none."""
        graph = read_yaml(self.fetch("dvc.yaml")) if self.has("dvc.yaml") else None
        return ((graph or {}).get("artifacts") or {}).get(name) or {}

    def released(self, name: str) -> str | None:
        """The checkpoint that the artifact `name` of dvc.yaml came from; None where there is no such artifact."""
        found = (self.artifact(name).get("meta") or {}).get("checkpoint")
        return found if isinstance(found, str) else None


def outputs(lock: Path) -> dict[str, str]:
    """The outputs that a dvc.lock lists, by path, with DVC's hash of each. InputError where it is not YAML."""
    found = read_yaml(lock) or {}
    if not isinstance(found, dict):
        raise InputError(f"{lock}: expected a map of stages, found {type(found).__name__}")
    return {
        out["path"]: str(out.get("md5"))
        for stage in (found.get("stages") or {}).values()
        for out in stage.get("outs", [])
    }


@contextmanager
def named(text: str) -> Iterator[tuple[Revision, str]]:
    """The revision and the checkpoint that REVISION[:CHECKPOINT] names; by default the one that a release's tag
    (NAME@VERSION) stands for, else the last of the chain.

    Raises InputError where the revision does not list the checkpoint.
    """
    name, _, model = text.partition(":")
    with Revision(name or WORKSPACE) as revision:
        listed = revision.params().get("models")
        if not isinstance(listed, list) or not listed:
            raise InputError(f"params.yaml at {revision.name}: models: expected the checkpoints that are benchmarked")
        if model and model not in listed:
            raise InputError(f"{text}: found checkpoint '{model}', expected one of: {', '.join(map(str, listed))}")
        released = revision.released(revision.name.partition("@")[0]) if "@" in revision.name else None
        chain = [str(m) for m in listed if not str(m).startswith(BESIDE)]
        if not (model or released or chain):
            raise InputError(f"params.yaml at {revision.name}: models: expected one that is neither control nor GRPO")
        yield revision, model or released or chain[-1]
