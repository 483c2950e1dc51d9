"""Verifier `rust`: Rust with rustc; cases on stdin and stdout, or test text: marked tests, or a main with assertions.

Crates of others come from a folder that `cargo vendor` has made. Cargo builds them once, offline; solutions are then
compiled against what it has made. An error in the tests' text is the tests' own where they do not even parse; names
that they miss are names that the code should have brought.
"""

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.common.errors import SandboxError
from stages.common.files import value_hash
from stages.common.records import Task
from stages.extraction.definitions import without_main
from stages.sandbox import Sandbox, View, abilities
from stages.settings.verify import VerifySettings
from stages.verifiers import rust_unit
from stages.verifiers.base import SelfTest, expect_language
from stages.verifiers.c_family import prerequisites
from stages.verifiers.compiled import PROGRAM, Build, Compiled, Diagnosis
from stages.verifiers.crates import Crates, loading
from stages.verifiers.outcomes import Test, run_trouble
from stages.verifiers.rust_text import RustText
from stages.verifiers.toolchain import SEARCH, Workshop, find, version
from stages.verifiers.verdicts import RUNTIME_ERROR, WRONG_ANSWER

TOOLCHAIN_AT = "/forge/rust"
SOURCE, DEPENDENCIES = "solution.rs", "unit.d"
DEPENDENCIES_BYTES = 1 << 20
PLACE = r"(?P<file>[^:\n]*?):(?P<line>\d+):\d+: "
ERROR = re.compile(rf"^(?:{PLACE})?error(?:\[\w+\])?: (?!aborting due to)(?P<what>[^\n]+)", re.MULTILINE)
WARNING = re.compile(rf"^{PLACE}warning(?:\[\w+\])?: ", re.MULTILINE)
DUBIOUS = re.compile(r"linking with|linker |the compiler unexpectedly panicked|internal compiler error|No space left")
OUT_OF_MEMORY = re.compile(r"out of memory|memory allocation of|Cannot allocate memory")
UNASKED = ("dead-code", "unused-macros")  # lints that say nothing of code that is to be tested
UNUSED_IMPORTS = "unused-imports"
GOOD = "fn main() {}\n"


class Rust(Compiled):
    """Judges Rust."""

    def __init__(self, settings: VerifySettings) -> None:
        super().__init__(settings)
        self.options = settings.rust
        self.view = View()
        self.root = ""
        self._tool: str | None = shutil.which("rustc", path=f"{os.environ.get('PATH', '')}:{SEARCH}:{_home_tools()}")
        self._lints: list[str] = []
        self._crates: list[str] = []
        self._linking: list[str] = []

    def check(self) -> str | None:
        """rustc, the linker, and the crates of others, built once."""
        if self._tool is None:
            return "rustc not found; apt-get install rustc cargo, or dnf install rust cargo, or https://rustup.rs"
        if find("cc") is None:
            return "cc, which rustc links with, not found; apt-get install gcc, or dnf install gcc"
        sysroot = self._sysroot()
        folders = () if sysroot.startswith("/usr/") or sysroot == "/usr" else ((TOOLCHAIN_AT, sysroot),)
        root = TOOLCHAIN_AT if folders else sysroot
        self.root = root
        workshop = Workshop("crates", value_hash([self.fingerprint(), sysroot]), folders)
        crates = Crates(workshop, root, self.options)
        if trouble := crates.check():
            return trouble
        workshop.make(crates.fill)
        self._crates = crates.arguments()
        # The linker that newer toolchains bring along finds its parts by /proc.
        self._linking = [] if abilities()["proc"] else ["-Clink-arg=-fuse-ld=bfd"]
        self.view = View(folders=workshop.folders, tmp_mb=self.settings.limits.tmp_mb)
        self._lints = [f"--force-warn={name}" for name in self._default_lints()]
        return None

    def _sysroot(self) -> str:
        """The toolchain that `rustc` stands for: it may be a command that chooses one."""
        done = subprocess.run([self._tool, "--print", "sysroot"], capture_output=True, text=True, check=False)
        if done.returncode or not Path(done.stdout.strip(), "bin", "rustc").exists():
            last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise SandboxError(f"{self._tool} names no toolchain; it says: {last[:200]}")
        return os.path.realpath(done.stdout.strip())

    def _default_lints(self) -> list[str]:
        done = subprocess.run([self._tool, "-W", "help"], capture_output=True, text=True, check=False)
        rows = (line.split() for line in done.stdout.splitlines())
        return [row[0] for row in rows if row[1:2] == ["warn"] and row[0] not in (*UNASKED, "warnings")]

    def check_task(self, task: Task) -> None:
        """Rust only."""
        expect_language(task, ("rust",))

    def count_tests(self, task: Task) -> int:
        """Marked functions, or a main, and cases."""
        return len(RustText(task.tests).tests()[0]) + len(task.cases)

    def broken_tests(self, task: Task) -> str | None:
        """Brackets that do not match, or no test."""
        tests = RustText(task.tests)
        return tests.broken() or (None if tests.tests()[0] else "they have no test and no main")

    def is_program(self, task: Task, code: str) -> bool:
        """A function main."""
        return RustText(code).has_main

    def refusal(self, task: Task, code: str) -> str | None:
        """What could change how the tests are compiled."""
        return RustText(without_main(code, task.language)).refusal()

    def build(self, task: Task, code: str, program: bool) -> Build:
        """The code as the root of a crate."""
        step = self._compile_step("bin" if program else "lib", f"/tmp/{SOURCE}")
        return Build({SOURCE: code}, [step], self._run_step() if program else None)

    def build_tests(self, task: Task, code: str) -> Build:
        """The solution in a file; all else, which includes it, comes through a pipe.

        The main that an answer shows its function with is left out, and what it alone has imported is no fault.
        """
        own = without_main(code, task.language)
        unit = rust_unit.make_unit(RustText(own), RustText(task.tests))
        step = self._compile_step("bin", "-", own != code) | {"stdin": unit.text, "once": True}
        room = (len(unit.tests) + 1) * (rust_unit.HEAD_BYTES + rust_unit.TEXT_BYTES)
        run = {**self._run_step(), "alone": True, "channel": room}
        return Build({SOURCE: unit.solution}, [step], run, len(unit.tests), unit.tokens)

    def good_build(self, task: Task) -> Build:
        """An empty main."""
        return self.build(task, GOOD, True)

    def _compile_step(self, kind: str, source: str, lacks_main: bool = False) -> dict:
        unasked = (*UNASKED, UNUSED_IMPORTS) if lacks_main else UNASKED
        command = [
            f"{self.root}/bin/rustc",
            f"--sysroot={self.root}",
            f"--edition={self.options.edition}",
            f"--crate-type={kind}",
            *self.options.flags,
        ]
        command += [
            *(lint for lint in self._lints if not lint.endswith(f"={UNUSED_IMPORTS}") or not lacks_main),
            *(f"-A{name}" for name in unasked),
            *self._crates,
            *self._linking,
            "--error-format=short",
            "-Ccodegen-units=1",
        ]
        return {
            "argv": [*command, f"--emit=link={PROGRAM},dep-info=/tmp/{DEPENDENCIES}", source],
            "limits": self.settings.limits.job(
                cpu_seconds=self.options.compile_cpu_seconds, memory_mb=self.options.compile_memory_mb
            ),
            "needed": True,
            "environment": loading(self.root),
            "collect": {DEPENDENCIES: DEPENDENCIES_BYTES},
        }

    def _run_step(self) -> dict:
        return {"argv": [PROGRAM], "limits": self.settings.limits.job(), "sealed": PROGRAM}

    def diagnose(self, task: Task, code: str, build: Build, steps: list[dict]) -> Diagnosis:
        """By rustc's words, and the files that it has read."""
        said = steps[0]["stderr"]
        if steps[0]["exit"] != 0:
            return self._compile_error(said, task.tests.count("\n") + 1 if build.tests else 0)
        read = base64.b64decode(steps[0]["files"].get(DEPENDENCIES, "")).decode(errors="replace")
        known = (f"/tmp/{SOURCE}", SOURCE)
        rules = [line for line in read.splitlines() if line and not line.startswith("#")]
        paths = {path for rule in rules for path in prerequisites(rule)}
        foreign = sorted(path for path in paths if path not in known and not path.startswith("/forge/"))
        if foreign:
            return Diagnosis(f"reads {os.path.basename(foreign[0])} while it is compiled")
        return Diagnosis(None, any(os.path.basename(found["file"]) == SOURCE for found in WARNING.finditer(said)))

    def _compile_error(self, said: str, lines: int) -> Diagnosis:
        if OUT_OF_MEMORY.search(said):
            return Diagnosis("out of memory", exhausted=True)
        found = ERROR.search(said)
        if found is None:
            return Diagnosis(None)
        what = rust_unit.random_names(found["what"])
        path, line, dubious = os.path.basename(found["file"] or ""), found["line"], DUBIOUS.search(said) is not None
        if path == SOURCE:
            return Diagnosis(f"{SOURCE} line {line}: {what}", dubious=dubious)
        if path == "<anon>" and int(line) <= lines:
            return Diagnosis(f"tests.rs line {line}: {what}", in_tests=what, dubious=dubious)
        return Diagnosis(f"behind its end: {what}" if path else what, dubious=dubious)

    def are_broken(self, task: Task, diagnosis: Diagnosis, sandbox: Sandbox) -> bool:
        """Whether the tests do not parse: text that is configured out is parsed, and nothing else."""
        step = self._compile_step("lib", "-") | {"stdin": f"#[cfg(any())] mod tests {{ {task.tests}\n}}\n"}
        reports = self.run_steps(Build({}, [step], None), [step], sandbox)
        return reports is not None and reports[0]["exit"] == 1

    def judge_tests(self, task: Task, build: Build, run: dict) -> list[Test]:
        """Tests pass by their own reports, the last one only where the process then ended well."""
        names = [test.path for test in RustText(task.tests).tests()[0]]
        reports = rust_unit.read_reports(bytes.fromhex(run["said"]), bytes.fromhex(build.secret))
        tests, lines = [], task.tests.count("\n") + 1
        for number, report in enumerate(reports):
            if report.kind not in "PFE" or report.test != number or number >= len(names):
                break
            place = f"tests.rs line {report.line}: " if report.kind == "F" and 0 < report.line <= lines else ""
            level = {"P": None, "F": WRONG_ANSWER, "E": RUNTIME_ERROR}[report.kind]
            tests.append(Test(level, f"{names[number]}: {place}{report.text}" if level else ""))
        done = len(reports) == len(names) + 1 and reports[-1].kind == "D" and len(tests) == len(names)
        trouble = run_trouble(run) or (None if done else (RUNTIME_ERROR, "ended before its tests did"))
        return [*tests[: len(names) - 1], Test(*trouble)] if trouble else tests

    def selftests(self) -> Sequence[SelfTest]:
        """Sums: added, subtracted, with a macro in place of the assertion, and with an end before the tests."""
        tests = "#[test]\nfn adds() {\n    assert_eq!(add(1, 2), 3);\n    assert_eq!(add(-1, 1), 0);\n}\n"
        task = Task("selftest", "rust", "Add two numbers.", "rust", "add", tests, [])
        right, wrong = "fn add(a: i32, b: i32) -> i32 { a + b }\n", "fn add(a: i32, b: i32) -> i32 { a - b }\n"
        macro = "macro_rules! assert_eq { ($($t:tt)*) => {} }\n"
        leaves = "fn add(_: i32, _: i32) -> i32 { std::process::exit(0) }\n"
        return (
            SelfTest("right", task, right),
            SelfTest("wrong", task, wrong),
            SelfTest("hostile", task, macro + wrong),
            SelfTest("hostile", task, leaves),
        )

    def fingerprint(self) -> dict[str, Any]:
        """The compiler's version, flags, and the crates."""
        found = {"rustc": version(self._tool)} if self._tool else {}
        vendored = Crates.versions(self.options) if self.options.vendor else {}
        return {**found, **self.options.model_dump(mode="json", exclude={"vendor"}), "vendored": vendored}


def _home_tools() -> str:
    """Where rustup puts its commands."""
    home = os.environ.get("CARGO_HOME")
    try:
        return f"{home or Path.home() / '.cargo'}/bin"
    except RuntimeError:  # no home
        return ""
