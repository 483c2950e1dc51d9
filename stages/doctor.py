"""What this machine has and what it lacks, with the way to get it: `python -m stages.doctor [--json]`.

Every verifier judges its self-tests, as the active profile has it set up; `--verifier module:Class` adds one's own.
`--selfcheck` goes on with toolbox/check.py: the GPU, what torch computes, and how fast. Exits with 1 when something is
missing that the tiny profile needs, when a verifier does not judge as it must, or when the self-check fails; what only
other profiles use is a warning.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from stages.common.cli import run

GIB = 1024**3
CHECK = Path(__file__).parents[1] / "toolbox" / "check.py"
NEEDED_VERIFIERS = ("pytest",)  # by the tiny profile
LIBRARIES = ("transformers", "trl", "peft", "accelerate", "datasets", "dvc", "pydantic", "pytest")
ACCELERATOR_LIBRARIES = ("flash-attn", "bitsandbytes")

# Command: the packages that bring it on Debian and on Fedora, and whether the tiny profile needs it.
COMMANDS = {
    "g++": ("g++", "gcc-c++", True),
    "git": ("git", "git", True),
    "make": ("make", "make", True),
}

# Importing torch takes seconds and may crash on a bad driver, so it is asked in a process of its own.
TORCH_PROBE = """
import torch
device = "cpu"
if torch.cuda.is_available():
    properties = torch.cuda.get_device_properties(0)
    kind = f"rocm {torch.version.hip} {properties.gcnArchName}" if torch.version.hip else f"cuda {torch.version.cuda}"
    device = f"{kind}, {properties.name}, {properties.total_memory / 1024**3:.0f} GiB"
print(f"{torch.__version__} on {device}")
"""


@dataclass(frozen=True)
class Row:
    """One thing that was looked for; `remedy` is how to get it, empty where nothing needs doing."""

    name: str
    state: Literal["ok", "missing", "wrong", "warning"]
    found: str
    remedy: str = ""


def ask(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def check_python() -> Row:
    return Row("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def check_torch() -> Row:
    try:
        probe = ask(sys.executable, "-c", TORCH_PROBE)
    except subprocess.TimeoutExpired:
        return Row("torch", "missing", "import did not end within 120 s", "check the driver of the accelerator")
    if probe.returncode != 0:
        return Row("torch", "missing", last_line(probe.stderr), "make setup")
    return Row("torch", "ok", probe.stdout.strip())


def check_library(name: str, needed: bool) -> Row:
    try:
        return Row(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        if needed:
            return Row(name, "missing", "not installed", "make setup")
        return Row(name, "warning", "not installed", "for GPUs: pip install --no-build-isolation -e '.[gpu]'")


def check_command(name: str, debian: str, fedora: str, needed: bool) -> Row:
    path = shutil.which(name)
    if path is None:
        remedy = f"apt-get install {debian}, or dnf install {fedora}"
        return Row(name, "missing" if needed else "warning", "not found", remedy)
    return Row(name, "ok", ask(path, "--version").stdout.partition("\n")[0])


def check_sandbox() -> Iterator[Row]:
    """Start a real sandbox: a kernel or container may forbid one although bwrap is there. A fault names its remedy."""
    try:
        from stages.sandbox import abilities, cgroups

        able = abilities()
        delegated, how = cgroups.describe()
    except Exception as error:  # whatever is wrong here is a finding, and the other rows are still wanted
        found, _, remedy = describe(error).partition("; ")
        yield Row("sandbox", "missing", found, remedy)
        return
    yield Row("sandbox", "ok", f"{ask('bwrap', '--version').stdout.strip()}, namespaces, system-call filter, limits")
    yield told("nesting", able["nested"], "a warm interpreter forks each job", "refused: a new sandbox for each job")
    yield told("/proc", able["proc"], "shows a job its own processes", "masked here, so that jobs have an empty one")
    remedy = "a second line only: a systemd session of one's own, or a container with /sys/fs/cgroup writable, has them"
    yield told("cgroup limits", delegated, how, how, remedy)


def told(name: str, good: bool, found: str, otherwise: str, remedy: str = "") -> Row:
    return Row(name, "ok", found) if good else Row(name, "warning", otherwise, remedy)


def describe(error: Exception) -> str:
    """Of an error in one of our rooms: its message where that is meant to be read."""
    return str(error) if type(error).__module__.startswith("stages.") else f"{type(error).__name__}: {error}"


def check_verifiers(own: list[str]) -> Iterator[Row]:
    """A row for each verifier of the registry, and of `own`, after its self-tests."""
    try:
        from stages.common.params import Params
        from stages.settings.verify import VerifySettings
        from stages.verifiers import REGISTRY
        from stages.verifiers.selftest import examine

        settings = Params().section(VerifySettings, "verify")
    except Exception as error:
        yield Row("verifiers", "missing", describe(error), "make setup" if isinstance(error, ImportError) else "")
        return
    for name in (*REGISTRY, *own):
        examined = examine(name, settings)
        found, _, remedy = examined.text.partition("; ")
        needed = name in NEEDED_VERIFIERS or name in own
        states = {"ok": "ok", "wrong": "wrong", "absent": "missing" if needed else "warning"}
        yield Row(f"verifier {name}", states[examined.state], found, remedy)


def check_settings() -> Row:
    checked = ask(sys.executable, "-m", "stages.settings")
    if checked.returncode != 0:
        return Row("params.yaml", "missing", last_line(checked.stderr), "mend params.yaml")
    return Row("params.yaml", "ok", "valid")


def check_machine() -> Iterator[Row]:
    yield Row("cores", "ok", str(len(os.sched_getaffinity(0))))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    disk = shutil.disk_usage(".").free / GIB
    yield amount("memory", memory, 4, "the tiny profile wants 4 GiB")
    yield amount("free disk", disk, 5, "a run of the tiny profile and its cache want 5 GiB")


def amount(name: str, gib: float, enough: float, remedy: str) -> Row:
    found = f"{gib:.1f} GiB"
    return Row(name, "ok", found) if gib >= enough else Row(name, "warning", found, remedy)


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def all_rows(own: list[str]) -> Iterator[Row]:
    yield check_python()
    yield check_torch()
    yield from (check_library(name, needed=True) for name in LIBRARIES)
    yield from (check_library(name, needed=False) for name in ACCELERATOR_LIBRARIES)
    yield from check_sandbox()
    yield from (check_command(name, *packages) for name, packages in COMMANDS.items())
    yield check_settings()
    yield from check_verifiers(own)
    yield from check_machine()


def self_check(length: str) -> bool:
    """Whether toolbox/check.py fails, which prints for itself. Without torch it still reads what the kernel shows."""
    print("\nself-check (toolbox/check.py):", flush=True)
    return subprocess.run([sys.executable, CHECK, f"--{length}"], check=False).returncode != 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the rows as a JSON list")
    parser.add_argument("--verifier", action="append", default=[], metavar="MODULE:CLASS", help="one of one's own, too")
    parser.add_argument("--selfcheck", choices=["quick", "full"], help="then toolbox/check.py (not with --json)")
    options = parser.parse_args()
    rows = []
    for row in all_rows(options.verifier):
        rows.append(row)
        if not options.json:
            remedy = f"  ->  {row.remedy}" if row.remedy else ""
            print(f"{row.state:8} {row.name:18} {row.found}{remedy}", flush=True)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    failed = bool(options.selfcheck) and not options.json and self_check(options.selfcheck)
    if any(row.state in ("missing", "wrong") for row in rows):
        sys.exit("error: something that the tiny profile needs is missing, or a verifier is wrong (marked above)")
    if failed:  # which it has said
        sys.exit(1)


if __name__ == "__main__":
    run(main)
