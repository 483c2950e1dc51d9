"""Whose verdict changes with a verifier, a toolchain or a limit, and what changed there.

python -m stages.verify_diff                      # judges again what is recorded, by today's verifiers and settings
python -m stages.verify_diff --only cycle-2
python -m stages.verify_diff --against v0.1.0     # verdicts recorded there beside those recorded here; judges nothing

Nothing that is recorded is written over. Verdicts that are in the cache for today's verifier and toolchain are not
judged anew.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO

from stages.common import records
from stages.common.changes import changes
from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.files import content_hash, replacing
from stages.common.json_reader import read_map
from stages.common.params import Params, argument_parser
from stages.common.records import Verdict
from stages.common.revisions import Revision
from stages.settings.verify import VerifySettings
from stages.verifiers.files import verify_file

JUDGES = ("stages/verifiers", "stages/sandbox", "stages/settings/verify.py")
KNOWN = ("code_version", "verifiers", "limits")  # of a timing file: what verdicts depend on beside their inputs
SHOWN = 50  # flips listed in the terminal, of each set


@dataclass(frozen=True)
class Recorded:
    """A set of samples that has been judged: the files of its samples, verdicts, tasks and timing."""

    name: str
    samples: str
    verdicts: str
    tasks: str
    timing: str


@dataclass(frozen=True)
class Flip:
    """A sample whose reward or level changed."""

    set: str
    task_id: str
    sample: int
    before: str
    after: str


def recorded(only: str | None) -> list[Recorded]:
    """What the workspace has verdicts of; InputError where there is nothing (of the name `only`)."""
    found = []
    for path in sorted(Path("data/verdicts").glob("*.jsonl")):
        files = (f"data/samples/{path.name}", str(path), "data/mix/train.jsonl")
        found.append(Recorded(path.stem, *files, f"metrics/timing/verify-{path.stem}.json"))
    for kind, tasks, timing in (("validation", "validation", "validate"), ("benchmark", "benchmark", "benchmark")):
        for path in sorted(Path("data", kind).glob("*/*verdicts.jsonl")):
            name = path.parent.name
            drawn, greedy = ("greedy.jsonl", "greedy ") if path.name.startswith("greedy") else ("samples.jsonl", "")
            files = (str(path.with_name(drawn)), str(path), f"data/mix/{tasks}.jsonl")
            found.append(Recorded(f"{greedy}{kind} of {name}", *files, f"metrics/timing/{timing}-{name}.json"))
    # A run of GRPO judges while it draws, and by tasks that it draws again and again.
    found = [one for one in found if not one.name.startswith("grpo-")]
    found = [one for one in found if Path(one.samples).is_file() and Path(one.verdicts).stat().st_size]
    if only and not any(one.name == only for one in found):
        raise InputError(f"--only: found '{only}', expected one of: {', '.join(one.name for one in found) or 'none'}")
    if not found:
        raise InputError("data/verdicts: nothing has been judged here; run `dvc repro` or `dvc checkout` first")
    return [one for one in found if only in (None, one.name)]


def flips(name: str, before: Path, after: Path) -> Iterator[Flip | None]:
    """Per pair of verdicts a Flip, or None where reward and level are the same; both files have the samples' order.

    Raises InputError where they do not name the same samples.
    """
    for a, b in zip_longest(records.read(Verdict, before), records.read(Verdict, after)):
        if a is None or b is None or (a.task_id, a.sample) != (b.task_id, b.sample):
            which = a or b
            raise InputError(
                f"{before}: does not have the verdicts of the samples, from task '{which.task_id}' on; judge them again"
            )
        same = (a.reward, a.level) == (b.reward, b.level)
        yield None if same else Flip(name, a.task_id, a.sample, _words(a), _words(b))


def _words(verdict: Verdict) -> str:
    detail = f" ({verdict.detail})" if verdict.detail else ""
    return f"{verdict.reward:g} {verdict.level}{detail}"


def judged_again(one: Recorded, settings: VerifySettings, folder: Path) -> tuple[Path, list[str]]:
    """The verdicts of today, and what differs in the verifiers from those of the record."""
    out = folder / "verdicts.jsonl"
    _, timing = verify_file([Path(one.tasks)], Path(one.samples), out, settings)
    path = Path(one.timing)
    if not path.is_file():
        return out, [f"{path}: not there, so nothing is known of the verifiers of the record"]
    then = read_map(path)
    return out, [c for key in KNOWN for c in changes(then.get(key), timing[key], key)]


def since(revision: Revision) -> list[str]:
    """What differs in the settings of verifying, in its code and in the tasks between a revision and the workspace."""
    with Revision() as here:
        settings = changes(revision.profile().get("verify") or {}, here.profile().get("verify") or {}, "verify")
        tasks = [
            f"changed: {path}"
            for path in (f"data/mix/{split}.jsonl" for split in ("train", "validation", "benchmark"))
            if revision.has(path) and here.has(path) and content_hash(revision.fetch(path)) != content_hash(Path(path))
        ]
    command = ["git", "diff", "--name-only", revision.commit, "--", *JUDGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{revision.name}: {done.stderr.strip().splitlines()[-1]}")
    return [*settings, *(f"changed: {file}" for file in done.stdout.split()), *tasks]


def tell(one: Recorded, found: Iterator[Flip | None], why: list[str], out: IO[str] | None) -> None:
    """Print a set's flips, the first of them by name; all go to `out`, a line of JSON each."""
    count, shown, flipped = 0, [], 0
    for flip in found:
        count += 1
        if flip is None:
            continue
        flipped += 1
        if len(shown) < SHOWN:
            shown.append(flip)
        if out:
            out.write(json.dumps(asdict(flip)) + "\n")
    print(f"{one.name}: {count} verdicts, {flipped} changed")
    for flip in shown:
        print(f"  {flip.task_id} sample {flip.sample}: {flip.before} -> {flip.after}")
    if flipped > SHOWN:
        print(f"  and {flipped - SHOWN} more (--out lists all)")
    for reason in why if flipped else []:
        print(f"  {reason}")
    if flipped and not why:
        print("  nothing known changed, toolchains of another machine apart: chance, time or the machine decides")


def against(name: str, sets: list[Recorded], out: IO[str] | None) -> None:
    """Verdicts recorded at a revision beside those recorded here."""
    with Revision(name) as revision:
        why = since(revision)
        for one in sets:
            if not revision.has(one.verdicts):
                print(f"{one.name}: not there at {name}")
            elif content_hash(revision.fetch(one.samples)) != content_hash(Path(one.samples)):
                print(f"{one.name}: other samples at {name}")
            else:
                tell(one, flips(one.name, revision.fetch(one.verdicts), Path(one.verdicts)), why, out)


def main() -> None:
    """Find what has verdicts, judge it or fetch it, tell what changed."""
    parser = argument_parser(__doc__)
    parser.add_argument("--only", help="one set, as it is named in the output")
    parser.add_argument("--against", metavar="REVISION", help="compare with the verdicts recorded there")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file for all changed verdicts (JSON Lines)")
    args = parser.parse_args()
    sets = recorded(args.only)
    with ExitStack() as stack:
        out = stack.enter_context(replacing(args.out)) if args.out else None
        if args.against:
            against(args.against, sets, out)
            return
        settings = Params(args.params).section(VerifySettings, "verify")
        for one in sets:
            with tempfile.TemporaryDirectory() as folder:
                verdicts, why = judged_again(one, settings, Path(folder))
                tell(one, flips(one.name, Path(one.verdicts), verdicts), why, out)


if __name__ == "__main__":
    run(main)
