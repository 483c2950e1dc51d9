"""Make a revision again from nothing, in a clone without DVC's cache or earlier verdicts, and compare the two.

python -m stages.rebuild v0.1.0
python -m stages.rebuild halo-coder@v0.1.0 --folder build/again

Exits with 1 where a metric came out otherwise. What was cut off goes on where it stopped; `--folder` is kept.
"""

import os
import subprocess
import sys
from pathlib import Path

from stages.common.changes import changes
from stages.common.cli import run
from stages.common.commands import said
from stages.common.errors import HaloForgeError, InputError
from stages.common.json_reader import read_json
from stages.common.params import argument_parser
from stages.common.revisions import Revision, outputs

SHOWN = 20  # differences listed


def cloned(commit: str, folder: Path) -> None:
    """A clone at the commit, without DVC's cache and without settings of this machine; one that is there is gone on
    with. InputError where it is of another commit."""
    if not folder.exists():
        said("git", "clone", "-q", "--no-checkout", ".", str(folder))
        said("git", "checkout", "-q", "--detach", commit, folder=folder)
    if said("git", "rev-parse", "HEAD", folder=folder).strip() != commit:
        raise InputError(f"{folder}: is there, and of another commit; give another --folder or remove it")


def reproduce(folder: Path) -> None:
    """Run the pipeline there; its progress is shown. Raises HaloForgeError where a stage fails."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
    environment.pop("PYTHONPATH", None)  # its own code is what is run
    # Verdicts are judged again; what the hub has sent is the same wherever it lies.
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    environment.setdefault("HF_HOME", str(usual / "huggingface"))
    environment["XDG_CACHE_HOME"] = str(folder.resolve().with_name(f"{folder.name}.cache"))
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=folder, env=environment, check=False)
    if done.returncode:
        raise HaloForgeError(f"{folder}: the pipeline failed, see above")


def differing(folder: Path, revision: Revision, before: dict[str, str]) -> tuple[list[str], list[str]]:
    """(metrics that came out otherwise, each with its figures; artifacts whose bytes did)."""
    after = outputs(folder / "dvc.lock")
    others = sorted(path for path in before if after.get(path) != before[path])
    figures: list[str] = []
    for path in (path for path in others if path.startswith("metrics/") and path.endswith(".json")):
        made = folder / path
        found = read_json(made) if made.exists() else None
        figures += [f"{path}: {change}" for change in changes(revision.json(path), found)]
    return figures, [path for path in others if not path.startswith("metrics/")]


def main() -> None:
    """Clone, reproduce, compare."""
    parser = argument_parser(__doc__)
    parser.add_argument("revision", metavar="REVISION", help="a tag, branch or commit")
    parser.add_argument("--folder", type=Path, help="of the clone (default: build/rebuild/COMMIT)")
    args = parser.parse_args()
    with Revision(args.revision) as revision:
        commit = revision.commit
        before = outputs(revision.fetch("dvc.lock"))
        folder = args.folder or Path("build/rebuild") / commit[:12]
        cloned(commit, folder)
        reproduce(folder)
        figures, others = differing(folder, revision, before)
    for line in [*figures, *(f"{path}: other bytes" for path in others)][:SHOWN]:
        print(line)
    if figures:
        raise HaloForgeError(f"{args.revision}: {len(figures)} metrics came out otherwise, and {len(others)} artifacts")
    same = "and every artifact, byte for byte" if not others else f"though {len(others)} artifacts have other bytes"
    print(f"{args.revision}: rebuilt in {folder}: the same metrics, {same}")


if __name__ == "__main__":
    run(main)
