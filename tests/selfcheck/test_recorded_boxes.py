"""What the self-check reads of a Strix Halo's kernel, devices and environment: recorded trees, good and bad ones."""

import json
import multiprocessing
import os
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.selfcheck.trees import FILES, GIB, GPU, INFO, MES, OPTIONS, PACMAN, dpkg, tree
from toolbox.checks import device, environment, kernel_log
from toolbox.checks.box import Box, look
from toolbox.checks.compute import judge_bandwidth, judge_products
from toolbox.checks.every import of_system
from toolbox.checks.results import Result

LOG = (Path(__file__).parent / "kernel_log.txt").read_text().splitlines()
NODE = f"{GPU}/drm/renderD128/dev"
RELEASE, CMDLINE, LIMIT = "proc/sys/kernel/osrelease", "proc/cmdline", "sys/module/ttm/parameters/pages_limit"


def seen(root: Path, *items: int) -> dict[str, Result]:
    return {result.name: result for result in of_system(root, items or (1, 2))}


def test_a_good_box_passes(tmp_path: Path) -> None:
    results = seen(tree(tmp_path))
    assert {result.status for result in results.values()} == {"pass"}, results
    names = {"/dev/kfd", "render node", "kernel", "firmware", "kernel command line", "GTT", "carve-out"}
    assert set(results) == names
    assert results["GTT"].figures["gtt_bytes"] == 124 * GIB
    assert results["firmware"].found == "package linux-firmware-amdgpu 20260622-1"


def test_another_machine_is_skipped_and_told_why(tmp_path: Path) -> None:
    results = seen(tree(tmp_path, **{f"{GPU}/device": "0x1900"}), 1, 2, 4)
    assert [(r.item, r.status) for r in results.values()] == [(1, "skipped"), (2, "skipped"), (4, "skipped")]
    assert all("1002:1586" in result.found and result.remedy for result in results.values())


@pytest.mark.parametrize(
    ("release", "status"),
    [
        ("6.18.4", "pass"),
        ("6.18.3-arch1-1", "fail"),
        ("7.0.0-28-generic", "pass"),
        ("6.17.0-19-generic", "pass"),
        ("6.17.0-5-generic", "fail"),
        ("6.17.0-1018-oem", "fail"),
        ("6.17.7-300.fc43.x86_64", "pass"),
        ("6.17.7-200.fc42.x86_64", "fail"),
        ("", "skipped"),
    ],
)
def test_kernels(tmp_path: Path, release: str, status: str) -> None:
    result = seen(tree(tmp_path, **{RELEASE: release}))["kernel"]
    assert result.status == status
    assert release in result.found
    assert status == "pass" or result.remedy


BAD: dict[str, tuple[dict[str, object], str, str, str]] = {
    "no kfd": ({"dev/kfd": None}, "/dev/kfd", "fail", "--device /dev/kfd"),
    "no render node": ({"dev/dri/renderD128": None}, "render node", "fail", "--device /dev/dri"),
    "no driver": (
        dict.fromkeys((f"{GPU}/drm/card1/dev", NODE)),
        "render node",
        "fail",
        "modprobe",
    ),
    "default GTT": (
        {f"{GPU}/mem_info_gtt_total": 62 * GIB, CMDLINE: "quiet", LIMIT: 62 * GIB // 4096},
        "GTT",
        "fail",
        OPTIONS,
    ),
    "option without effect": ({f"{GPU}/mem_info_gtt_total": 120 * GIB}, "GTT", "fail", OPTIONS),
    "limit of the memory manager": ({LIMIT: 62 * GIB // 4096}, "GTT", "fail", "ttm.pages_limit=32505856"),
    "less than there could be": (
        {f"{GPU}/mem_info_gtt_total": 96 * GIB, CMDLINE: "amdgpu.gttsize=98304"},
        "GTT",
        "warning",
        OPTIONS,
    ),
    "no driver, no GTT": ({f"{GPU}/mem_info_gtt_total": None}, "GTT", "skipped", "modprobe"),
    "carve-out": ({f"{GPU}/mem_info_vram_total": 96 * GIB}, "carve-out", "fail", "BIOS"),
    "no such option": ({CMDLINE: "amd_iommu=pt"}, "kernel command line", "warning", "amd_iommu=off"),
    "nomodeset": ({CMDLINE: "nomodeset"}, "kernel command line", "fail", "remove it"),
    "pacman's": (
        {PACMAN: None, "var/lib/pacman/local/linux-firmware-amdgpu-20251125-1/desc": "%NAME%"},
        "firmware",
        "fail",
        "initramfs",
    ),
    "dpkg's": ({PACMAN: None, "var/lib/dpkg/status": dpkg("20251125.git1-0ubuntu1")}, "firmware", "fail", "initramfs"),
    "what runs": ({INFO: MES.format("0x00000083")}, "firmware", "fail", "initramfs"),
    "a pair": (
        {
            PACMAN: None,
            RELEASE: "7.2.1-arch1-1",
            "var/lib/pacman/local/linux-firmware-20260810-1/desc": "%NAME%",
        },
        "firmware",
        "warning",
        "20260622",
    ),
    "nothing told": ({PACMAN: None}, "firmware", "skipped", "amdgpu_firmware_info"),
    "no date": ({PACMAN: None, "var/lib/dpkg/status": dpkg("1.2.3")}, "firmware", "skipped", "amdgpu_firmware_info"),
    "in a container": ({"run/.containerenv": ""}, "firmware", "skipped", "amdgpu_firmware_info"),
}


@pytest.mark.parametrize(("changes", "name", "status", "remedy"), BAD.values(), ids=BAD)
def test_a_bad_box(tmp_path: Path, changes: dict[str, object], name: str, status: str, remedy: str) -> None:
    """Just what is wrong is told, with the way to mend it."""
    results = seen(tree(tmp_path, **changes))
    assert results[name].status == status
    assert remedy in results[name].remedy
    others = {n: r.status for n, r in results.items() if n != name}
    assert status == "skipped" or set(others.values()) == {"pass"}, others


def test_what_runs_counts_before_the_package(tmp_path: Path) -> None:
    bad = {PACMAN: None, "var/lib/dpkg/status": dpkg("20251125-1"), INFO: MES.format("0x00000080")}
    result = seen(tree(tmp_path, **bad))["firmware"]
    assert (result.status, result.found) == ("pass", "MES 0x80, package linux-firmware 20251125-1")


def test_the_host_s_packages_are_read_from_a_toolbx(tmp_path: Path) -> None:
    host = {"run/host/usr/x": "", "run/host/var/lib/dpkg/status": dpkg("20251125")}
    result = seen(tree(tmp_path, **{"run/.containerenv": ""}, **host))["firmware"]
    assert (result.status, result.found) == ("fail", "package linux-firmware 20251125")


def test_rpm_is_asked_for_the_host_s_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in: the program is not on every machine that runs the tests."""
    rpm = tmp_path / "bin/rpm"
    rpm.parent.mkdir()
    rpm.write_text('#!/bin/sh\necho "$*" >"$0.asked"\necho amd-gpu-firmware 20251125-1.fc43\n')
    rpm.chmod(0o755)
    monkeypatch.setenv("PATH", str(rpm.parent), prepend=os.pathsep)
    database = "usr/lib/sysimage/rpm"
    root = tree(tmp_path / "box", **{PACMAN: None, f"{database}/rpmdb.sqlite": ""})
    result = seen(root)["firmware"]
    assert (result.status, result.found) == ("fail", "package amd-gpu-firmware 20251125-1.fc43")
    assert f"--dbpath {root / database} -q" in Path(f"{rpm}.asked").read_text()


def seen_by_nobody(root: Path) -> dict[str, Result]:
    if os.geteuid() == 0:
        os.setuid(65534)
    return seen(root, 1)


def test_a_device_that_is_closed_to_this_user() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = tree(Path(folder))
        for path in (root, *root.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        (root / "dev/kfd").chmod(0o600 if os.geteuid() == 0 else 0o440)
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            result = pool.submit(seen_by_nobody, root).result()["/dev/kfd"]
    assert (result.status, result.found) == ("fail", "permission denied")
    assert "usermod -aG render,video" in result.remedy and "keep-groups" in result.remedy


GOOD_ENVIRONMENT = {environment.AOTRITON: "1", "PYTORCH_HIP_ALLOC_CONF": "expandable_segments:True"}


@pytest.mark.parametrize(
    ("changes", "name", "status", "remedy"),
    [
        ({"HSA_OVERRIDE_GFX_VERSION": "11.0.0"}, "HSA override", "fail", "unset HSA_OVERRIDE_GFX_VERSION"),
        ({"PYTORCH_HIP_ALLOC_CONF": "x:1,backend:malloc"}, "allocator", "fail", "expandable_segments:True"),
        ({"PYTORCH_ALLOC_CONF": "backend:malloc"}, "allocator", "fail", "export PYTORCH_ALLOC_CONF"),
        ({environment.AOTRITON: "0"}, "AOTriton", "fail", f"export {environment.AOTRITON}=1"),
        ({"ROCBLAS_USE_HIPBLASLT": "1"}, "GEMM library", "warning", "unset ROCBLAS_USE_HIPBLASLT"),
        ({"HSA_ENABLE_SDMA": "0"}, "other variables", "warning", "unset HSA_ENABLE_SDMA"),
    ],
)
def test_the_environment(tmp_path: Path, changes: dict[str, str], name: str, status: str, remedy: str) -> None:
    box = look(tree(tmp_path))
    good = list(environment.check_environment(box, GOOD_ENVIRONMENT, flash_attn=False))
    assert {result.status for result in good} == {"pass"}
    results = {r.name: r for r in environment.check_environment(box, GOOD_ENVIRONMENT | changes, flash_attn=False)}
    assert results[name].status == status
    assert remedy in results[name].remedy
    assert [n for n, r in results.items() if r.status != "pass"] == [name]


def test_variables_that_only_some_machines_need(tmp_path: Path) -> None:
    box = look(tree(tmp_path, **{"run/.containerenv": ""}))
    (last,) = [r for r in environment.check_environment(box, GOOD_ENVIRONMENT, True) if r.status != "pass"]
    assert "FLASH_ATTENTION_TRITON_AMD_ENABLE" in last.remedy and "PYTHONNOUSERSITE=1" in last.remedy
    more = {"FLASH_ATTENTION_TRITON_AMD_ENABLE": "TRUE", "PYTHONNOUSERSITE": "1"}
    assert all(r.status == "pass" for r in environment.check_environment(box, GOOD_ENVIRONMENT | more, True))


FACTS = {
    "torch": "2.12.0+rocm7.14.0",
    "hip": "7.14.1",
    "cuda": None,
    "built_for": ["gfx1151"],
    "gpu": "Radeon 8060S Graphics",
    "architecture": "gfx1151",
    "memory_bytes": 124 * GIB,
}
NO_GPU = {key: value for key, value in FACTS.items() if key not in ("gpu", "architecture", "memory_bytes")}


@pytest.mark.parametrize(
    ("facts", "name", "status", "words"),
    [
        ({**NO_GPU, "torch": "2.13.0", "hip": None, "cuda": "13.0"}, "torch's build", "fail", "is a CUDA 13.0 build"),
        ({**NO_GPU, "torch": "2.13.0+cpu", "hip": None}, "torch's build", "fail", "is a CPU build"),
        ({**FACTS, "built_for": ["gfx90a", "gfx942"]}, "torch's build", "fail", "kernels for gfx90a, gfx942"),
        (NO_GPU, "architecture", "fail", "torch sees no GPU"),
        ({**FACTS, "architecture": "gfx1100"}, "architecture", "fail", "gfx1100"),
        ({**FACTS, "memory_bytes": 62 * GIB}, "memory", "fail", "62.0 GiB, GTT is 124.0 GiB"),
        ({**FACTS, "memory_bytes": 124 * GIB + GIB // 2}, "memory", "pass", "124.5 GiB"),
        ({**FACTS, "architecture": "gfx1151:sramecc+"}, "architecture", "pass", "gfx1151"),
    ],
)
def test_what_torch_says(tmp_path: Path, facts: dict, name: str, status: str, words: str) -> None:
    box = look(tree(tmp_path))
    assert {r.status for r in device.judge(box, FACTS)} == {"pass"}
    result = {r.name: r for r in device.judge(box, facts)}[name]
    assert result.status == status
    assert words in result.found
    assert status == "pass" or result.remedy


def test_torch_elsewhere_is_only_told() -> None:
    (result,) = device.judge(None, {**FACTS, "gpu": "NVIDIA H100", "hip": None})
    assert result.status == "skipped"
    assert "NVIDIA H100" in result.found


def test_figures_below_those_of_others_warn_on_gfx1151_alone() -> None:
    """Theirs are ranges that were measured elsewhere: no failure, and no word on another machine."""
    good = {"float32": {"forward": 3e12}, "bfloat16": {"forward": 33e12, "dgrad": 30e12, "wgrad": 35e12}}
    slow = {**good, "bfloat16": {"forward": 33e12, "dgrad": 30e12, "wgrad": 9e12}}
    assert judge_products("gfx1151", "Radeon", good).status == "pass"
    assert judge_products("gfx1151", "Radeon", slow).status == "warning"
    assert judge_products("cuda", "H100", slow).status == "pass"
    assert judge_bandwidth("gfx1151", 215e9).status == "pass"
    assert "others measured" in judge_bandwidth("gfx1151", 120e9).expected
    assert judge_bandwidth("cpu", 5e9).status == "pass"


def test_faults_in_the_kernel_log() -> None:
    assert {kind: len(lines) for kind, lines in kernel_log.faults(LOG).items()} == {
        "MES": 3,
        "ring timeout": 1,
        "page fault": 1,
        "GPU reset": 1,
    }
    assert kernel_log.judge(LOG[:2], LOG[:2]).status == "pass"
    new = kernel_log.judge(LOG[:2], LOG)
    assert (new.status, "3 x MES" in new.found, "REMOVE_QUEUE" in new.found) == ("fail", True, True)
    assert kernel_log.judge(LOG, LOG).status == "warning"
    closed = kernel_log.judge(None, None)
    assert closed.status == "skipped"
    assert "kernel.dmesg_restrict=0" in closed.remedy


def test_a_closed_kernel_log_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dmesg refuses; journalctl shows nothing and calls it success. The next that shows lines is taken."""
    for name, script in (("dmesg", "echo denied >&2; exit 1"), ("journalctl", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kernel_log.read() is None
    (tmp_path / "journalctl").write_text("#!/bin/sh\necho a line\n")
    assert kernel_log.read() == ["a line"]


def check(*arguments: object, code: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "toolbox/check.py", *map(str, arguments)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_the_command_fails_where_a_check_does(tmp_path: Path) -> None:
    good, bad = tree(tmp_path / "good"), tree(tmp_path / "bad", **{RELEASE: "6.17.0-5-generic"})
    assert "pass      2 kernel" in check("--root", good, "--only", "1,2", code=0).stdout
    done = check("--root", bad, "--only", "2", "--json", tmp_path / "out.json", code=1)
    assert done.stderr == "error: the self-check: 1 failed: kernel\n"
    told = json.loads((tmp_path / "out.json").read_text())
    assert {"item", "name", "status", "found", "expected", "remedy", "figures"} == set(told["results"][0])
    assert [row["name"] for row in told["results"] if row["status"] == "fail"] == ["kernel"]


@pytest.mark.parametrize("only", ["13", "0", "x", "", "5,"])
def test_items_that_there_are_not(only: str) -> None:
    assert check("--only", only, code=1).stderr.startswith("error: --only: found '")


def test_the_trees_are_what_they_say(tmp_path: Path) -> None:
    """A tree that lacks a file that a check reads would pass for another reason."""
    box = look(tree(tmp_path))
    assert box == Box(tmp_path, tmp_path / GPU)
    assert (box.release, box.in_container) == ("6.18.4-arch1-1", False)
    assert box.memory == 130_988_020 * 1024
    assert stat.S_ISREG((tmp_path / "dev/kfd").stat().st_mode)
    assert set(FILES) >= {RELEASE, CMDLINE, LIMIT, PACMAN}
