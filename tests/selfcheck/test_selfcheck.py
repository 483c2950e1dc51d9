"""The self-check on this machine: all of it, quickly; and checks that crash, hang or compute wrongly."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stages import doctor
from stages.common import machine
from stages.lm import measuring, metering
from stages.planning import work
from tests.conftest import ROOT
from toolbox.checks import attention, stress
from toolbox.checks.box import look
from toolbox.checks.every import ISOLATED, ITEMS
from toolbox.checks.isolated import run_isolated
from toolbox.checks.results import Isolated, Result

Run = tuple[subprocess.CompletedProcess[str], dict, Path]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The command as `make doctor` starts it, its JSON, and the cache folder that it had."""
    folder = tmp_path_factory.mktemp("check")
    command = [sys.executable, "toolbox/check.py", "--quick", "--json", folder / "check.json"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done, json.loads((folder / "check.json").read_text()), folder / "cache"


@pytest.mark.slow
def test_every_item_says_something_here(whole: Run) -> None:
    done, told, _ = whole
    results = [Result(**row) for row in told["results"]]
    failed = [result for result in results if result.status == "fail"]
    assert (done.returncode, done.stderr, failed) == (0, "", [])
    assert {result.item for result in results} == set(ITEMS)
    assert {result.status for result in results} <= {"pass", "warning", "skipped"}
    assert done.stdout.splitlines() == [result.line() for result in results]
    assert all(result.found for result in results)
    # Without the box or a GPU just what needs them is skipped; what was computed has passed.
    computed = {"matrix products", "bandwidth", "attention's parity", "nf4", "8-bit AdamW", "LoRA step", "sampling"}
    assert computed <= {result.name for result in results if result.status in ("pass", "warning")}
    if not torch.cuda.is_available():
        assert {"torch and HIP", "flash-attn", "stress"} <= {r.name for r in results if r.status == "skipped"}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available() or look(Path("/")) is not None, reason="the page is of a CPU")
def test_the_page_shows_what_is_printed_here(whole: Run) -> None:
    rows = r"^(?:pass|warning|skipped)\s+(\d+) (.{22}) "
    page = re.findall(rows, (ROOT / "docs/HARDWARE_NOTES.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert page == re.findall(rows, whole[0].stdout, re.MULTILINE)


@pytest.mark.slow
def test_figures_are_kept_and_used(whole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the plan for a device of this kind, and by utilisation, which both name them."""
    _, told, cache = whole
    figures = {row["name"]: row["figures"] for row in told["results"]}
    assert figures["LoRA step"]["matmul_measured_by"] == machine.DOCTOR
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    (kept,) = json.loads(machine.path().read_text()).values()
    rates = work.rates_of(kept["kind"], "float32", kept["threads"])
    assert rates.source == f"measured by make doctor on {kept['name']}"
    tflops = figures["matrix products"]["tflops"]["float32"]
    assert rates.flops / 1e12 == pytest.approx(tflops["forward"], abs=1e-4)
    assert (rates.dgrad, rates.wgrad) == (kept["flops"]["float32"]["dgrad"], kept["flops"]["float32"]["wgrad"])
    assert rates.bandwidth / 1e9 == pytest.approx(figures["bandwidth"]["gigabytes_per_second"], abs=0.01)
    measuring.devices.use_threads(kept["threads"])
    assert metering.matmul_rate(torch.float32) == (rates.flops, machine.DOCTOR)


def test_the_plan_names_whose_rates_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a device of the profile's kind, and of no other."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert work.rates_of("gfx1151", "bfloat16", 0) == work.PUBLISHED["gfx1151"]
    box = machine.Device("gfx1151", "Radeon 8060S", 0, "2.12.0")
    flops = {"forward": 30e12, "dgrad": 30e12, "wgrad": 10e12}
    machine.record(box, by=machine.DOCTOR, bfloat16=flops)
    assert work.rates_of("gfx1151", "bfloat16", 0) == work.PUBLISHED["gfx1151"], "no bandwidth yet"
    machine.record(box, by=machine.DOCTOR, bandwidth=200e9)
    for device in ("cuda", "cpu"):
        assert work.rates_of(device, "bfloat16", 0) == work.PUBLISHED[device]
    rates = work.rates_of("gfx1151", "bfloat16", 0)
    assert rates == work.Rates(30e12, 200e9, "measured by make doctor on Radeon 8060S", 30e12, 10e12)
    # Two products at 30 and one at 10 take as long as three at 18; frozen weights have no gradient.
    assert rates.training(adapter=False, again=False) == pytest.approx(18e12)
    assert rates.training(adapter=True, again=True) == pytest.approx(30e12)
    command = [sys.executable, "-m", "stages.plan", "--profile", "gfx1151", "--disk-gib", "500"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "rates: measured by make doctor on Radeon 8060S (sft, sample, raft, " in told


@pytest.mark.parametrize("content", ["", "[]", '{"x": 1}', '{"x": {"kind": "cpu", "bandwidth": "1", "flops": 7}}'])
def test_a_broken_file_of_figures_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine.path().parent.mkdir()
    machine.path().write_text(content)
    assert machine.newest("cpu", "float32") is None
    device = machine.Device("cpu", "x", 2, "2")
    machine.record(device, by=machine.TRAINING, float32={"forward": 1.0})
    assert machine.of_device(device, "float32") == machine.Measured("x", "a training", 1.0, None, None, None)


def ending(*names: str, seconds: float = 30.0, full: bool = False) -> list[Result]:
    checks = [Isolated(number, name, f"tests.selfcheck.ends:{name}", seconds) for number, name in enumerate(names, 1)]
    return list(run_isolated(checks, full))


def test_a_crash_is_a_result_and_the_rest_goes_on() -> None:
    fine, crash, *two, last = ending("fine", "crashes", "two", "fine", full=True)
    assert crash.status == "fail"
    assert "ended by SIGSEGV; its last line: Memory access fault by GPU node-1" in crash.found
    assert "--only 2" in crash.remedy
    assert [(r.name, r.status) for r in two] == [("one", "pass"), ("other", "fail")]
    assert (fine.found, last.found) == ("full", "full")
    assert fine.figures != last.figures, "another process"


def test_an_error_is_a_result_and_what_follows_has_a_process_of_its_own() -> None:
    first, second, third, last = ending("fine", "raises", "leaves", "fine")
    assert (second.status, second.found) == ("fail", "RuntimeError: HIP error: invalid device function")
    assert (third.status, third.found.partition(";")[0]) == ("fail", "the process ended with 3 and no answer")
    assert (last.status, last.found) == ("pass", "quick")
    assert first.figures != last.figures


def test_a_hang_ends_with_all_of_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is deaf to SIGTERM, and whose child holds the pipe open."""
    monkeypatch.setattr("toolbox.checks.isolated.SECONDS_TO_START", 8.0)
    hang, last = ending("hangs", "fine", seconds=0.5)
    assert hang.status == "fail"
    assert hang.found == "no answer in 0.5 s; its last line: loading data with workers 2, pinned"
    assert last.status == "pass"
    assert not [line for line in processes() if "tests.selfcheck.ends:hangs" in line]


def processes() -> list[str]:
    files = Path("/proc").glob("[0-9]*/cmdline")
    return [text for text in map(command_line, files) if text]


def command_line(file: Path) -> str:
    try:
        return file.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:  # it has ended
        return ""


def test_attention_that_is_wrong_is_found() -> None:
    """A mask that is left out, a scale that is off, a gradient that is missing, a number that is none."""
    assert attention.away(64, 4, 2, padded=True)[0] < attention.TOLERANCE
    wrong = {
        "mask": lambda q, k, v, mask: attention.sdpa(q, k, v, None),
        "scale": lambda q, k, v, mask: attention.sdpa(q * 1.2, k, v, mask),
        "gradient": lambda q, k, v, mask: attention.sdpa(q, k, v.detach(), mask) + 0 * v.sum(),
        "number": lambda q, k, v, mask: attention.sdpa(q, k, v, mask) * float("nan"),
    }
    for name, tried in wrong.items():
        assert attention.away(64, 4, 2, padded=True, tried=tried)[0] > attention.TOLERANCE, name
    assert "dv, head width 128, 4 heads on 1" in attention.away(128, 4, 1, padded=False, tried=wrong["gradient"])[1]


def test_the_load_finds_results_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stress.stress(0.2, side=64, length=64).status == "pass"
    count, right = iter(range(1000)), stress._work
    monkeypatch.setattr(stress, "_work", lambda *parts: tuple(t * (1 + (next(count) == 9)) for t in right(*parts)))
    assert stress.stress(5.0, side=64, length=64).status == "fail"


def test_each_check_is_there_and_doctor_passes_a_failure_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for check in ISOLATED:
        module, _, name = check.function.partition(":")
        assert f"def {name}(full: bool)" in (ROOT / f"{module.replace('.', '/')}.py").read_text()
    script = tmp_path / "check.py"
    monkeypatch.setattr(doctor, "CHECK", script)
    for code in (0, 1):
        script.write_text(f"import sys\nsys.exit({code} if sys.argv[1:] == ['--full'] else 7)\n")
        assert doctor.self_check("full") == (code == 1)


def test_make_doctor_is_quick_unless_asked() -> None:
    for arguments, length in ((), "quick"), (("FULL=1",), "full"):
        command = ["make", "--no-print-directory", "-n", "doctor", *arguments]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert told.endswith(f"-m stages.doctor --selfcheck {length}\n")
