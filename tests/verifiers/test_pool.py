"""Many samples at once: order, one verdict each, flat memory, nothing judged twice, errors that stop."""

import dataclasses
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from stages.common.errors import InputError, SandboxError
from stages.common.records import Sample, Task
from stages.sandbox import Sandbox
from stages.settings.verify import VerifySettings
from stages.verifiers import make, pool
from stages.verifiers.base import Verifier
from stages.verifiers.verdicts import COMPILED, RAN, RUNS, Finding
from tests.conftest import make_task

SETTINGS = VerifySettings(workers=2, cache=False)
TASKS = {task.task_id: task for task in map(make_task, range(5))}


def good(number: int) -> str:
    """A right solution of task `number`."""
    return f"def f(xs):\n    return [x + {number} for x in xs]\n"


def test_one_verdict_per_sample_in_order() -> None:
    """Slow samples do not overtake or get overtaken in the output."""
    slow = "import time\ntime.sleep(0.2)\n"
    samples = [Sample(f"t/{n % 5}", n, (slow if n % 7 == 0 else "") + good(n % 5) + f"# {n}\n") for n in range(60)]
    verdicts = list(pool.verify_samples(TASKS, iter(samples), SETTINGS))
    assert [(v.task_id, v.sample) for v in verdicts] == [(s.task_id, s.sample) for s in samples]
    assert {v.reward for v in verdicts} == {1.0}


class Counting(Verifier):
    """Runs nothing; notes what it is asked."""

    asked: list[str] = []  # noqa: RUF012

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """Ran."""
        self.asked.append(code)
        if code == "fault()":
            raise SandboxError("the machine is broken")
        return Finding(RUNS, RAN)

    def selftests(self) -> tuple[()]:
        """None: this one judges nothing."""
        return ()


OWN = {"t/1": dataclasses.replace(TASKS["t/1"], verifier=f"{__name__}:Counting")}


def test_identical_code_is_judged_once() -> None:
    Counting.asked.clear()
    samples = [Sample("t/1", n, f"Take this:\n```python\nx = {n % 3}\n```\nNumber {n}.") for n in range(100)]
    assert len(list(pool.verify_samples(OWN, samples, SETTINGS))) == 100
    assert sorted(Counting.asked) == ["x = 0\n", "x = 1\n", "x = 2\n"]


def test_memory_is_flat() -> None:
    """Ten times the samples, the same peak."""

    def peak(count: int) -> int:
        samples = (Sample("t/1", n, f"x = {n % 9000}\n" + "#" * 500) for n in range(count))
        tracemalloc.start()
        assert sum(1 for _ in pool.verify_samples(OWN, samples, SETTINGS)) == count
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    Counting.asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Counting, "asked", type("Nothing", (), {"append": lambda *_: None})())
        peak(5_000)  # what is loaded late counts for nobody
        assert peak(50_000) < 1.2 * peak(8_000)


def test_few_samples_wait() -> None:
    """The source is not read far ahead of the verdicts."""
    read = []

    def source() -> Iterator[Sample]:
        for n in range(5_000):
            read.append(n)
            yield Sample("t/1", n, f"x = {n}")

    stream = pool.verify_samples(OWN, source(), SETTINGS)
    next(stream)
    assert len(read) <= pool.WINDOW_PER_WORKER * 2 + 1
    stream.close()


def test_a_fault_of_the_machine_stops_everything() -> None:
    samples = [Sample("t/1", n, "fault()" if n == 50 else f"x = {n}") for n in range(100)]
    with pytest.raises(SandboxError, match="machine is broken"):
        list(pool.verify_samples(OWN, samples, SETTINGS))


def test_unknown_task() -> None:
    with pytest.raises(InputError, match=r"sample 3 of task 't/9': no such task"):
        list(pool.verify_samples(TASKS, [Sample("t/9", 3, "")], SETTINGS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verifier": "pytset"}, r"task 't/0': unknown verifier 'pytset'; did you mean 'pytest'\? known: pytest, gcc"),
        ({"verifier": "nowhere:Class"}, "task 't/0': verifier 'nowhere:Class' cannot be imported"),
        ({"verifier": "json:JSONDecoder"}, "no class of stages.verifiers.base.Verifier"),
        ({"language": "cobol"}, "task 't/0': language 'cobol': verifier 'pytest' expects python"),
    ],
)
def test_tasks_that_cannot_be_judged(change: dict[str, Any], message: str) -> None:
    """Told before the first sample is read."""
    with pytest.raises(InputError, match=message):
        pool.verify_samples({"t/0": make_task(0, **change)}, (1 / 0 for _ in "x"), SETTINGS)


def test_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.verifiers.c_family.find", lambda _name: None)
    with pytest.raises(SandboxError, match=r"verifier 'gcc': gcc and g\+\+ not found; apt-get install g\+\+"):
        pool.make_verifiers({"t/0": make_task(0, verifier="gcc", language="cpp")}, SETTINGS)


@pytest.mark.parametrize(
    "wrong", [{"flags": ["-nonsense"]}, {"cpp_standard": "c++99"}, {"libraries": ["nolib"]}], ids=str
)
def test_compiler_settings_that_build_nothing_stop_the_stage(wrong: dict[str, Any]) -> None:
    """They must not come out as compile errors of every sample."""
    settings = VerifySettings.parse({"gcc": wrong}, "test")
    tasks = {"t/0": make_task(0, language="cpp", verifier="gcc", entry_point=None, tests="")}
    with pytest.raises(SandboxError, match="does not compile a known-good file"):
        list(pool.verify_samples(tasks, [Sample("t/0", 0, "int main() {}")], settings))


def test_missing_package() -> None:
    settings = VerifySettings.parse({"pytest": {"packages": ["no-such-thing"]}}, "test")
    with pytest.raises(InputError, match="Python package 'no-such-thing' is not installed"):
        make("pytest", settings)


def test_packages_can_be_imported() -> None:
    """Only those that the settings name, and what they require."""
    code = "import rich, markdown_it\ntry:\n    import yaml\nexcept ImportError:\n    pass\nelse:\n    1 / 0\n"
    settings = VerifySettings.parse({"pytest": {"packages": ["rich"]}}, "test")
    (verdict,) = pool.verify_samples(TASKS, [Sample("t/2", 0, code + good(2))], settings)
    assert verdict.reward == 1, verdict.detail


def test_a_finding_keeps_to_the_ladder() -> None:
    with pytest.raises(ValueError, match="level 'compiled' does not pay"):
        Finding(RUNS, COMPILED)
    with pytest.raises(ValueError, match="level 'pass' with 1 of 2"):
        Finding(1.0, "pass", "", 1, 2)


def test_details_are_tidy() -> None:
    text = "x\n\n\x00y /tmp/place/solution.py <a.B object at 0x7f00aa12> " + "z" * 999
    detail = Finding(RUNS, RAN, text).detail
    assert detail.startswith("x y solution.py <a.B object at 0x...> zzz")
    assert len(detail) == 200
