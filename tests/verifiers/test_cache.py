"""The verdict cache: same bytes with and without it, never what may come out otherwise, never in the way."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.common import records
from stages.common.errors import SandboxError
from stages.common.records import Sample, Task
from stages.sandbox import Sandbox, probe
from stages.settings.verify import VerifySettings
from stages.verifiers.base import Verifier
from stages.verifiers.cache import VerdictCache, keepable
from stages.verifiers.files import verify_file
from stages.verifiers.pool import Work, verify_samples
from stages.verifiers.verdicts import Finding
from tests.conftest import ROOT, make_task

RAN = Finding(0.7, "ran", "no tests")
SETTINGS = VerifySettings(workers=2)
OTHER_OWNER = """
CREATE TABLE recipes (name TEXT);
INSERT INTO recipes VALUES ('soup');
"""


class Scripted(Verifier):
    """Finds what the code says that it should."""

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """The finding in the code's first line; a fault where there is none."""
        line = code.partition("\n")[0]
        if line == "fault":
            raise SandboxError("the machine is broken")
        return Finding(*json.loads(line))

    def selftests(self) -> tuple[()]:
        """None: this one judges nothing."""
        return ()


SCRIPTED = {"t/1": make_task(1, verifier=f"{__name__}:Scripted", language="json")}  # a lone value is no Python code


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a cache that is this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "halo-forge" / "verdicts-1.sqlite"


def scripted(*findings: list, settings: VerifySettings = SETTINGS) -> Work:
    """Judge these findings; what that took. They must come out as they are, in order."""
    samples = [Sample("t/1", n, json.dumps(finding)) for n, finding in enumerate(findings)]
    work = Work()
    verdicts = list(verify_samples(SCRIPTED, samples, settings, work=work))
    found = [[v.reward, v.level, v.detail, v.tests_passed, v.tests_total] for v in verdicts]
    assert found == list(findings)
    return work


def numbered(count: int) -> list[list]:
    """Different findings."""
    return [[0.7, "wrong_answer", f"test {n}", n, n + 1] for n in range(count)]


def test_cold_warm_and_no_cache_give_the_same_bytes(place: Path, tmp_path: Path) -> None:
    """Real programs, real verifiers; the second run judges nothing."""
    python = [
        "def f(xs):\n    return [x + 1 for x in xs]\n",
        "def f(xs):\n    return '\u2192\x00'\n",
        "def f(xs:\n",
        "",
    ]
    programs = ["int main() { }", "int main() { return 3; }", "int main() { int unused; }", "int main( }"]
    cpp = make_task(2, language="cpp", verifier="gcc", entry_point=None, tests="", cases=[{"stdin": "", "stdout": ""}])
    records.write(tmp_path / "t.jsonl", [make_task(1), cpp])
    samples = [Sample(f"t/{t}", n, code) for t, codes in ((1, python), (2, programs)) for n, code in enumerate(codes)]
    records.write(tmp_path / "s.jsonl", samples)
    outcomes = {}
    for name, cache in (("off", False), ("cold", True), ("warm", True)):
        settings = VerifySettings(workers=2, cache=cache)
        _, timing = verify_file([tmp_path / "t.jsonl"], tmp_path / "s.jsonl", tmp_path / name, settings)
        outcomes[name] = [timing[key] for key in ("judged", "cache_hits", "repeated")]
        assert place.exists() == cache
    assert outcomes == {"off": [8, 0, 0], "cold": [8, 0, 0], "warm": [0, 8, 0]}
    assert len({(tmp_path / name).read_bytes() for name in outcomes}) == 1


def test_nothing_starts_when_all_is_known(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once probed, bubblewrap is not needed for verdicts from the cache."""
    samples = [Sample("t/1", 0, "def f(xs):\n    return [x + 1 for x in xs]\n")]
    tasks = {"t/1": make_task(1)}
    first = list(verify_samples(tasks, samples, SETTINGS))
    assert probe() is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert list(verify_samples(tasks, samples, SETTINGS)) == first
    with pytest.raises(SandboxError, match="bwrap"):
        list(verify_samples(tasks, samples, VerifySettings(cache=False)))


@pytest.mark.parametrize(
    ("finding", "kept"),
    [
        ([1.0, "pass", "", 2, 2], True),
        ([0.5, "runtime_error", "exit code 1", 0, 1], True),
        ([0.5, "task_error", "the tests are broken", 0, 0], True),
        ([0.0, "compile_error", "no code", 0, 1], True),
        ([0.5, "timeout", "out of CPU time", 0, 1], False),
        ([0.5, "resource_limit", "too much output", 0, 1], False),
        ([0.0, "runtime_error", "breaks its sandbox", 0, 1], False),
    ],
    ids=str,
)
def test_only_what_is_sure_to_come_again_is_kept(place: Path, finding: list, kept: bool) -> None:
    assert keepable(Finding(*finding)) == kept
    assert scripted(finding).judged == 1
    assert scripted(finding).cache_hits == kept


def test_a_fault_is_not_kept_and_what_came_before_is(place: Path) -> None:
    samples = [Sample("t/1", n, json.dumps(finding)) for n, finding in enumerate(numbered(5))]
    with pytest.raises(SandboxError, match="the machine is broken"):
        list(verify_samples(SCRIPTED, [*samples, Sample("t/1", 5, "fault")], SETTINGS))
    work = scripted(*numbered(6))
    assert (work.cache_hits, work.judged) == (5, 1)


def test_a_detail_that_would_not_come_back_the_same_is_judged_anew(place: Path) -> None:
    """Tidied once more, this one is another text: the cold run's must stand."""
    finding = ["0x12/tmp/a/345678"]
    assert Finding(0.7, "ran", Finding(0.7, "ran", *finding).detail).detail != Finding(0.7, "ran", *finding).detail
    samples = [Sample("t/1", 0, json.dumps([0.7, "ran", *finding]))]
    assert list(verify_samples(SCRIPTED, samples, SETTINGS)) == list(verify_samples(SCRIPTED, samples, SETTINGS))


def change(place: Path, statement: str) -> None:
    """Run a statement on the cache's file, as another program might."""
    with sqlite3.connect(place) as database:
        database.execute(statement)
    database.close()


@pytest.mark.parametrize(
    "values",
    [
        "reward = 1.0",
        "reward = 0.3",
        "reward = 'much'",
        "level = 'perfect'",
        "level = x'00'",
        "level = 'timeout', reward = 0.5",
        "passed = total",
        "passed = 'all'",
        "total = 1.5",
        "detail = x'ff'",
        "detail = 'in ' || char(10) || 'two lines'",
    ],
)
def test_a_value_that_is_no_finding_is_judged_anew(place: Path, values: str) -> None:
    """And put right."""
    scripted(*numbered(3))
    change(place, f"UPDATE finding SET {values} WHERE id = 2")
    work = scripted(*numbered(3))
    assert (work.cache_hits, work.judged) == (2, 1)
    assert scripted(*numbered(3)).cache_hits == 3


WRITER = """
import sys
from stages.settings.verify import VerifySettings
from stages.verifiers.cache import VerdictCache
from stages.verifiers.verdicts import Finding

number = int(sys.argv[1])
with VerdictCache(VerifySettings()) as cache:
    for n in range(number * 500, number * 500 + 1500):  # each shares most of its keys with its neighbours
        key = n.to_bytes(20, "big")
        found = cache.get(key)
        assert found in (None, Finding(0.7, "wrong_answer", f"test {n}", n, n + 1)), found
        cache.put(key, Finding(0.7, "wrong_answer", f"test {n}", n, n + 1))
        cache.flush(at_once=n % 7 == 0)
"""


def test_many_processes_write_at_once(place: Path) -> None:
    """Also the first time, when the file has to be made."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITER]
    writers = [
        subprocess.Popen([*command, str(n)], env=environment, stderr=subprocess.PIPE, text=True) for n in range(6)
    ]
    said = [writer.communicate(timeout=120)[1] for writer in writers]
    assert said == [""] * 6
    with VerdictCache(SETTINGS) as cache:
        found = [cache.get(n.to_bytes(20, "big")) for n in range(4000)]
    assert [finding and finding.tests_passed for finding in found] == list(range(4000))
    database = sqlite3.connect(place)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


SLOW = """
import time
from stages.verifiers.base import Verifier
from stages.verifiers.verdicts import Finding


class Slow(Verifier):
    def verify(self, task, code, sandbox):
        time.sleep(0.05)
        return Finding(0.7, "ran", code)

    def selftests(self):
        return ()
"""


def rows(place: Path) -> int:
    """Findings in the file; 0 while there is none."""
    try:
        database = sqlite3.connect(f"file:{place}?mode=ro", uri=True)
        count = database.execute("SELECT count(*) FROM finding").fetchone()[0]
        database.close()
    except sqlite3.Error:
        return 0
    return count


def test_a_killed_run_goes_on_from_it(place: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    records.write(tmp_path / "t.jsonl", [make_task(1, verifier="slow:Slow")])
    records.write(tmp_path / "s.jsonl", [Sample("t/1", n, f"program {n}") for n in range(120)])
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    command = [sys.executable, "-m", "stages.verify", "--tasks", "t.jsonl", "--samples", "s.jsonl", "--out", "v.jsonl"]
    run = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while rows(place) < 10:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    kept = rows(place)
    assert 10 <= kept < 120
    subprocess.run([*command, "--timing", "time.json"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    timing = json.loads((tmp_path / "time.json").read_text())
    assert (timing["cache_hits"], timing["judged"]) == (kept, 120 - kept)
    verdicts = list(records.read(records.Verdict, tmp_path / "v.jsonl"))
    assert [verdict.detail for verdict in verdicts] == [f"program {n}" for n in range(120)]


def garbage(place: Path) -> None:
    place.write_bytes(b"no database at all" * 400)


def other_program(place: Path) -> None:
    place.unlink()
    with sqlite3.connect(place) as database:
        database.executescript(OTHER_OWNER)
    database.close()


def other_table(place: Path) -> None:
    change(place, "ALTER TABLE finding RENAME COLUMN reward TO payment")


def cut_short(place: Path) -> None:
    os.truncate(place, place.stat().st_size // 2)


def overwritten(place: Path) -> None:
    """All but the file's first pages: it opens, and fails later."""
    size = place.stat().st_size
    with place.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xa5" * (size - 3 * 4096))


@pytest.mark.parametrize("damage", [garbage, other_program, other_table, cut_short, overwritten])
def test_a_broken_file_is_set_aside_and_made_anew(
    place: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(*numbered(400))
    damage(place)
    capsys.readouterr()
    assert scripted(*numbered(400)).judged > 0
    assert place.with_suffix(".broken").exists()
    said = [line for line in capsys.readouterr().err.splitlines() if "cache" in line]
    assert said == [f"verdict cache {place}: broken, or of another program; set aside and begun anew"]
    scripted(*numbered(400))
    assert scripted(*numbered(400)).cache_hits == 400
    assert not capsys.readouterr().err


def no_folder(place: Path) -> None:
    place.parent.parent.write_text("a file where the folder should be")


def no_file(place: Path) -> None:
    place.mkdir(parents=True)


def locked(place: Path) -> None:
    """By a process that sits in a transaction."""
    scripted(*numbered(1))
    locked.database = sqlite3.connect(place, isolation_level=None)
    locked.database.execute("BEGIN IMMEDIATE")


@pytest.mark.parametrize("obstacle", [no_folder, no_file, locked])
def test_judging_goes_on_without_it(
    place: Path,
    obstacle: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one line that says so, however many samples there are."""
    monkeypatch.setattr("stages.verifiers.cache.BUSY_SECONDS", 0.2)
    obstacle(place)
    assert scripted(*numbered(2000)).judged >= 1999
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("verdict cache ") and said.endswith("; judging goes on without it")


def test_no_home(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home directory")))
    assert scripted(*numbered(3)).judged == 3
    assert "no home directory; judging goes on without it" in capsys.readouterr().err


def test_a_full_disk(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """sqlite is told that the file cannot grow; that is how it meets a full disk."""
    with VerdictCache(SETTINGS) as cache:
        cache._db.execute("PRAGMA max_page_count = 20")
        for n in range(5000):
            cache.put(n.to_bytes(20, "big"), RAN)
            cache.flush()
    (said,) = capsys.readouterr().err.splitlines()
    assert said == f"verdict cache {place}: database or disk is full; judging goes on without it"


def test_the_oldest_go_when_it_is_full(place: Path) -> None:
    settings = VerifySettings(cache_mb=1)
    for start in (0, 20_000, 40_000):
        with VerdictCache(settings) as cache:
            for n in range(start, start + 20_000):
                cache.put(n.to_bytes(20, "big"), RAN)
                cache.flush()
    with VerdictCache(settings) as cache:
        known = [cache.get(n.to_bytes(20, "big")) is not None for n in range(60_000)]
    assert known[-1] and not known[0]
    assert known == sorted(known)  # an older one only where all newer ones are
    assert sum(known) > 5000
    assert sum(file.stat().st_size for file in place.parent.iterdir()) < 1.3 * (1 << 20)


def test_lookups_are_fast(place: Path) -> None:
    """Many times faster than any program runs: this machine does some 100,000 a second."""
    with VerdictCache(SETTINGS) as cache:
        for n in range(20_000):
            cache.put(n.to_bytes(20, "big"), RAN)
            cache.flush()
        cache.flush(at_once=True)
        began = time.process_time()
        assert all(cache.get(n.to_bytes(20, "big")) for n in range(20_000))
        assert time.process_time() - began < 1


def test_off_means_off(place: Path) -> None:
    work = scripted(*numbered(5), settings=VerifySettings(cache=False))
    assert work.judged == 5
    assert not place.parent.exists()


def test_repeated_programs_are_counted_apart(place: Path) -> None:
    work = scripted(*numbered(3), *numbered(3))
    assert (work.judged, work.repeated, work.cache_hits) == (3, 3, 0)
