"""toolbox/build.sh with stand-ins for podman and docker, which record what they are told."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.toolbox.standins import ENGINE, TOOLBOX, Machine, is_error_line

BASES = {
    "fedora": "registry.fedoraproject.org/fedora:43",
    "ubuntu": "docker.io/library/ubuntu:24.04",
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """With podman, and a copy of what an image is built of."""
    shutil.copytree(TOOLBOX, tmp_path / "clone" / "toolbox", ignore=shutil.ignore_patterns("vendor", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "clone")
    machine = Machine(tmp_path)
    machine.add("podman", ENGINE)
    return machine


def build(machine: Machine, *words: str, code: int = 0, **env: str) -> str:
    return machine.run(machine.folder / "clone/toolbox/build.sh", *words, code=code, **env)


def built(machine: Machine) -> list[str]:
    """The words of the build commands since the last look, but for the label."""
    lines = [line for line in machine.recorded() if line.split()[1] == "build"]
    return [re.sub(r" --label halo-forge\.inputs=[0-9a-f]{64}", "", line) for line in lines]


def test_the_box_is_built_once(machine: Machine) -> None:
    line = "podman build --tag localhost/halo-forge:latest --file toolbox/Containerfile ."
    assert "next: toolbox/box.sh create" in build(machine)
    assert built(machine) == [line]
    told = build(machine)
    assert "localhost/halo-forge:latest is up to date" in told and "next: toolbox/box.sh create" in told
    assert built(machine) == []
    build(machine, "--force")
    assert built(machine) == [line.replace(" .", " --no-cache --pull .")]


@pytest.mark.parametrize(
    "changed",
    ["Containerfile", "image/check-image.sh", "image/profile.d/halo-forge.sh", "constraints/box.txt", "llama-cpp.env"],
)
def test_a_changed_input_builds_again(machine: Machine, changed: str) -> None:
    build(machine)
    machine.recorded()
    path = machine.folder / "clone/toolbox" / changed
    path.write_text(path.read_text() + "# edited\n")
    build(machine)
    assert len(built(machine)) == 1


def test_what_the_image_does_not_hold_builds_nothing(machine: Machine) -> None:
    build(machine)
    machine.recorded()
    (machine.folder / "clone/toolbox/Containerfile.cpu").write_text("FROM scratch\n")
    (machine.folder / "clone/toolbox/README.md").write_text("edited\n")
    build(machine)
    assert built(machine) == []


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (("--base", "ubuntu"), [f"BASE={BASES['ubuntu']}"]),
        (("box", "--base", "fedora"), [f"BASE={BASES['fedora']}"]),
        (("--base", "example.org/base@sha256:12"), ["BASE=example.org/base@sha256:12"]),
        (("--torch", "2.11"), ["TORCH_VERSION=2.11.0+rocm7.14.0"]),
        (("--torch", "2.12"), ["TORCH_VERSION=2.12.0+rocm7.14.0"]),
        (
            ("--torch", "2.13"),
            ["TORCH_VERSION=2.13.0+rocm10.0.0", "TORCH_INDEX=https://stable.repo.amd.com/rocm/whl-next/"],
        ),
        (("--no-flash-attn",), ["FLASH_ATTN=0"]),
        (("--arg", "PYTHON=python3.13", "--arg", "GFX=gfx1150"), ["PYTHON=python3.13", "GFX=gfx1150"]),
        (("vllm", "--arg", "MAX_JOBS=8"), ["MAX_JOBS=8"]),
        (("cpu",), []),
    ],
)
def test_variants(machine: Machine, words: tuple[str, ...], arguments: list[str]) -> None:
    """Each is told as ARGs that its Containerfile has, and is another image than the default: it is built again."""
    image = words[0] if words[0] in ("vllm", "cpu") else ""
    if not image:
        build(machine)
        machine.recorded()
    build(machine, *words)
    tag, file = (f"halo-forge-{image}", f"Containerfile.{image}") if image else ("halo-forge", "Containerfile")
    told = "".join(f" --build-arg {argument}" for argument in arguments)
    assert built(machine) == [f"podman build --tag localhost/{tag}:latest --file toolbox/{file}{told} ."]
    declared = re.findall(r"^ARG (\w+)=", (TOOLBOX / file).read_text(), re.MULTILINE)
    assert {argument.partition("=")[0] for argument in arguments} <= set(declared)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gpu",), "found 'gpu', expected box, vllm or cpu"),
        (("--torch", "2.10"), "--torch: found '2.10', expected 2.11, 2.12 or 2.13"),
        (("vllm", "--torch", "2.12"), "--torch: found for 'vllm', expected for box"),
        (("--torch",), "--torch: found nothing behind it"),
        (("--base", "arch"), "--base: found 'arch', expected fedora, ubuntu or an image"),
        (("--arg", "GFX"), "--arg: found 'GFX', expected NAME=VALUE"),
        (("--arg", "GXF=1"), "--arg: found 'GXF', expected one of: BASE PYTHON GFX TORCH_VERSION"),
        (("--engine", "lxc"), "--engine: found 'lxc', expected podman or docker"),
        (("--engine", "docker"), "no docker here"),
        (("--frce",), "unknown option '--frce'"),
    ],
)
def test_a_wrong_word_is_one_line(machine: Machine, words: tuple[str, ...], message: str) -> None:
    told = build(machine, *words, code=1)
    assert is_error_line(told) and message in told
    assert machine.recorded() == []


def test_no_engine_is_told_how_to_get_one(machine: Machine) -> None:
    (machine.bin / "podman").unlink()
    told = build(machine, code=1)
    assert is_error_line(told)
    assert "dnf install podman toolbox" in told and "apt-get install podman podman-toolbox" in told


def test_docker_where_there_is_no_podman(machine: Machine) -> None:
    (machine.bin / "podman").rename(machine.bin / "docker")
    build(machine)
    assert built(machine) == ["docker build --tag localhost/halo-forge:latest --file toolbox/Containerfile ."]


def test_a_failed_build_is_an_error_and_is_tried_again(machine: Machine) -> None:
    told = build(machine, code=1, FAILS="1")
    assert "no space left on device\nerror: build.sh: podman could not build localhost/halo-forge:latest" in told
    assert len(built(machine)) == 1
    build(machine)
    assert len(built(machine)) == 1


def test_make_toolbox() -> None:
    command = ["make", "-C", ROOT, "--no-print-directory", "-n", "toolbox", "IMAGE=box", "ARGS=--torch 2.11"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == (
        "toolbox/build.sh box --torch 2.11\n"
    )
