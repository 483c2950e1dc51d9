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
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from gto.api import register
from gto.exceptions import GTOException

from stages.common import records
from stages.common.card import Recipe, card
from stages.common.cli import run
from stages.common.commands import said
from stages.common.errors import HaloForgeError, InputError
from stages.common.files import replacing
from stages.common.lineage import FIGURES
from stages.common.params import Params, argument_parser
from stages.common.records import Sample, Task
from stages.common.releases import NAME, is_version, release_tags
from stages.common.revisions import BESIDE, Revision
from stages.common.yaml_reader import decode_yaml
from stages.settings.benchmark import BenchmarkSettings
from stages.settings.compute import ComputeSettings
from stages.settings.prompts import PromptSettings

PATH = Path("models/release")
MADE = ("dvc.yaml", f"{PATH}.dvc")  # what a release commits
TRIED = Path("build/release")  # where it is made and tried first
# What takes back a release that was cut off before its commit; the first one has no file to go back to.
BACK = f"git reset -q -- {' '.join(MADE)}; git checkout -q -- dvc.yaml; git checkout -q -- {MADE[1]} || rm -f {MADE[1]}"
VALIDATION = "data/mix/validation.jsonl"


def dvc(*arguments: str) -> str:
    """`dvc ...` of this environment."""
    return said(sys.executable, "-m", "dvc", *arguments)


def expect_ready(tag: str) -> None:
    """Raise HaloForgeError, saying what to do, unless the tag is free and all is committed, reproduced and pushed."""
    if said("git", "tag", "--list", tag).strip():
        raise HaloForgeError(f"{tag}: there is such a tag; give another version")
    changed = [line for line in said("git", "status", "--porcelain").splitlines() if line]
    if changed:
        cut_off = {line[3:] for line in changed} <= set(MADE)
        hint = f"; of a release that was cut off: {BACK}" if cut_off else "; a release is of a commit"
        raise HaloForgeError(f"{changed[0][3:]}: not committed (of {len(changed)}){hint}")
    stale = json.loads(dvc("status", "--json"))
    if list(stale) == [f"{PATH}.dvc"]:
        raise HaloForgeError(
            f"{PATH}: not as it was released; `dvc checkout -f {PATH}.dvc`, or `dvc pull`, brings that back"
        )
    if stale:
        raise HaloForgeError(f"{next(iter(stale))}: not up to date (of {len(stale)}); run `dvc repro` and commit first")
    if has_remote():
        missing = json.loads(dvc("status", "--cloud", "--json"))
        unpushed = [path for path, state in missing.items() if state == "new"]
        if unpushed:
            raise HaloForgeError(f"{unpushed[0]}: not on the DVC remote (of {len(unpushed)}); run `dvc push` first")


def has_remote() -> bool:
    """Whether DVC has a remote to push to by default."""
    done = subprocess.run([sys.executable, "-m", "dvc", "config", "core.remote"], capture_output=True, check=False)
    return done.returncode == 0 and bool(done.stdout.strip())


def validation(revision: Revision, checkpoint: str) -> dict[str, Any]:
    """A checkpoint's figures on the validation tasks. Raises InputError where there are none."""
    found = revision.json(f"metrics/validation/{checkpoint}.json")
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


def expect_no_regress(name: str, checkpoint: str) -> str:
    """A sentence about validation; HaloForgeError where the checkpoint lies below the last release."""
    with Revision() as here:
        own, tasks = validation(here, checkpoint), here.digest(VALIDATION)
    told = "validation pass@1 {:.3f} [{:.3f}, {:.3f}]".format(*(own[key] for key in FIGURES))
    tag = next(iter(release_tags(name)), None)
    if tag is None:
        return f"{checkpoint}: {told}; the first release"
    with Revision(tag) as then:
        before = validation(then, then.released(name) or checkpoint)
        with Revision() as here:
            same = all(then.profile().get(key) == here.profile().get(key) for key in ("validation", "verify"))
        if then.digest(VALIDATION) != tasks or not same:
            return f"{checkpoint}: {told}; {tag} was validated otherwise, so the two cannot be compared"
    beside = "{:.3f} [{:.3f}, {:.3f}]".format(*(before[key] for key in FIGURES))
    if own["pass@1_high"] < before["pass@1_low"]:
        raise HaloForgeError(f"{checkpoint}: {told}, below {beside} of {tag}: not released")
    return f"{checkpoint}: {told}, beside {beside} of {tag}"


def expect_answers(model: Path, params: Params) -> None:
    """Raise HaloForgeError unless the model loads here, wherever others are sampled, and answers a benchmark task."""
    settings = params.section(BenchmarkSettings, "benchmark").sample.model_copy(update={"backend": "transformers"})
    compute, prompts = params.section(ComputeSettings, "compute"), params.section(PromptSettings, "prompts")
    with tempfile.TemporaryDirectory() as folder:
        tasks, out, own = (Path(folder) / name for name in ("task.jsonl", "samples.jsonl", "params.yaml"))
        records.write(tasks, [next(records.read(Task, Path("data/mix/benchmark.jsonl")))])
        sections = {"sample": settings.model_dump(), "compute": compute.model_dump(), "prompts": prompts.model_dump()}
        own.write_text(json.dumps(sections), encoding="utf-8")
        stage = (sys.executable, "-m", "stages.sample", "--params", str(own))
        said(*stage, "--model", str(model), "--tasks", str(tasks), "--out", str(out))
        if not any(sample.completion.strip() for sample in records.read(Sample, out)):
            raise HaloForgeError(f"{model}: loads, but answers nothing; not released")


def declared(text: str, name: str, checkpoint: str) -> str:
    """dvc.yaml with the artifact in place of an earlier one of its name; all else stays as it is.

    Raises HaloForgeError where that cannot be done line by line.
    """
    block = f"  {name}:\n    path: {PATH}\n    type: model\n    meta: {{checkpoint: {checkpoint}}}\n"
    before = decode_yaml(text, "dvc.yaml")
    found = re.sub(rf"^  {re.escape(name)}:\n    path: .*\n(    .*\n)*", "", text, count=1, flags=re.MULTILINE)
    if re.search(r"^artifacts:[ ]*$", found, re.MULTILINE):
        found = re.sub(r"^artifacts:[ ]*\n", f"artifacts:\n{block}", found, count=1, flags=re.MULTILINE)
    elif not re.search(r"^artifacts:", found, re.MULTILINE):
        found = f"{found.rstrip()}\n\nartifacts:\n{block}"
    entry = {"path": str(PATH), "type": "model", "meta": {"checkpoint": checkpoint}}
    wanted = {**before, "artifacts": {**(before.get("artifacts") or {}), name: entry}}
    with suppress(InputError):
        if decode_yaml(found, "dvc.yaml") == wanted:
            return found
    raise HaloForgeError(f"dvc.yaml: artifacts: cannot declare '{name}' there; take its entry out and run again")


def by_source(path: Path) -> dict[str, int]:
    """Tasks by source."""
    return dict(Counter(task.source or "?" for task in records.read(Task, path)))


def made(name: str, version: str, checkpoint: str, params: Params) -> None:
    """The release in `TRIED`, merged, with its card, and tried."""
    with Revision() as here:
        figures = {
            "benchmark": here.json(f"metrics/benchmark/{checkpoint}.json"),
            "before": here.json("metrics/benchmark/sft.json"),
            "validation": validation(here, checkpoint),
        }
    # Of the last commit but for releases, so that making it again makes the same.
    commit = said("git", "log", "-1", "--format=%h", "--invert-grep", "--grep=^Release ").strip()
    recipe = Recipe(params.raw, *(by_source(Path(f"data/mix/{split}.jsonl")) for split in ("train", "benchmark")))
    merge = (sys.executable, "-m", "stages.merge", "--params", str(params.path))
    print(said(*merge, "--model", f"models/{checkpoint}", "--out", str(TRIED)).strip(), flush=True)
    with replacing(TRIED / "README.md") as file:
        file.write(card(name, version, checkpoint, commit, recipe, figures))
    expect_answers(TRIED, params)


def taken_back() -> None:
    """All as it was before a release that failed."""
    subprocess.run(BACK, shell=True, capture_output=True, check=False)
    if Path(MADE[1]).exists():
        dvc("checkout", "--force", MADE[1])
    else:
        shutil.rmtree(PATH, ignore_errors=True)


def publish(name: str, version: str, checkpoint: str, text: str, told: str) -> None:
    """Track what was tried, declare, push, commit, tag; as it was before where any of it fails."""
    try:
        shutil.rmtree(PATH, ignore_errors=True)
        shutil.move(TRIED, PATH)  # models/ may be on another disk
        dvc("add", str(PATH))
        with replacing(Path("dvc.yaml")) as file:
            file.write(text)
        if has_remote():
            dvc("push", f"{PATH}.dvc")
        said("git", "add", *MADE)
        if said("git", "status", "--porcelain", *MADE).strip():  # else it was cut off before the tag
            said("git", "commit", "-q", "-m", f"Release {name}@{version}: {checkpoint}", "--", *MADE)
    except BaseException:
        taken_back()
        raise
    try:
        register(".", name, "HEAD", version=version, message=told, stdout=False)
    except GTOException as error:
        raise HaloForgeError(f"{name}@{version}: committed, but gto refuses the tag: {error}") from None


def main() -> None:
    """Check, choose, make, publish."""
    parser = argument_parser(__doc__)
    parser.add_argument("--version", required=True, help="such as v0.1.0")
    parser.add_argument("--cycle", default="auto", help="number of the cycle (default: the best on validation)")
    parser.add_argument("--name", default="halo-coder", help="of the artifact")
    args = parser.parse_args()
    if not is_version(args.version):
        raise InputError(f"--version: found '{args.version}', expected v and a semantic version, such as v0.1.0")
    if not NAME.fullmatch(args.name):
        raise InputError(f"--name: found '{args.name}', expected lower-case letters, digits and dashes")
    tag, params = f"{args.name}@{args.version}", Params(args.params)
    expect_ready(tag)
    checkpoint = chosen(params, args.cycle)
    told = expect_no_regress(args.name, checkpoint)
    print(told, flush=True)
    text = declared(Path("dvc.yaml").read_text(encoding="utf-8"), args.name, checkpoint)
    made(args.name, args.version, checkpoint, params)
    publish(args.name, args.version, checkpoint, text, told)
    print(f"{tag}: {checkpoint}, in {PATH}; `git push --follow-tags` publishes it, `gto show` lists all")


if __name__ == "__main__":
    run(main)
