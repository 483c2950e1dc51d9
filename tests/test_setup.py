"""The front door: toolbox/setup.sh, the Makefile and the doctor.

setup.sh runs for real, with two stand-ins: a package manager that records and "installs" an empty command, since a test
must not change the machine, and an interpreter that records pip, since an install takes minutes.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stages.verifiers import REGISTRY

ROOT = Path(__file__).parents[1]
PINNED = "-c toolbox/constraints/setup.txt -e .[dev]"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COREUTILS = (
    "bash",
    "env",
    "dirname",
    "realpath",
    "cat",
    "cut",
    "paste",
    "tee",
    "sed",
    "tail",
    "sha256sum",
    "rm",
    "mkdir",
    "chmod",
    "id",
    "ln",
)

# Asked for a package, makes the command of that name (or the one that the package is for) appear.
PACKAGE_MANAGER = """#!/usr/bin/env bash
echo "${0##*/} $*" >>"$RECORD"
for word in "$@"; do
    case $word in bubblewrap) name=bwrap ;; gcc-c++) name=g++ ;; g++ | git | make) name=$word ;; *) continue ;; esac
    ln -s "$(command -v env)" "$BIN/$name"
done
"""
SUDO = """#!/usr/bin/env bash
echo "sudo $*" >>"$RECORD"
"$@"
"""
PYTHON = f"""#!/usr/bin/env bash
case "$1 $2" in
"-m venv") mkdir -p "${{@: -1}}/bin" && ln -sf "$0" "${{@: -1}}/bin/python" && echo "venv ${{*:3}}" >>"$RECORD" ;;
"-m pip") echo "pip ${{*:3}}" >>"$RECORD" && echo "$PIP_SAYS" && exit "$PIP_EXIT" ;;
*) exec {sys.executable} "$@" ;;
esac
"""


class Machine:
    """A bare machine: a PATH of one folder, into which the tests put what they want to be there."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.record = folder / "record"
        self.bin.mkdir(parents=True)
        self.record.touch()
        for name in COREUTILS:
            (self.bin / name).symlink_to(str(shutil.which(name)))
        self.add("python3", PYTHON)
        self.env = {
            "PATH": str(self.bin),
            "BIN": str(self.bin),
            "RECORD": str(self.record),
            "TMPDIR": str(folder),
            "VENV": str(folder / "venv"),
            "PIP_SAYS": "",
            "PIP_EXIT": "0",
        }

    def add(self, name: str, script: str = "#!/usr/bin/env bash\n") -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    def add_all_but(self, *absent: str) -> None:
        for name in {"bwrap", "g++", "git", "make"} - set(absent):
            self.add(name)

    def be_user(self) -> None:
        self.add("id", "#!/usr/bin/env bash\necho 1000\n")

    def be_root(self) -> None:
        self.add("id", "#!/usr/bin/env bash\necho 0\n")

    def setup(self, **env: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "toolbox/setup.sh")]
        return subprocess.run(command, env=self.env | env, capture_output=True, text=True, check=False)

    def recorded(self) -> list[str]:
        lines = self.record.read_text().splitlines()
        self.record.write_text("")
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.be_root()
    return machine


def is_error_line(text: str) -> bool:
    return text.startswith("error: ") and text.count("\n") == 1


def test_apt_installs_just_what_is_missing_and_says_so(machine: Machine) -> None:
    machine.add_all_but("bwrap", "g++")
    machine.add("apt-get", PACKAGE_MANAGER)
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    assert [line for line in machine.recorded() if line.startswith("apt-get")] == [
        "apt-get update",
        "apt-get install -y --no-install-recommends bubblewrap g++",
    ]
    assert "not found: bwrap g++; installing the packages: bubblewrap g++\n" in done.stdout
    assert "apt-get install -y --no-install-recommends bubblewrap g++\n" in done.stdout


def test_dnf_by_sudo_uses_fedora_names(machine: Machine) -> None:
    machine.be_user()
    machine.add_all_but("bwrap", "g++")
    machine.add("dnf", PACKAGE_MANAGER)
    machine.add("sudo", SUDO)
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    assert machine.recorded()[:2] == ["sudo dnf install -y bubblewrap gcc-c++", "dnf install -y bubblewrap gcc-c++"]
    assert "setup: sudo dnf install -y bubblewrap gcc-c++\n" in done.stdout


def test_neither_root_nor_sudo_is_one_line_that_names_the_packages(machine: Machine) -> None:
    machine.be_user()
    machine.add_all_but("bwrap", "g++")
    machine.add("apt-get", PACKAGE_MANAGER)
    done = machine.setup()
    assert done.returncode == 1
    assert is_error_line(done.stderr) and "packages installed: bubblewrap g++" in done.stderr
    assert machine.recorded() == []


def test_no_package_manager_is_one_line(machine: Machine) -> None:
    machine.add_all_but("git")
    done = machine.setup()
    assert done.returncode == 1
    assert is_error_line(done.stderr) and "git" in done.stderr


def test_package_that_does_not_help_is_an_error(machine: Machine) -> None:
    machine.add_all_but("bwrap")
    machine.add("apt-get")
    done = machine.setup()
    assert done.returncode == 1
    assert is_error_line(done.stderr) and "bwrap" in done.stderr


def test_no_python_of_the_right_age_is_one_line(machine: Machine) -> None:
    machine.add_all_but()
    machine.add("python3", "#!/usr/bin/env bash\nexit 1\n")  # what an old one answers, and a shim with nothing behind
    done = machine.setup()
    assert done.returncode == 1
    assert is_error_line(done.stderr) and "3.11" in done.stderr


def test_second_run_does_nothing_until_something_changes(machine: Machine) -> None:
    machine.add_all_but()
    assert machine.setup().returncode == 0
    venv = machine.env["VENV"]
    assert machine.recorded() == [f"venv {venv}", f"pip install --progress-bar off {PINNED}"]

    again = machine.setup()
    assert (again.returncode, again.stdout, machine.recorded()) == (0, "", [])

    machine.add("python3.12", PYTHON.replace("*) exec", '"-V ") echo "Python 3.12.99" ;;\n*) exec'))
    assert machine.setup(TORCH_INDEX="https://example.org/cpu").returncode == 0
    assert machine.recorded() == [
        f"venv --clear {venv}",
        f"pip install --progress-bar off --extra-index-url https://example.org/cpu {PINNED}",
    ]


def test_the_environment_of_an_image_is_left_alone(machine: Machine) -> None:
    """Neither root nor a package manager is there; another pyproject.toml is fine as long as its packages are."""
    venv = Path(machine.env["VENV"])
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (venv / "bin" / "python").chmod(0o755)
    mark = venv / "halo-forge.image"
    mark.write_text(hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest() + "  -\n")
    done = machine.setup()
    assert (done.returncode, done.stdout, done.stderr, machine.recorded()) == (0, "", "", [])
    mark.write_text("another\n")
    assert machine.setup().returncode == 0

    shutil.rmtree(venv)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)  # no packages at all
    mark.write_text("another\n")
    done = machine.setup()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: {venv}: made for another pyproject.toml; build the image again: toolbox/build.sh"
    )
    assert machine.recorded() == []


def test_torch_is_pinned_within_what_the_project_takes() -> None:
    """Exactly, so that a commit gives the same metrics; pyproject.toml has room for the containers' ROCm builds."""
    wanted = {r.name: r.specifier for r in map(Requirement, PROJECT["dependencies"])}
    assert wanted["torch"].contains(pins("setup.txt")["torch"])
    assert all(wanted["torch"].contains(f"{version}.0") for version in ("2.11", "2.12", "2.13"))


def test_every_package_is_pinned_and_the_containers_have_the_same_versions() -> None:
    """An install needs no search: without its pins, pip 23 tried versions of aiobotocore for more than an hour."""
    ours, box = pins("setup.txt"), pins("box.txt")
    for requirement in map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]):
        assert requirement.specifier.contains(ours[canonicalize_name(requirement.name)]), requirement
    assert box.items() <= ours.items(), dict(box.items() - ours.items())


def pins(name: str) -> dict[str, str]:
    """Of a file in toolbox/constraints, on this system: package -> version."""
    lines = (ROOT / "toolbox/constraints" / name).read_text().splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all(str(r.specifier).startswith("==") for r in found)
    return {
        canonicalize_name(r.name): str(r.specifier).removeprefix("==")
        for r in found
        if r.marker is None or r.marker.evaluate()
    }


def test_own_environment_on_the_path_is_not_the_interpreter(machine: Machine) -> None:
    machine.add_all_but()
    machine.setup()
    inside = Path(machine.env["VENV"], "bin")
    (inside / "python3.13").symlink_to(inside / "python")
    done = machine.setup(PATH=f"{inside}:{machine.bin}", PYTHON="python3.13")
    assert done.returncode == 1 and "python3.13" in done.stderr


def test_failed_install_shows_why_and_is_tried_again(machine: Machine) -> None:
    machine.add_all_but()
    failed = machine.setup(PIP_SAYS="no matching distribution", PIP_EXIT="1")
    assert failed.returncode == 1
    assert "no matching distribution" in failed.stderr
    assert "failed" in failed.stderr.splitlines()[-1]
    machine.recorded()
    assert machine.setup().returncode == 0
    assert f"pip install --progress-bar off {PINNED}" in machine.recorded()


def test_large_downloads_are_all_that_is_shown_of_pip(machine: Machine) -> None:
    machine.add_all_but()
    lines = (
        "Collecting torch",
        "  Downloading torch-2.13.0-py3.whl (800.1 MB)",
        "Downloading six-1.17.0-py3.whl (11 kB)",
    )
    done = machine.setup(PIP_SAYS="\n".join(lines))
    assert "setup: downloading torch-2.13.0-py3.whl (800.1 MB)\n" in done.stdout
    assert "six" not in done.stdout and "Collecting" not in done.stdout


def make(*arguments: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", "-C", ROOT, *arguments], env=env, capture_output=True, text=True, check=True).stdout


def test_help_is_the_default_and_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    text = make("--no-print-directory")
    assert [line.split()[0] for line in text.splitlines()] == phony[1].split()
    assert len({len(re.match(r"\S+\s+", line)[0]) for line in text.splitlines()}) == 1  # the help lines are aligned


@pytest.mark.parametrize(("name", "target"), [("PUBLIC", "push-hub"), ("VERSION", "release"), ("OUT", "gguf")])
def test_names_that_others_set_in_the_environment_are_not_taken_from_it(name: str, target: str) -> None:
    plain = {key: value for key, value in os.environ.items() if key != name and not key.startswith("MAKE")}
    given = {**plain, name: "1"}
    command = ["make", "-n", target, "REPO=org/name"]
    told = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=True).stdout
    assert told == subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=True).stdout
    asked = subprocess.run([*command, f"{name}=1"], cwd=ROOT, env=plain, capture_output=True, text=True, check=True)
    assert asked.stdout != told


def test_rollback_without_a_stage_deprecates_nothing() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")} | {"STAGE": "prod"}
    command = ["make", "-o", "setup", "rollback"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode and "error: STAGE: missing" in done.stderr and "gto" not in done.stdout
    assert "STAGE of the environment is not taken" in done.stderr


def test_repro_sets_up_first_and_runs_dvc() -> None:
    setup, settings, repro = make("--no-print-directory", "-n", "repro").splitlines()
    assert setup == "toolbox/setup.sh"
    assert settings.strip().endswith("/bin/python -m stages.settings")
    assert repro.endswith("/bin/dvc repro")
    assert "-m stages.settings --profile smoke\n" in make("-n", "repro", "PROFILE=smoke")
    assert "-m stages.cycles --cycles 5\n" in make("-n", "raft", "CYCLES=5")


@functools.cache
def doctor(*arguments: str, **env: str) -> tuple[int, dict[str, dict]]:
    """Exit code of `python -m stages.doctor --json`, and its rows by name."""
    command = [sys.executable, "-m", "stages.doctor", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, check=False)
    return done.returncode, {row["name"]: row for row in json.loads(done.stdout)}


def test_doctor_reports_every_check_as_json() -> None:
    code, rows = doctor()
    assert {"python", "torch", "dvc", "sandbox", "g++", "git", "params.yaml", "cores"} <= set(rows)
    assert {"nesting", "/proc", "cgroup limits"} <= set(rows)
    states = {name: row["state"] for name, row in rows.items()}
    assert set(states.values()) <= {"ok", "missing", "wrong", "warning"}
    assert code == (not {"missing", "wrong"}.isdisjoint(states.values()))


def test_doctor_runs_every_verifiers_self_tests() -> None:
    """Each either judges as it must, or names what it lacks and where that comes from."""
    _, rows = doctor()
    for name in REGISTRY:
        row = rows[f"verifier {name}"]
        if row["state"] == "ok":
            assert re.match(r"[3-9]\d* self-tests, .*\d", row["found"]), row
        else:
            assert row["state"] == "warning" and row["remedy"], row
    assert rows["verifier pytest"]["state"] == "ok"


OWN = """
from tests.verifiers.test_selftest import Credulous, Shell
"""


def test_doctor_runs_ones_own_self_tests(tmp_path: Path) -> None:
    """One that pays for a wrong program is told, and fails the whole."""
    (tmp_path / "own.py").write_text(OWN)
    arguments = ("--verifier", "own:Credulous", "--verifier", "own:Shell")
    code, rows = doctor(*arguments, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert code == 1
    assert rows["verifier own:Shell"]["state"] == "ok"
    assert rows["verifier own:Credulous"] == {
        "name": "verifier own:Credulous",
        "state": "wrong",
        "found": "self-test 2, a wrong program, earns 1.0 (pass)",
        "remedy": "expected less than 1.0",
    }


def test_doctor_without_bubblewrap(tmp_path: Path) -> None:
    """What is lacking is told with the line that installs it; nothing is judged."""
    for name in ("git", "make", "g++"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    code, rows = doctor(PATH=str(tmp_path))
    assert code == 1
    assert rows["sandbox"]["state"] == "missing"
    assert "apt-get install bubblewrap, or dnf install bubblewrap" in rows["sandbox"]["remedy"]
    assert rows["verifier pytest"]["state"] == "wrong"
