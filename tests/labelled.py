"""Programs that others wrote and judged: the project's verdicts beside the published ones, as a table.

python -m tests.labelled            judges all programs and prints the table
python -m tests.labelled --write    also puts it into docs/VERIFIERS.md

The sets lie in ../shared/labelled, or in the folder that HALO_FORGE_LABELLED names. tests/verifiers/labelled.jsonl
names each difference that has been looked into, who is right, and why.
"""

import argparse
import gzip
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from stages.common import records
from stages.common.cli import run
from stages.common.errors import InputError, SandboxError
from stages.common.records import Sample, Task, Verdict
from stages.settings.verify import VerifySettings
from stages.verifiers import make
from stages.verifiers.files import verify_file
from tests.cpython import by_cpython

ROOT = Path(__file__).parent.parent
FOLDER = Path(os.environ.get("HALO_FORGE_LABELLED", ROOT.parent / "shared" / "labelled"))
NAMED = ROOT / "tests" / "verifiers" / "labelled.jsonl"
PAGE = ROOT / "docs" / "VERIFIERS.md"
HEADING = "## Programs that others wrote and judged"
# Of each set, the tasks' verifier.
SETS = {
    "humanevalpack-python": "pytest",
    "reflexion-python": "pytest",
    "mapcoder-apps": "pytest",
    "humanevalpack-cpp": "gcc",
    "humanevalpack-rust": "rust",
    "reflexion-rust": "rust",
}
PYTHON = tuple(name for name, verifier in SETS.items() if verifier == "pytest")
# Folders of vendored crates: one's own, then that of Debian's packages librust-*-dev.
VENDORED = (ROOT / "toolbox" / "crates" / "vendor", Path("/usr/share/cargo/registry"))
CRATES = ("rand", "regex", "md5")
# What some programs include or link with, by a file of it.
HEADERS = {"boost": "/usr/include/boost/any.hpp", "crypto": "/usr/include/openssl/md5.h"}
# Seconds of CPU time. Some of MapCoder's wrong programs run for ever; none that is labelled passed needs three.
CPU_SECONDS = {"mapcoder-apps": 6}
WALL_FACTOR = 20.0  # on a busy machine a program that runs for ever is to end by its CPU time, and once
KINDS = {"label": "wrong label", "environment": "environment", "limits": "limits"}
SHARE = 3  # of a set, one program in so many is judged unless all are


@dataclass(frozen=True)
class Named:
    """A difference between label and verdict that has been looked into.

    `kind` is one of KINDS, `why` says it in words. `without`: the difference is there only where this crate or library
    is not. `varies`: the verdict depends on the machine, and the difference may be absent.
    """

    kind: str
    why: str
    without: str | None = None
    varies: bool = False


@dataclass
class Comparison:
    """What came of one set: how many programs were judged, and how many as their label says. Of the differences, how
    many are named, by kind, and those that are not, in words; and the named ones that were not found."""

    name: str
    programs: int = 0
    agree: int = 0
    named: Counter[str] = field(default_factory=Counter)
    unnamed: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)

    @property
    def agreement(self) -> float:
        """The share of the verdicts that agree with the label, of those whose label stands."""
        return self.agree / (self.programs - self.named.total())


@cache
def load(name: str) -> tuple[dict[str, Task], list[tuple[Sample, bool]]]:
    """A set's tasks by id, and its samples, each with its label."""
    with gzip.open(FOLDER / f"{name}.tasks.jsonl.gz", "rt", encoding="utf-8") as file:
        tasks = [records.parse(Task, json.loads(line), name) for line in file]
    with gzip.open(FOLDER / f"{name}.samples.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return {task.task_id: task for task in tasks}, [(records.parse(Sample, row, name), row["passed"]) for row in rows]


@cache
def named(name: str) -> dict[tuple[str, int], Named]:
    """The differences of a set that have been looked into, by task and sample."""
    found = {}
    for line in NAMED.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["set"] == name:
            known = Named(row["kind"], row["why"], row.get("without"), row.get("varies", False))
            found |= {(row["task_id"], sample): known for sample in row["samples"]}
    return found


def chosen(name: str, all_of_them: bool) -> list[tuple[Sample, bool]]:
    """The samples to judge: all, or every third."""
    return load(name)[1][:: 1 if all_of_them else SHARE]


@cache
def crates() -> tuple[Path, tuple[str, ...]] | None:
    """A folder of vendored crates and those of CRATES that can be built from it; None where there is none."""
    for folder in VENDORED:
        found = tuple(name for name in CRATES if builds(folder, name))
        if found:
            return folder, found
    return None


def builds(folder: Path, crate: str) -> bool:
    """Whether a crate is in a folder, with what it depends on, and rustc here."""
    options = VerifySettings.parse({"rust": {"vendor": str(folder), "crates": [crate]}}, "tests")
    try:
        return make("rust", options).check() is None
    except SandboxError:
        return False


def libraries() -> set[str]:
    """The crates and libraries of others that programs here may use."""
    found = crates()
    return {*(found[1] if found else ()), *(name for name, file in HEADERS.items() if Path(file).exists())}


def settings(name: str) -> VerifySettings:
    """Those of a profile for real models, as far as they matter here; `name`: the set to judge."""
    sections: dict[str, dict[str, Any]] = {
        "limits": {"cpu_seconds": CPU_SECONDS.get(name, 10), "wall_factor": WALL_FACTOR},
        "pytest": {"packages": ["numpy"]},
    }
    if name == "humanevalpack-cpp" and "crypto" in libraries():
        sections["gcc"] = {"libraries": ["m", "pthread", "crypto"]}
    if name == "humanevalpack-rust" and (found := crates()):
        sections["rust"] = {"vendor": str(found[0]), "crates": list(found[1])}
    return VerifySettings.parse(sections, "tests")


def lacking(name: str) -> str | None:
    """Why a set cannot be judged here: its files or a tool are missing."""
    if not FOLDER.is_dir():
        return "no labelled programs; name their folder in HALO_FORGE_LABELLED"
    return make(SETS[name], settings(name)).check()


def judge(tasks: Sequence[Task], samples: Sequence[Sample], options: VerifySettings) -> list[Verdict]:
    """The verdicts, from files and to a file as the stage does it."""
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder, f"{kind}.jsonl") for kind in ("tasks", "samples", "verdicts")}
        records.write(files["tasks"], tasks)
        records.write(files["samples"], samples)
        verify_file([files["tasks"]], files["samples"], files["verdicts"], options)
        return list(records.read(Verdict, files["verdicts"]))


def judge_set(name: str, all_of_them: bool) -> list[tuple[bool, Verdict]]:
    """Label and verdict of a set's chosen samples."""
    tasks, _ = load(name)
    samples = chosen(name, all_of_them)
    verdicts = judge(list(tasks.values()), [sample for sample, _ in samples], settings(name))
    return [(label, verdict) for (_, label), verdict in zip(samples, verdicts, strict=True)]


def cpython_differs(name: str, verdicts: Sequence[Verdict]) -> list[str]:
    """The verdicts that say something else than plain CPython on the same programs, each in words."""
    tasks, everything = load(name)
    wanted = {(verdict.task_id, verdict.sample) for verdict in verdicts}
    samples = [sample for sample, _ in everything if (sample.task_id, sample.sample) in wanted]
    plain = judge([by_cpython(task) for task in tasks.values()], samples, settings(name))
    return [
        f"{told(ours)}; CPython: {theirs.level}, {theirs.detail}"
        for ours, theirs in zip(verdicts, plain, strict=True)
        if passes(ours) != passes(theirs)
    ]


def passes(verdict: Verdict) -> bool:
    """Whether a verdict is a pass."""
    return verdict.reward == 1


def told(verdict: Verdict) -> str:
    """A verdict in one line."""
    return f"{verdict.task_id}, sample {verdict.sample}: {verdict.level}, {verdict.detail}"


def compare(name: str, judged: Sequence[tuple[bool, Verdict]]) -> Comparison:
    """Verdicts against labels, with what is named put aside."""
    found = Comparison(name, len(judged))
    there = libraries()
    for label, verdict in judged:
        known = named(name).get((verdict.task_id, verdict.sample))
        if known and known.without in there:
            known = None
        if passes(verdict) == label:
            found.agree += 1
            if known and not known.varies:
                found.vanished.append(told(verdict))
        elif known:
            found.named[known.kind] += 1
        else:
            found.unnamed.append(f"{told(verdict)}; labelled {'passed' if label else 'failed'}")
    return found


def table(comparisons: Sequence[Comparison], cpython: dict[str, int]) -> str:
    """The comparisons in Markdown; `cpython`: of a Python set, how many verdicts are those of plain CPython."""
    heads = ["set", "programs", "agree", *KINDS.values(), "unexplained", "agreement", "as CPython"]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for each in comparisons:
        cells = [each.programs, each.agree, *(each.named[kind] for kind in KINDS), len(each.unnamed)]
        same = f"{cpython[each.name]:,}" if each.name in cpython else ""
        numbers = " | ".join(f"{cell:,}" for cell in cells)
        lines.append(f"| `{each.name}` | {numbers} | {each.agreement:.2%} | {same} |")
    return "\n".join(lines)


def write(text: str) -> None:
    """Put the table below its heading, in place of the one that is there."""
    page = PAGE.read_text(encoding="utf-8")
    if HEADING not in page:
        raise InputError(f"{PAGE}: no heading '{HEADING}'")
    before, after = page.split(HEADING)
    after = re.sub(r"^\|.*\n(?:\|.*\n)*", text + "\n", after, count=1, flags=re.MULTILINE)
    PAGE.write_text(before + HEADING + after, encoding="utf-8")


def main() -> None:
    """Judge all sets whose tools are here, print the table and the differences without a name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/VERIFIERS.md")
    parser.add_argument("--third", action="store_true", help="judge a third of each set only")
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET", help="sets to judge; default: all")
    args = parser.parse_args()
    comparisons, cpython = [], {}
    for name in args.sets:
        if trouble := lacking(name):
            raise InputError(f"{name}: {trouble}")
        judged = judge_set(name, not args.third)
        comparisons.append(compare(name, judged))
        if name in PYTHON:
            differing = cpython_differs(name, [verdict for _, verdict in judged])
            cpython[name] = len(judged) - len(differing)
            print(*(f"unlike CPython: {line}" for line in differing), sep="\n")
        print(*(f"unexplained: {line}" for line in comparisons[-1].unnamed), sep="\n")
        print(*(f"no difference: {line}" for line in comparisons[-1].vanished), sep="\n")
    text = table(comparisons, cpython)
    print(text)
    if args.write:
        write(text)


if __name__ == "__main__":
    run(main)
