"""Pairs of a judge and a candidate, and the planner before them: faults, answers that come too late, descriptors."""

import os
from collections.abc import Iterator

import pytest

from stages.common.errors import SandboxError
from stages.common.records import Task
from stages.sandbox import Sandbox, View, host
from stages.settings.verify import VerifySettings
from stages.verifiers.python import Python
from stages.verifiers.verdicts import Finding

SETTINGS = VerifySettings.parse({"limits": {"cpu_seconds": 2, "tmp_mb": 8}}, "test")
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return 7\n"
TESTS = "assert add(1, 2) == 3\n"


@pytest.fixture(params=["nested", "single"])
def sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setenv("HALO_FORGE_NESTED", "1" if request.param == "nested" else "0")
    with Sandbox() as made:
        yield made


def verify(sandbox: Sandbox, code: str, task_id: str = "t", tests: str = TESTS) -> Finding:
    task = Task(task_id, "python", "Write it.", "pytest", "add", tests, [])
    return Python(SETTINGS).verify(task, code, sandbox)


def test_no_faults(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault costs a sample its only other attempt, so there are none on a sound machine."""

    def fail(*_: object) -> None:
        raise AssertionError("a fault")

    monkeypatch.setattr(sandbox, "_discard_all", fail)
    for number in range(3):
        assert verify(sandbox, RIGHT, f"t{number}").reward == 1.0
        assert verify(sandbox, "print(1)", f"p{number}", tests="").reward == 0.7


def test_an_answer_that_comes_too_late(sandbox: Sandbox) -> None:
    """The plan of one task, not waited for, is not taken for the next one's."""
    assert verify(sandbox, RIGHT).reward == 1.0
    planner = next(zygote for zygote in sandbox._zygotes.values() if "planner" in zygote.residents)
    question = {"kind": "plan", "tests": "assert True", "entry_point": None, "prompt": ""}
    planner.begin({**question, "tmp_mb": 8, "limits": SETTINGS.limits.job()}).close()
    assert verify(sandbox, WRONG, "another").reward == 0.7


@pytest.mark.parametrize("broken", ["judge", "candidate"])
def test_a_machine_that_has_lost_one_kind_of_job(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """It is the machine's fault, not the sample's, also where other kinds still run."""
    begin = host._Zygote.begin
    monkeypatch.setattr(
        host._Zygote, "begin", lambda self, job, peer=None: begin(self, _unmountable(job, broken), peer)
    )
    with pytest.raises(SandboxError, match="no longer runs a known-good program"):
        verify(sandbox, RIGHT)


def _unmountable(job: dict, broken: str) -> dict:
    return {**job, "limits": {**job["limits"], "open_files": "many"}} if job["kind"] == broken else job


def test_descriptors(sandbox: Sandbox) -> None:
    """A candidate has the usual three, its channel and the judge's socket; this process keeps none of theirs."""
    code = "import os\nfound = sorted(map(int, os.listdir('/proc/self/fd')))\ndef add(a, b):\n    return found[:-1]\n"
    assert verify(sandbox, code, tests="assert add(1, 2) == [0, 1, 2, 3, 4]\n").reward == 1.0
    before = len(os.listdir("/proc/self/fd"))
    for number in range(10):
        verify(sandbox, RIGHT, f"t{number}")
    assert len(os.listdir("/proc/self/fd")) <= before + 6  # those of zygotes that single mode starts


def test_known_good_jobs_need_a_view(sandbox: Sandbox) -> None:
    """The probe of each kind is good where everything is."""
    for kind in ("program", "plan", "steps"):
        report = sandbox.run(host.known_good(kind, 1), View(tmp_mb=1))
        assert host.is_good(report), kind
    pair = [(host.known_good(kind, 1), View(tmp_mb=1)) for kind in ("judge", "candidate")]
    assert all(map(host.is_good, sandbox.run_pair(*pair[0], *pair[1]) or [None]))
