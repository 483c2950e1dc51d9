"""Release a checkpoint as a version: choose by validation, check, merge, write its card, tag it with gto.

python -m stages.release --version v0.1.0
python -m stages.release --version v0.2.0 --cycle 3

The model goes to models/release (tracked by DVC), is declared under `artifacts` in dvc.yaml with the checkpoint that it
came from, committed, and tagged NAME@VERSION, which `gto show` and `dvc artifacts get --rev` know. Nothing is committed
or tagged unless the tree is clean, `dvc status` finds nothing to do, a DVC remote has all that it should have, and
validation does not put the checkpoint below the last release.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from stages.common import records
from stages.common.card import card
from stages.common.cli import run
from stages.common.errors import HaloForgeError, InputError
from stages.common.files import replacing
from stages.common.lineage import FIGURES
from stages.common.params import Params, argument_parser
from stages.common.records import Sample, Task
from stages.common.revisions import BESIDE, Revision

VERSION = re.compile(r"v\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?")  # semantic versions, as gto takes them
NAME = re.compile(r"[a-z][a-z0-9-]*[a-z0-9]")
PATH = "models/release"
VALIDATION = "data/mix/validation.jsonl"


def said(*command: str) -> str:
    """What a command says. Raises HaloForgeError with its last line where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise HaloForgeError(f"`{' '.join(command)}`: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return done.stdout


def dvc(*arguments: str) -> str:
    """`dvc ...` of this environment."""
    return said(sys.executable, "-m", "dvc", *arguments)


def expect_ready(tag: str) -> None:
    """Raise HaloForgeError, saying what to do, unless the tag is free and all is committed, reproduced and pushed."""
    if said("git", "tag", "--list", tag).strip():
        raise HaloForgeError(f"{tag}: there is such a tag; give another version")
    changed = [line for line in said("git", "status", "--porcelain").splitlines() if line]
    if changed:
        raise HaloForgeError(f"{changed[0][3:]}: not committed (of {len(changed)}); a release is of a commit")
    stale = json.loads(dvc("status", "--json"))
    if stale:
        raise HaloForgeError(f"{next(iter(stale))}: not up to date (of {len(stale)}); run `dvc repro` and commit first")
    if has_remote():
        missing = json.loads(dvc("status", "--cloud", "--json"))
        unpushed = [path for path, state in missing.items() if state == "new"]
        if unpushed:
            raise HaloForgeError(f"{unpushed[0]}: not on the DVC remote (of {len(unpushed)}); run `dvc push` first")


def has_remote() -> bool:
    """Whether DVC has a remote to push to."""
    return bool(dvc("remote", "list").strip())


def validation(revision: Revision, checkpoint: str) -> dict[str, Any]:
    """A checkpoint's figures on the validation tasks. Raises InputError where there are none."""
    found = revision.metrics(f"metrics/validation/{checkpoint}.json")
    if not all(isinstance(found.get(key), int | float) for key in FIGURES):
        raise InputError(f"metrics/validation/{checkpoint}.json at {revision.name}: no pass@1 on validation tasks")
    return found


def chosen(params: Params, cycle: str) -> str:
    """The checkpoint to release: the cycle asked for, or of those that did not regress the best on validation."""
    listed = [str(m) for m in params.raw.get("models") or [] if not str(m).startswith(BESIDE)]
    cycles = [model for model in listed if model.startswith("cycle-")]
    if cycle != "auto":
        if f"cycle-{cycle}" not in cycles:
            raise InputError(f"--cycle: found '{cycle}', expected auto or one of: {', '.join(cycles)}")
        return f"cycle-{cycle}"
    with Revision() as here:
        figures = {model: validation(here, model) for model in cycles}
    fit = {model: found["pass@1"] for model, found in figures.items() if not found.get("regressed")}
    if not fit:
        raise InputError("no cycle to release: all have regressed on validation, or there are none")
    return max(fit, key=lambda model: fit[model])  # of equals the first: it has had the least training


def last_release(name: str) -> str | None:
    """The tag of the version released last."""
    tags = said("git", "tag", "--list", f"{name}@v*", "--sort=-creatordate").split()
    return next((tag for tag in tags if VERSION.fullmatch(tag.partition("@")[2])), None)


def expect_no_regress(name: str, checkpoint: str) -> str:
    """A sentence about validation; HaloForgeError where the checkpoint lies below the last release."""
    with Revision() as here:
        own, tasks = validation(here, checkpoint), here.digest(VALIDATION)
    told = "validation pass@1 {:.3f} [{:.3f}, {:.3f}]".format(*(own[key] for key in FIGURES))
    tag = last_release(name)
    if tag is None:
        return f"{checkpoint}: {told}; the first release"
    with Revision(tag) as then:
        before = validation(then, then.released(name) or checkpoint)
        if then.digest(VALIDATION) != tasks:
            return f"{checkpoint}: {told}; {tag} was validated on other tasks, so the two cannot be compared"
    beside = "{:.3f} [{:.3f}, {:.3f}]".format(*(before[key] for key in FIGURES))
    if own["pass@1_high"] < before["pass@1_low"]:
        raise HaloForgeError(f"{checkpoint}: {told}, below {beside} of {tag}: not released")
    return f"{checkpoint}: {told}, beside {beside} of {tag}"


def expect_answers(model: Path) -> None:
    """Raise HaloForgeError unless the model loads and answers a benchmark task."""
    with tempfile.TemporaryDirectory() as folder:
        tasks, out = Path(folder) / "task.jsonl", Path(folder) / "samples.jsonl"
        records.write(tasks, [next(records.read(Task, Path("data/mix/benchmark.jsonl")))])
        stage = (sys.executable, "-m", "stages.sample", "--section", "benchmark.sample")
        said(*stage, "--model", str(model), "--tasks", str(tasks), "--out", str(out))
        if not any(sample.tokens for sample in records.read(Sample, out)):
            raise HaloForgeError(f"{model}: loads, but answers nothing; not released")


def declared(text: str, name: str, checkpoint: str) -> str:
    """dvc.yaml with the artifact in place of an earlier one of its name; all else stays as it is."""
    block = f"  {name}:\n    path: {PATH}\n    type: model\n    meta: {{checkpoint: {checkpoint}}}\n"
    text = re.sub(rf"^  {re.escape(name)}:\n    path: .*\n(    .*\n)*", "", text, count=1, flags=re.MULTILINE)
    if re.search(r"^artifacts:[ ]*$", text, re.MULTILINE):
        return re.sub(r"^artifacts:[ ]*\n", f"artifacts:\n{block}", text, count=1, flags=re.MULTILINE)
    return f"{text.rstrip()}\n\nartifacts:\n{block}"


def registered(name: str, version: str, message: str) -> None:
    """Tag the last commit as the artifact's version."""
    from gto.api import register
    from gto.exceptions import GTOException

    try:
        register(".", name, "HEAD", version=version, message=message, stdout=False)
    except GTOException as error:
        raise HaloForgeError(f"{name}@{version}: committed, but gto refuses the tag: {error}") from None


def main() -> None:
    """Check, choose, merge, try, declare, commit, tag."""
    parser = argument_parser(__doc__)
    parser.add_argument("--version", required=True, help="such as v0.1.0")
    parser.add_argument("--cycle", default="auto", help="number of the cycle (default: the best on validation)")
    parser.add_argument("--name", default="halo-coder", help="of the artifact")
    args = parser.parse_args()
    if not VERSION.fullmatch(args.version):
        raise InputError(f"--version: found '{args.version}', expected one such as v0.1.0")
    if not NAME.fullmatch(args.name):
        raise InputError(f"--name: found '{args.name}', expected lower-case letters, digits and dashes")
    tag, params = f"{args.name}@{args.version}", Params(args.params)
    expect_ready(tag)
    checkpoint = chosen(params, args.cycle)
    told = expect_no_regress(args.name, checkpoint)
    print(told, flush=True)
    print(said(sys.executable, "-m", "stages.merge", "--model", f"models/{checkpoint}", "--out", PATH).strip())
    write_card(args.name, args.version, checkpoint, params)
    expect_answers(Path(PATH))
    dvc("add", "-q", PATH)
    text = declared(Path("dvc.yaml").read_text(encoding="utf-8"), args.name, checkpoint)
    with replacing(Path("dvc.yaml")) as file:
        file.write(text)
    if has_remote():
        dvc("push", "-q", f"{PATH}.dvc")
    said("git", "add", "dvc.yaml", f"{PATH}.dvc")
    if said("git", "status", "--porcelain", "dvc.yaml", f"{PATH}.dvc").strip():  # else it was cut off before the tag
        said("git", "commit", "-q", "-m", f"Release {tag}: {checkpoint}", "--", "dvc.yaml", f"{PATH}.dvc")
    registered(args.name, args.version, told)
    print(f"{tag}: {checkpoint}, in {PATH}; `git push --follow-tags` publishes it, `gto show` lists all")


def write_card(name: str, version: str, checkpoint: str, params: Params) -> None:
    """README.md into the released directory."""
    profile = params.raw["profiles"][params.profile]
    commit = said("git", "rev-parse", "--short", "HEAD").strip()
    with Revision() as here:
        figures = {
            "benchmark": here.metrics(f"metrics/benchmark/{checkpoint}.json"),
            "before": here.metrics("metrics/benchmark/sft.json"),
            "validation": validation(here, checkpoint),
        }
    with replacing(Path(PATH) / "README.md") as file:
        file.write(card(name, version, checkpoint, commit, profile, figures))


if __name__ == "__main__":
    run(main)
