"""Verdicts on known Rust sources, `cases/rust.jsonl`, and crates of others.

`max_reward` says what a hostile program may earn at most. In a completion, [text, count] is text that often.
"""

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from stages.common.records import Sample, Task, Verdict
from stages.settings.verify import VerifySettings
from stages.verifiers import make
from stages.verifiers.pool import verify_samples
from stages.verifiers.rust_unit import TOKEN_BYTES, read_reports

LIMITS = {"cpu_seconds": 1, "wall_factor": 2.0, "memory_mb": 512}
RUST = {"compile_cpu_seconds": 4, "compile_memory_mb": 1024}
SETTINGS = VerifySettings.parse({"limits": LIMITS, "rust": RUST, "cache": False}, "test")
CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases" / "rust.jsonl").read_text(encoding="utf-8").splitlines()
]
LACKING = make("rust", SETTINGS).check()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))
TESTS = "#[test]\nfn t() {\n    assert_eq!(f(), 3);\n}\n"


def text_of(completion: str | list) -> str:
    """A completion in full."""
    if isinstance(completion, str):
        return completion
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in completion)


@pytest.fixture(scope="module")
def judged() -> dict[str, Verdict]:
    """The verdicts by name, all judged in one go."""
    fields = ("language", "prompt", "entry_point", "tests", "cases", "compare")
    tasks = {
        case["name"]: Task(task_id=case["name"], verifier="rust", **{key: case[key] for key in fields if key in case})
        for case in CASES
    }
    samples = [Sample(case["name"], 0, text_of(case["completion"])) for case in CASES]
    return {verdict.task_id: verdict for verdict in verify_samples(tasks, samples, SETTINGS)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_verdict(judged: dict[str, Verdict], case: dict[str, Any]) -> None:
    verdict = judged[case["name"]]
    assert len(verdict.detail) <= 200
    assert verdict.reward <= case.get("max_reward", 1.0), verdict.detail
    found = {"passed": verdict.tests_passed, "total": verdict.tests_total}
    found |= {key: getattr(verdict, key) for key in ("reward", "level", "detail")}
    expected = {key: case[key] for key in found if key in case}
    assert {key: found[key] for key in expected} == expected


def test_vendored_crate(tmp_path: Path) -> None:
    folder = tmp_path / "vendor" / "tiny"
    (folder / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text('[package]\nname = "tiny"\nversion = "1.2.3"\nedition = "2021"\n')
    (folder / "src" / "lib.rs").write_text("pub fn three() -> i32 { 3 }\n")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("Cargo.toml", "src/lib.rs")}
    (folder / ".cargo-checksum.json").write_text(json.dumps({"files": sums, "package": "0" * 64}))
    rust = {"vendor": str(tmp_path / "vendor"), "crates": ["tiny"]}
    settings = VerifySettings.parse({"rust": rust, "cache": False}, "test")
    task = Task("t", "rust", "Write f.", "rust", "f", TESTS, [])
    samples = [Sample("t", 0, "use tiny::three;\npub fn f() -> i32 { three() }\n")]
    assert [verdict.reward for verdict in verify_samples({"t": task}, samples, settings)] == [1.0]


def test_a_failure_s_report_is_no_key_to_a_pass() -> None:
    """Each test's pass has a token of its own, and so have failures, and the end."""
    names = ("first", "second", "failure", "end")
    tokens = {name: secrets.token_bytes(TOKEN_BYTES) for name in names}
    known = b"".join(tokens.values())

    def report(name: str, kind: bytes, test: int) -> bytes:
        return tokens[name] + kind + test.to_bytes(4, "big") + bytes(4) + bytes(2)

    true = report("first", b"P", 0) + report("failure", b"F", 1) + report("end", b"D", 0)
    assert [(found.kind, found.test) for found in read_reports(true, known)] == [("P", 0), ("F", 1), ("D", 0)]
    for name, kind, test in (("failure", b"P", 0), ("first", b"P", 1), ("end", b"P", 0), ("first", b"D", 0)):
        assert read_reports(report(name, kind, test), known) == []
    assert read_reports(report("first", b"P", 7) + b"more", known) == []
