"""Verifier `msvc_ssh`, against a real sshd on loopback with a `cl` that calls mingw behind it."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from stages.common import records
from stages.common.errors import InputError, SandboxError
from stages.common.records import Sample, Task
from stages.settings.verify import VerifySettings
from stages.verifiers import make, msvc_text
from stages.verifiers.msvc_ssh import MsvcSsh
from stages.verifiers.pool import verify_samples
from stages.verifiers.ssh import CancelledError
from stages.verifiers.verdicts import Finding
from tests.conftest import ROOT, Run
from tests.verifiers.loopback import MINGW, SSHD, WINE, Loopback, free_port

CASES = Path(__file__).parent / "cases"
GOOD = "int add(int a, int b) { return a + b; }\n"
needs_sshd = pytest.mark.skipif(not (SSHD and MINGW), reason="no sshd or no mingw: openssh-server, g++-mingw-w64")


class Idle:
    """What the verifier asks of a sandbox: whether its work is still wanted."""

    def __init__(self) -> None:
        self.closed = False


def load(name: str) -> list[dict[str, Any]]:
    """The cases of one file."""
    return [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def task(**changes: Any) -> Task:
    """A task in C++ without tests."""
    return dataclasses.replace(Task("t/1", "cpp", "Write it.", "msvc_ssh", None, "", []), **changes)


def settings(section: dict[str, Any], **limits: Any) -> VerifySettings:
    """Settings with this section verify.msvc_ssh."""
    return VerifySettings.parse({"msvc_ssh": section, "limits": limits, "workers": 4, "cache": False}, "test")


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """One daemon for all tests of this file."""
    with Loopback(tmp_path_factory.mktemp("loopback")) as running:
        yield running


@contextlib.contextmanager
def verifier(loopback: Loopback, limits: dict[str, Any] | None = None, **changes: Any) -> Iterator[MsvcSsh]:
    """A verifier on the daemon; nothing of it may stay over there."""
    made = make("msvc_ssh", settings(loopback.settings(**changes), **(limits or {})))
    assert isinstance(made, MsvcSsh)
    try:
        yield made
    finally:
        made.close()
    assert loopback.left() == []


def judge(made: MsvcSsh, code: str, **changes: Any) -> Finding:
    """The finding on one piece of code."""
    return made.verify(task(**changes), code, Idle())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def judged(loopback: Loopback) -> dict[tuple[str, int], Any]:
    """All cases, judged in one go: those that are compiled only, and those that run (with g++ for a compiler)."""
    found = {}
    for name, changes in (("msvc", {}), ("msvc_runs", {"run": True, "compiler": "g++"})):
        tasks, samples = {}, []
        for at, case in enumerate(load(name)):
            fields = {key: case[key] for key in ("language", "prompt", "entry_point", "tests", "cases")}
            tasks[f"{name}/{at}"] = Task(task_id=f"{name}/{at}", verifier="msvc_ssh", **fields)
            samples.append(Sample(f"{name}/{at}", 0, case["completion"]))
        with verifier(loopback, {"cpu_seconds": 1, "wall_factor": 1.0}, **changes) as made:
            verdicts = verify_samples(tasks, samples, made.settings, {"msvc_ssh": made})
            found |= {(name, at): verdict for at, verdict in enumerate(verdicts)}
    return found


ALL = [(name, at) for name in ("msvc", "msvc_runs") for at in range(len(load(name)))]


@needs_sshd
@pytest.mark.slow
@pytest.mark.parametrize("key", ALL, ids=lambda key: f"{key[0]}: {load(key[0])[key[1]]['name']}")
def test_verdict(judged: dict[tuple[str, int], Any], key: tuple[str, int]) -> None:
    case, verdict = load(key[0])[key[1]], judged[key]
    found = (verdict.reward, verdict.level, verdict.tests_passed, verdict.tests_total)
    assert found == (case["reward"], case["level"], case["passed"], case["total"]), verdict.detail
    assert len(verdict.detail) <= 200
    assert "halo-forge" not in verdict.detail and "job-" not in verdict.detail
    if "detail" in case:
        assert verdict.detail == case["detail"]


@pytest.mark.parametrize("case", load("cl_output"), ids=lambda case: case["name"])
def test_output_of_cl(case: dict[str, Any]) -> None:
    error = msvc_text.first_error(case["output"], case.get("opaque", False))
    assert msvc_text.has_warning(case["output"]) == case["warning"]
    assert (error.detail if error else None) == case["detail"]


HOSTILE = (
    "#",
    "#/*",
    "/*",
    "*/",
    "\\\n",
    "# include ",
    "#include <",
    "(",
    "main",
    "main ",
    "_Pragma(",
    '"',
    "//\n",
    "a",
)


@pytest.mark.parametrize("unit", HOSTILE)
def test_inspection_takes_linear_time(unit: str) -> None:
    code = unit * ((4 << 20) // len(unit))
    began = time.process_time()
    msvc_text.inspect(code)
    msvc_text.first_error(code, False)
    msvc_text.has_warning(code)
    assert time.process_time() - began < 20


@needs_sshd
def test_self_tests(loopback: Loopback) -> None:
    for changes in ({}, {"run": True, "compiler": "g++"}):
        with verifier(loopback, **changes) as made:
            assert made.check() is None
            for test in made.selftests():
                reward = made.verify(test.task, test.code, Idle()).reward  # type: ignore[arg-type]
                assert reward == test.reward if test.kind == "right" else reward < test.reward
            assert "stand-in" in made.fingerprint()["cl"]
            assert "127.0.0.1" not in json.dumps(made.fingerprint())


WINDOWS = ("an assert fails", "asserts pass", "one case fails", "it never ends", "the last line forged", "a library")


@needs_sshd
@pytest.mark.skipif(not WINE, reason="no wine, which has a cmd to run the batch script with")
@pytest.mark.slow
def test_the_batch_script(loopback: Loopback) -> None:
    """On a host whose cmd is wine's, with programs that wine runs."""
    limits = {"cpu_seconds": 2, "wall_factor": 1.0}
    changes = {"shell": "cmd", "setup": loopback.as_windows(), "run": True}
    with verifier(loopback, limits, **changes) as made:
        assert made.check() is None
        for case in load("msvc_runs"):
            if case["name"] in WINDOWS:
                fields = {key: case[key] for key in ("language", "tests", "cases")}
                found = judge(made, case["completion"], **fields)
                assert (found.reward, found.level, found.detail) == (case["reward"], case["level"], case["detail"])
        assert len(loopback.left()) == len(list(loopback.runs()[0].iterdir())) + 1  # no job's folder


def overlap(log: Path) -> int:
    """How many compilers ran at once, at most."""
    most = running = 0
    for line in log.read_text().split():
        running += 1 if line == "start" else -1
        most = max(most, running)
    return most


def judge_many(made: MsvcSsh, count: int) -> list[Finding]:
    """Findings on `count` programs, every third of them wrong, with a thread for each."""
    codes = [f"int f{n}() {{ return {n if n % 3 else 'x'}; }} // CL_DAWDLES\n" for n in range(count)]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda code: judge(made, code), codes))


EXPECTED = ["compiled" if n % 3 else "compile_error" for n in range(12)]


@needs_sshd
def test_many_at_once_on_one_connection(loopback: Loopback) -> None:
    log = loopback.folder / "cl.log"
    log.unlink(missing_ok=True)
    before = loopback.connections()
    with verifier(loopback, concurrency=3) as made:
        assert [finding.level for finding in judge_many(made, 12)] == EXPECTED
    assert loopback.connections() == before + 1
    assert 1 < overlap(log) <= 3


def masters() -> list[psutil.Process]:
    """The ssh masters that this process has started."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if child.name() == "ssh" and "-M" in child.cmdline():
                found.append(child)
    return found


@needs_sshd
@pytest.mark.parametrize("end", ["the daemon's side", "our side"])
def test_a_lost_connection_changes_no_verdict(loopback: Loopback, end: str) -> None:
    log = loopback.folder / "cl.log"
    log.unlink(missing_ok=True)
    before = loopback.connections()
    with verifier(loopback, concurrency=3) as made, ThreadPoolExecutor(1) as pool:
        findings = pool.submit(judge_many, made, 12)
        for count in (4, 10):
            deadline = time.monotonic() + 60
            while not log.exists() or log.read_text().count("start") < count:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            if end == "our side":
                for master in masters():
                    master.kill()
            else:
                loopback.cut()
        assert [finding.level for finding in findings.result()] == EXPECTED
        wait_until(lambda: len(loopback.runs()) == 1)  # the lost ones' folders go with their connections
    assert loopback.connections() > before + 1


def wait_until(holds: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@needs_sshd
def test_a_compiler_that_hangs(loopback: Loopback) -> None:
    """It is ended over there as well, and others go on beside it."""
    with verifier(loopback, compile_seconds=15.0) as made, ThreadPoolExecutor(2) as pool:
        hanging = pool.submit(judge, made, "// CL_HANGS\n")
        assert judge(made, GOOD).level == "compiled"
        found = hanging.result()
        assert (found.reward, found.level) == (0.0, "timeout")
        assert found.detail == "compiling: out of wall-clock time"
        here = str(loopback.home / loopback.remote)
        assert [p.pid for p in psutil.process_iter(["cwd"]) if (p.info["cwd"] or "").startswith(f"{here}/")] == []


@needs_sshd
def test_work_that_is_no_longer_wanted(loopback: Loopback) -> None:
    sandbox = Idle()
    with verifier(loopback) as made:
        judge(made, GOOD)
        threading.Timer(0.5, lambda: setattr(sandbox, "closed", True)).start()
        began = time.monotonic()
        with pytest.raises(CancelledError):
            made.verify(task(), "// CL_HANGS\n", sandbox)  # type: ignore[arg-type]
        assert time.monotonic() - began < 20


@needs_sshd
def test_a_flood_of_diagnostics(loopback: Loopback) -> None:
    with verifier(loopback) as made:
        flood = "".join(f"void f{n}(int {'x' * 80}) {{}}\n" for n in range(9000))
        found = judge(made, flood)
        assert (found.reward, found.level) == (0.0, "resource_limit")


@needs_sshd
def test_five_megabytes(loopback: Loopback) -> None:
    with verifier(loopback) as made:
        found = judge(made, "int x;\n" + "// a comment\n" * 400_000)
        assert (found.reward, found.level) == (0.5, "compiled")


@needs_sshd
def test_a_host_that_breaks(loopback: Loopback) -> None:
    """Without a compiler over there nothing is paid, and nothing is blamed on a sample."""
    with verifier(loopback, compiler="no-such-g++") as made, pytest.raises(SandboxError, match="a known-good program"):
        judge(made, GOOD)
    with verifier(loopback, setup="PATH=/nowhere") as made, pytest.raises(SandboxError, match="cl does not start"):
        judge(made, GOOD)
    with verifier(loopback, flags=["/W4", "/fast"]) as made, pytest.raises(SandboxError, match="with these flags"):
        made.check()


@needs_sshd
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"known_hosts": "stranger.pub"}, "Host key verification failed"),
        ({"key": "stranger"}, "Permission denied"),
        ({"key": "client.pub"}, "the key cannot be read|Permission denied"),
        ({"user": "nobody-of-this-name"}, "Permission denied"),
        ({"config": "host.pub"}, "configuration option"),
    ],
)
def test_a_host_that_does_not_let_us_in(loopback: Loopback, change: dict[str, str], message: str) -> None:
    """No other attempt is made, since none would fare better."""
    files = {name: str(loopback.folder / value) for name, value in change.items() if name != "user"}
    before = loopback.connections()
    with verifier(loopback, **{**change, **files}) as made, pytest.raises(SandboxError, match=message) as error:
        made.check()
    assert "\n" not in str(error.value) and f"127.0.0.1 port {loopback.port}" in str(error.value)
    assert loopback.connections() == before


@needs_sshd
def test_a_host_that_comes_up_late(tmp_path: Path) -> None:
    """It is tried again; and the paths here may hold spaces and percent signs."""
    late, folder = Loopback(tmp_path), tmp_path / "100%h of them"
    folder.mkdir()
    files = {"key": "client", "known_hosts": "known_hosts"}
    for name in files.values():
        (folder / name).write_bytes((tmp_path / name).read_bytes())
        (folder / name).chmod(0o600)
    threading.Timer(1.5, late.__enter__).start()
    try:
        with verifier(late, retries=10, **{key: str(folder / name) for key, name in files.items()}) as made:
            assert judge(made, GOOD).level == "compiled"
    finally:
        late.__exit__()


@needs_sshd
def test_a_strangers_host_key(loopback: Loopback) -> None:
    """Known under another key: that is refused, and so told."""
    known = loopback.folder / "wrong_known_hosts"
    kind, key, _ = (loopback.folder / "stranger.pub").read_text().split()
    known.write_text(f"[127.0.0.1]:{loopback.port} {kind} {key}\n")
    with verifier(loopback, known_hosts=str(known)) as made, pytest.raises(SandboxError, match="known_hosts"):
        made.check()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "host, user, key not set"),
        ({"host": "h", "user": "u"}, "key not set"),
        ({"host": "h", "user": "u", "key": "/nowhere/key"}, r"key: /nowhere/key: no such file"),
    ],
)
def test_incomplete_settings(section: dict[str, str], message: str) -> None:
    trouble = make("msvc_ssh", settings(section)).check()
    assert trouble and "\n" not in trouble
    assert message in trouble


def test_no_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "openssh-client" in str(make("msvc_ssh", settings({})).check())


def test_tasks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="language 'python'"):
        make("msvc_ssh", settings({})).check_task(task(language="python"))
    with pytest.raises(InputError, match="test text in C"):
        make("msvc_ssh", settings({"run": True})).check_task(task(language="c", tests="int main(void) { return 0; }"))


FLAGS = ("--tasks", "tasks.jsonl", "--samples", "samples.jsonl", "--out", "out/verdicts.jsonl")


def write_stage(folder: Path, section: dict[str, Any], codes: list[str]) -> None:
    """The files of one run of the stage."""
    records.write(folder / "tasks.jsonl", [task()])
    records.write(folder / "samples.jsonl", [Sample("t/1", n, code) for n, code in enumerate(codes)])
    (folder / "params.yaml").write_text(json.dumps({"verify": {"msvc_ssh": section, "cache": False}}))


def test_an_unreachable_host_is_an_error_of_the_stage(stage: Run, tmp_path: Path) -> None:
    """Never a reward: no verdict is written."""
    port = free_port()
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    section = {"host": "127.0.0.1", "port": port, "user": "me", "key": str(key), "retries": 2, "backoff_seconds": 0.1}
    write_stage(tmp_path, section, [GOOD])
    done = stage("verify", *FLAGS, code=1)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and f"127.0.0.1 port {port}" in errors[0] and "Connection refused" in errors[0]
    assert not (tmp_path / "out/verdicts.jsonl").exists()


@needs_sshd
def test_a_stage_over_ssh(stage: Run, tmp_path: Path, loopback: Loopback) -> None:
    write_stage(tmp_path, loopback.settings(), [GOOD, "int x = y;\n"])
    stage("verify", *FLAGS, "--timing", "timing.json")
    lines = (tmp_path / "out/verdicts.jsonl").read_text()
    assert [json.loads(line)["reward"] for line in lines.splitlines()] == [0.5, 0.0]
    assert "stand-in" in (tmp_path / "timing.json").read_text()
    for secret in ("127.0.0.1", str(loopback.port), loopback.remote, str(loopback.folder)):
        assert secret not in lines + (tmp_path / "timing.json").read_text()
    assert loopback.left() == []


@needs_sshd
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_stage(tmp_path: Path, loopback: Loopback, number: int) -> None:
    """However it ends, here or over there."""
    write_stage(tmp_path, loopback.settings(), ["// CL_HANGS\n"])
    command = [sys.executable, "-m", "stages.verify", *FLAGS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    wait_until(lambda: any(list(run.glob("job-*/group")) for run in loopback.runs()))
    children = psutil.Process(running.pid).children(recursive=True)
    time.sleep(0.5)
    running.send_signal(number)
    assert running.wait(30) != 0
    wait_until(lambda: loopback.left() == [])
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert b"Traceback" not in running.stderr.read()
