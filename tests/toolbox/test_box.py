"""toolbox/box.sh with stand-ins for toolbx and the engines: the commands are the README's."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.toolbox.standins import ENGINE, TOOLBOX, TOOLBX, Machine, is_error_line

HERE = f"--volume {ROOT}:{ROOT} --workdir {ROOT} --security-opt label=disable --security-opt seccomp=unconfined"
PODMAN = f"podman run --rm {HERE} --userns keep-id"
GPU = "--device /dev/kfd --device /dev/dri --ipc host"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add("podman", ENGINE)
    machine.add("toolbox", TOOLBX)
    return machine


def box(machine: Machine, *words: str, code: int = 0, **env: str) -> str:
    return machine.run(TOOLBOX / "box.sh", *words, code=code, **env)


def test_create_once_and_enter(machine: Machine) -> None:
    box(machine, "create")
    assert machine.recorded()[-1] == "toolbox create halo-forge --image localhost/halo-forge:latest"
    assert "there is a container halo-forge already" in box(machine, "create")
    assert machine.recorded() == ["podman container exists halo-forge"]
    box(machine, "enter")
    assert machine.recorded() == ["toolbox enter halo-forge"]
    (machine.folder / "record.container").unlink()
    box(machine, "create", NAME="other", IMAGE="localhost/other:1")
    assert machine.recorded()[-1] == "toolbox create other --image localhost/other:1"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("run", "make", "doctor"),
            f"{PODMAN} {GPU} --group-add keep-groups --security-opt unmask=ALL localhost/halo-forge:latest make doctor",
        ),
        (("cpu",), f"{PODMAN} --security-opt unmask=ALL localhost/halo-forge-cpu:latest make repro"),
        (
            ("vllm", "models/sft", "--max-model-len", "4096"),
            f"{PODMAN} {GPU} --group-add keep-groups --publish 127.0.0.1:8000:8000 localhost/halo-forge-vllm:latest "
            "vllm serve models/sft --served-model-name models/sft --host 0.0.0.0 --port 8000 --dtype bfloat16 "
            "--generation-config vllm --logprobs-mode processed_logprobs --max-model-len 4096",
        ),
    ],
)
def test_podman_lines(machine: Machine, words: tuple[str, ...], line: str) -> None:
    """What is run is what --print prints."""
    assert box(machine, "--print", *words) == line + "\n"
    assert machine.recorded() == []
    box(machine, *words)
    assert machine.recorded() == [line]


def test_docker_names_the_groups_by_number(machine: Machine) -> None:
    """The host's numbers: the image's group of that name may have another. And no keep-groups, which is podman's."""
    machine.add("getent", '#!/usr/bin/env bash\n[[ $2 == render ]] && echo "render:x:992:"\n')
    machine.add("docker", ENGINE)
    (machine.bin / "podman").unlink()
    box(machine, "run", "true")
    (line,) = machine.recorded()
    assert line.startswith("docker run --rm") and "--group-add 992" in line and "keep-groups" not in line
    assert line.count("--group-add") == 1
    assert "--security-opt systempaths=unconfined" in line and "--device /dev/kfd" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("creat",), "found 'creat', expected create, enter, run, vllm or cpu"),
        (("create", "x"), "create: found 'x' behind it, expected nothing"),
        (("vllm",), "vllm: found no model, expected a checkpoint's folder"),
    ],
)
def test_a_wrong_word_is_one_line(machine: Machine, words: tuple[str, ...], message: str) -> None:
    told = box(machine, *words, code=1)
    assert is_error_line(told) and message in told
    assert machine.recorded() == []


def test_what_is_not_there_is_told_with_its_packages(machine: Machine) -> None:
    (machine.bin / "toolbox").unlink()
    assert is_error_line(told := box(machine, "create", code=1)) and "dnf install toolbox" in told
    (machine.bin / "podman").unlink()
    assert is_error_line(told := box(machine, "run", code=1)) and "dnf install podman" in told
    assert is_error_line(told := box(machine, "run", code=1, ENGINE="lxc")) and "found 'lxc'" in told


def test_the_page_says_what_is_run() -> None:
    """The podman line of toolbox/README.md has every word of box.sh's, but for this folder's name."""
    text = (TOOLBOX / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^podman run .*$", text, re.MULTILINE)
    assert " ".join(line.split()) == (
        f"{PODMAN} {GPU} --group-add keep-groups --security-opt unmask=ALL localhost/halo-forge:latest".replace(
            str(ROOT), '"$PWD"'
        ).replace('"$PWD":"$PWD"', '"$PWD:$PWD"')
        + " /bin/bash -l"
    )
