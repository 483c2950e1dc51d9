"""The onlooker, beside a real stage that runs, and on recorded files of a machine with an accelerator."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.common import records
from stages.common.records import Sample
from tests.conftest import ROOT, Run, make_task

GIB = 2**30


def test_a_running_stage(tmp_path: Path, stage: Run) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "params.yaml").write_text("verify: {limits: {cpu_seconds: 30}}\n")
    records.write(tmp_path / "t.jsonl", [make_task(1)])
    texts = ["def f(xs):\n    return [x + 1 for x in xs]\n", "while True:\n    pass\n"]
    records.write(tmp_path / "s.jsonl", [Sample("t/1", n, text) for n, text in enumerate(texts)])
    files = ("--tasks", "t.jsonl", "--samples", "s.jsonl", "--out", "v.jsonl", "--timing", "verify-cycle-7.json")
    command = [sys.executable, "-m", "stages.verify", *files]
    running = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        deadline = time.monotonic() + 30
        said = ""
        while "1 / 2 programs" not in said and time.monotonic() < deadline:
            said = stage("watch", "--once").stdout
        line = next(line for line in said.splitlines() if "verify-cycle-7" in line)
        assert "verify s" in line and "1 / 2 programs" in line and "/s" in line
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait()
    assert not list((tmp_path / ".dvc/tmp/halo-forge").iterdir()), "its progress is gone with it"
    assert "no stage is running in this project" in stage("watch", "--once").stdout


def test_an_accelerator_in_sysfs(tmp_path: Path, stage: Run) -> None:
    device = tmp_path / "root/sys/class/drm/card1/device"
    device.mkdir(parents=True)
    (tmp_path / "root/sys/class/drm/card1-HDMI-A-1").mkdir()
    values = {"gpu_busy_percent": 87, "mem_info_vram_used": GIB, "mem_info_vram_total": 2 * GIB}
    values |= {"mem_info_gtt_used": 31 * GIB, "mem_info_gtt_total": 124 * GIB}
    for name, value in values.items():
        (device / name).write_text(f"{value}\n")
    proc = tmp_path / "root/proc"
    proc.mkdir()
    (proc / "loadavg").write_text("1.50 1.00 0.50 2/345 6789\n")
    (proc / "meminfo").write_text(f"MemTotal: {128 << 20} kB\nMemFree: 1 kB\nMemAvailable: {96 << 20} kB\n")
    said = stage("watch", "--once", "--root", "root").stdout
    assert "card1: load 87 %, VRAM 1.0 of 2.0 GiB, GTT 31.0 of 124.0 GiB\n" in said
    assert "load 1.50 on" in said and "memory 32.0 of 128.0 GiB" in said
    (device / "gpu_busy_percent").write_text("")
    assert "card1: VRAM 1.0 of 2.0 GiB" in stage("watch", "--once", "--root", "root").stdout


def test_a_stage_is_a_line_whatever_it_forks_or_is_started_by(tmp_path: Path, stage: Run) -> None:
    (tmp_path / ".dvc").mkdir()
    for pid, parent, words in (
        (7, 1, "timeout 60 python -m stages.sample --timing metrics/timing/sample-cycle-1.json"),
        (8, 7, "python3.11 -m stages.sample --timing metrics/timing/sample-cycle-1.json"),
        (9, 8, "python3.11 -m stages.sample --timing metrics/timing/sample-cycle-1.json"),
        (10, 8, "python3.11 -m stages.verify --timing metrics/timing/verify-cycle-1.json"),
    ):
        folder = tmp_path / f"root/proc/{pid}"
        folder.mkdir(parents=True)
        (folder / "cwd").symlink_to(tmp_path)
        (folder / "cmdline").write_text(words.replace(" ", "\0") + "\0")
        (folder / "stat").write_text(f"{pid} (a) name) S {parent}{' 0' * 17} 4321")
    (tmp_path / "root/proc/loadavg").write_text("1.50 1.00 0.50 2/345 6789\n")
    (tmp_path / "root/proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 5 kB\n")
    said = stage("watch", "--once", "--root", "root").stdout
    assert said.count("sample-cycle-1") == 1 and said.count("verify-cycle-1") == 1


@pytest.mark.parametrize(("started", "told"), [(4321, "3 / 5 tasks"), (1234, "starting or ending (pid 8)")])
def test_the_state_that_a_killed_run_left_is_not_told_of_the_process_that_got_its_pid(
    tmp_path: Path, stage: Run, started: int, told: str
) -> None:
    state = {"label": "sample", "unit": "tasks", "done": 3, "total": 5, "note": "", "spent": 1.0, "left": None}
    (tmp_path / ".dvc/tmp/halo-forge").mkdir(parents=True)
    (tmp_path / ".dvc/tmp/halo-forge/8.json").write_text(json.dumps({**state, "process_started": started}))
    folder = tmp_path / "root/proc/8"
    folder.mkdir(parents=True)
    (folder / "cwd").symlink_to(tmp_path)
    (folder / "cmdline").write_text("python3.11\0-m\0stages.sample\0--timing\0metrics/timing/sample-cycle-1.json\0")
    (folder / "stat").write_text(f"8 (python) S 1{' 0' * 17} 4321")
    (tmp_path / "root/proc/loadavg").write_text("1.50 1.00 0.50 2/345 6789\n")
    (tmp_path / "root/proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 5 kB\n")
    assert told in stage("watch", "--once", "--root", "root").stdout
