"""The steps of the images' builds, as far as Debian and a CPU carry them, and the Containerfiles that call them.

sh, sed, apt-cache and the project's own environment are real. Package managers and the commands that change users are
stand-ins that record, since a test must not change the machine.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.toolbox.standins import TOOLBOX, Machine, is_error_line

IMAGE = TOOLBOX / "image"
PROFILE = IMAGE / "profile.d" / "halo-forge.sh"
CONTAINERFILES = sorted(TOOLBOX.glob("Containerfile*"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def rows() -> list[list[str]]:
    """(images, apt's name, dnf's name) of packages.txt."""
    lines = (IMAGE / "packages.txt").read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def names(image: str, column: int) -> list[str]:
    return [row[column] for row in rows() if row[0] in ("all", image) and row[column] != "-"]


@pytest.mark.parametrize(
    ("image", "manager", "first"),
    [
        ("box", "dnf", "dnf -y --nodocs --setopt=install_weak_deps=False install python3.12 python3.12-devel"),
        ("box", "apt-get", "apt-get install -yq --no-install-recommends python3.12 python3.12-venv python3.12-dev"),
        ("cpu", "apt-get", "apt-get install -yq --no-install-recommends python3.12 python3.12-venv python3.12-dev"),
        ("vllm", "apt-get", "apt-get install -yq --no-install-recommends python3.12 python3.12-venv python3.12-dev"),
    ],
)
def test_system_packages(machine: Machine, image: str, manager: str, first: str) -> None:
    machine.add(manager)
    machine.run(IMAGE / "install-system.sh", image, ROOT=str(machine.folder))
    (line,) = [line for line in machine.recorded() if " install " in line]
    packages = names(image, {"apt-get": 1, "dnf": 2}[manager])
    assert line == " ".join([first, *packages])
    assert {"git", "make", "bubblewrap"} <= set(packages) and "-" not in packages


def test_what_has_no_packages_is_one_line(machine: Machine) -> None:
    told = machine.run(IMAGE / "install-system.sh", "box", code=1)
    assert is_error_line(told) and "neither dnf nor apt-get" in told
    machine.add("dnf")
    assert is_error_line(told := machine.run(IMAGE / "install-system.sh", "bx", code=1)) and "found 'bx'" in told
    assert is_error_line(told := machine.run(IMAGE / "install-system.sh", "vllm", code=1)) and "Ubuntu" in told
    assert machine.recorded() == []


def test_apt_knows_the_packages() -> None:
    """Debian's names are Ubuntu's for all of them; the interpreters are the base images' own."""
    apt = shutil.which("apt-cache")
    if apt is None or subprocess.run([apt, "show", "bash"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs apt with its lists: apt-get update")
    wanted = sorted({row[1] for row in rows()} - {"-"})
    shown = subprocess.run([apt, "show", *wanted], capture_output=True, text=True, check=False)
    assert set(wanted) - set(re.findall(r"^Package: (\S+)$", shown.stdout, re.MULTILINE)) == set()


def settings(text: str) -> dict[str, str]:
    """The variables of a Containerfile's ENV instructions."""
    lines = re.findall(r"^ENV (.*)$", text.replace("\\\n", " "), re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in line.split())


def test_login_shells_have_the_environment() -> None:
    """Variable by variable, in plain sh, from an environment that has the wrong ones; twice changes nothing."""
    script = f". {PROFILE}; . {PROFILE}; env"
    before = {"PATH": "/usr/bin:/bin", "HSA_OVERRIDE_GFX_VERSION": "11.0.0", "PYTHONNOUSERSITE": ""}
    told = subprocess.run(["sh", "-c", script], env=before, capture_output=True, text=True, check=True).stdout
    after = dict(line.split("=", 1) for line in told.splitlines())
    assert {name: value for name, value in after.items() if name not in ("PWD", "SHLVL", "_", "OLDPWD")} == {
        "TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL": "1",
        "PYTORCH_HIP_ALLOC_CONF": "expandable_segments:True",
        "FLASH_ATTENTION_TRITON_AMD_ENABLE": "TRUE",
        "PYTHONNOUSERSITE": "1",
        "PIP_CONSTRAINT": "/opt/halo-forge/constraints.txt",
        "UV_CONSTRAINT": "/opt/halo-forge/constraints.txt",
        "VIRTUAL_ENV": "/opt/venv",
        "VENV": "/opt/venv",
        "LLAMA_CPP": "/opt/llama.cpp",
        "PATH": "/opt/venv/bin:/usr/bin:/bin",
    }
    own = {**after, "PATH": "/opt/venv/bin:$PATH"}
    image = settings((TOOLBOX / "Containerfile").read_text())
    assert image == {name: own[name] for name in image} and len(image) == 10


class Users:
    """Stand-ins for the commands on users and groups, over a folder with the files that toolbx.sh changes."""

    def __init__(self, machine: Machine, passwd: Iterable[str], groups: Iterable[str], hosts: str) -> None:
        self.machine = machine
        known = [f"passwd:{name}" for name in passwd] + [f"group:{name}" for name in groups]
        cases = "\n".join(f'"{k.split(":")[0]} {k.split(":")[1]}") echo {k.split(":")[1]}:x:1:1 ;;' for k in known)
        machine.add("getent", f'#!/usr/bin/env bash\ncase "$1 $2" in\n{cases}\n*) exit 2 ;;\nesac\n')
        for name in ("userdel", "groupadd", "useradd", "usermod", "passwd", "sudo"):
            machine.add(name)
        for name in ("ln", "readlink", "rmdir", "sleep", "test", "unlink"):
            machine.add(name)
        self.etc = machine.folder / "etc"
        self.etc.mkdir()
        (self.etc / "nsswitch.conf").write_text(f"passwd: files\n{hosts}\nnetworks: files\n")
        (self.etc / "machine-id").write_text("0123\n")

    def run(self, code: int = 0) -> str:
        return self.machine.run(IMAGE / "toolbx.sh", code=code, ROOT=str(self.machine.folder))


def test_fit_for_toolbx_on_ubuntu(machine: Machine) -> None:
    users = Users(machine, ["ubuntu"], ["video", "sudo"], "hosts:          files dns")
    users.run()
    assert machine.recorded() == ["userdel --remove ubuntu", "groupadd --force --gid 105 render"]
    assert "\nhosts:          files myhostname dns\n" in (users.etc / "nsswitch.conf").read_text()
    assert (users.etc / "sudoers.d" / "toolbox").read_text() == "%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n"
    assert (users.etc / "sudoers.d" / "toolbox").stat().st_mode & 0o777 == 0o440
    assert (users.etc / "machine-id").read_text() == "" and (users.etc / "krb5.conf.d").is_dir()


def test_fit_for_toolbx_on_fedora(machine: Machine) -> None:
    hosts = "hosts:      files myhostname resolve [!UNAVAIL=return] dns"
    users = Users(machine, [], ["wheel"], hosts)
    users.run()
    assert machine.recorded() == ["groupadd --force --gid 105 render", "groupadd --force --gid 39 video"]
    assert hosts in (users.etc / "nsswitch.conf").read_text()
    assert (users.etc / "sudoers.d" / "toolbox").read_text() == "%wheel ALL=(ALL:ALL) NOPASSWD: ALL\n"


def test_unfit_for_toolbx_is_one_line(machine: Machine) -> None:
    users = Users(machine, ["1000"], ["video"], "hosts: dns")
    assert is_error_line(told := users.run(code=1)) and "user id 1000 belongs to '1000'" in told
    (machine.bin / "usermod").unlink()
    assert is_error_line(told := users.run(code=1)) and "no command 'usermod'" in told
    machine.add("usermod")
    machine.add("getent", "#!/usr/bin/env bash\nexit 2\n")
    assert is_error_line(told := users.run(code=1)) and "expected a line 'hosts: files ...'" in told


@pytest.mark.slow
def test_the_cpu_images_check_on_this_machine(tmp_path: Path) -> None:
    """The last step of the CPU image's build, on the environment that the tests run in."""
    import torch

    (tmp_path / "constraints.txt").write_text(f"torch=={torch.__version__}\n")
    env = os.environ | {
        "VENV": sys.prefix,
        "CONSTRAINTS": str(tmp_path / "constraints.txt"),
        "TORCH_VERSION": str(torch.__version__),
        "MANIFEST": str(tmp_path / "manifest.txt"),
    }
    command = [IMAGE / "check-image.sh", "cpu"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("ok  ") for line in done.stdout.splitlines())
    assert f"torch=={torch.__version__}\n" in (tmp_path / "manifest.txt").read_text()
    wrong = subprocess.run(command, env=env | {"TORCH_VERSION": "2.0"}, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1 and is_error_line(wrong.stderr) and "expected 2.0" in wrong.stderr


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda path: path.name)
def test_a_containerfile_is_whole(file: Path) -> None:
    """hadolint finds nothing, every file that it copies is there, every step is a script, every commit is whole."""
    text = file.read_text()
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, file], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).is_file(), source
    for line in re.findall(r"^RUN (.*)$", text.replace("\\\n", " "), re.MULTILINE):
        script = re.findall(r"toolbox/\S+\.sh", line)
        assert script or line.startswith("git config"), line
        assert all(os.access(ROOT / path, os.X_OK) for path in script), line
    commits = re.findall(r"^ARG \w+_COMMIT=(.*)$", text, re.MULTILINE)
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit in commits)
    # A script, and the files beside it that it calls, are copied before it runs.
    for step in re.finditer(r"^RUN .*?toolbox/image/(\S+\.sh)", text.replace("\\\n", "  "), re.MULTILINE):
        needs = {step[1], *re.findall(r"\$here/([\w-]+\.\w+)", (IMAGE / step[1]).read_text())}
        copied = re.findall(
            r"toolbox/image/(\S+)", " ".join(re.findall(r"^COPY .*$", text[: step.start()], re.MULTILINE))
        )
        assert needs <= set(copied), (step[1], needs)


def test_the_converters_pin() -> None:
    """Two lines that shell scripts and Python alike can read."""
    lines = [line for line in (TOOLBOX / "llama-cpp.env").read_text().splitlines() if not line.startswith("#")]
    assert re.fullmatch(r"LLAMA_CPP_TAG=\S+", lines[0]) and re.fullmatch(r"LLAMA_CPP_COMMIT=[0-9a-f]{40}", lines[1])
    assert len(lines) == 2


def test_vendored_crates_of_the_container(tmp_path: Path) -> None:
    """Outside the container the option is one line; the link itself is made where the folder is."""
    shutil.copytree(TOOLBOX, tmp_path / "toolbox", ignore=shutil.ignore_patterns("vendor", "__pycache__"))
    script = tmp_path / "toolbox" / "vendor-crates.sh"
    done = subprocess.run([script, "--image"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and is_error_line(done.stderr) and "/opt/halo-forge" in done.stderr
    (tmp_path / "image" / "tokio-1.0.0").mkdir(parents=True)
    script.write_text(script.read_text().replace("/opt/halo-forge/toolbox/crates/vendor", str(tmp_path / "image")))
    done = subprocess.run([script, "--image"], capture_output=True, text=True, check=False)
    assert done.stdout == "toolbox/crates/vendor: 1 crates\n"
    assert (tmp_path / "toolbox/crates/vendor").resolve() == tmp_path / "image"
