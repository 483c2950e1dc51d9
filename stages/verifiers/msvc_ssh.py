"""Verifier `msvc_ssh`: C and C++ with Microsoft's cl on a Windows host, reached over OpenSSH.

Compiles, and says so: 0.5 at most. Where `verify.msvc_ssh.run` is set, programs run over there as well and tests and
cases decide. Nothing contains a program on that host but the host: it must be one that may be lost.
"""

import secrets
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from stages.common.errors import InputError, SandboxError
from stages.common.records import Task
from stages.extraction.definitions import without_main
from stages.sandbox import Sandbox
from stages.settings.verify import MsvcSettings, VerifySettings
from stages.verifiers import ssh
from stages.verifiers.base import SelfTest, Verifier, expect_language
from stages.verifiers.c_text import CText
from stages.verifiers.msvc_host import Host, Job, Report, decode
from stages.verifiers.msvc_program import Evidence, broken_tests, count_tests, judge, unit_text
from stages.verifiers.msvc_text import Source, first_error, has_warning, inspect
from stages.verifiers.outcomes import LIMITS
from stages.verifiers.verdicts import (
    BROKEN,
    CLEAN,
    COMPILE_ERROR,
    COMPILED,
    COMPILED_WITH_WARNINGS,
    RUNTIME_ERROR,
    SOLVED,
    TASK_ERROR,
    WARNINGS,
    Finding,
)

GOOD = {
    "c": '#include <stdio.h>\nint main(void) { puts("good"); return 0; }\n',
    "cpp": '#include <iostream>\nint main() { std::cout << "good"; }\n',
}
NEXT_NUMBER = """\
#include <iostream>
int main() {
    int a = 0;
    std::cin >> a;
    std::cout << a + 1;
    return 0;
}
"""


class MsvcSsh(Verifier):
    """Judges C and C++."""

    def __init__(self, settings: VerifySettings) -> None:
        super().__init__(settings)
        self.options = settings.msvc_ssh
        self._good = {language: self._job(self._text(GOOD[language], language), [b""]) for language in GOOD}
        self._host = Host(self.options, _recipes(self.options), self._good["cpp"])
        # Ends the connection with this verifier, or with the process.
        self.close = weakref.finalize(self, self._host.close)

    def check(self) -> str | None:
        """The client, the settings, and then the host itself, which must compile known-good programs clean."""
        if trouble := ssh.missing() or _incomplete(self.options):
            return trouble
        for language, job in self._good.items():
            said = decode(self._host.expect_good(job))
            if has_warning(said):
                last = [line for line in said.splitlines() if line.strip()][-1]
                raise SandboxError(f"cl warns of a known-good program in {language}, with these flags: {last[:200]}")
        return None

    def check_task(self, task: Task) -> None:
        """C and C++ only; and where programs run, tests are in C++: their evidence takes a destructor."""
        expect_language(task, tuple(GOOD))
        if self.options.run and task.language == "c" and task.tests.strip():
            raise InputError("test text in C: msvc_ssh runs C with cases only")

    def verify(self, task: Task, code: str, sandbox: Sandbox) -> Finding:
        """Compile over there; run there where that is asked for. Beside tests, an answer's main is left out."""
        if task.tests.strip():
            code = without_main(code, task.language)
        source = inspect(code)
        if finding := self._beforehand(task, code, source):
            return finding
        evidence = Evidence.fresh() if self.options.run and task.tests.strip() else None
        report = self._run(self._job_of(task, code, evidence), source, sandbox)
        total = count_tests(task)
        if report is None:
            return Finding(BROKEN, RUNTIME_ERROR, "breaks its sandbox", 0, total)
        if report.compiled.limit or report.compiled.exit != 0:
            return _not_compiled(report, source, total)
        warned = source.hides_warnings or has_warning(decode(report.compiled.output))
        reward = WARNINGS if warned else CLEAN
        if report.runs:
            return judge(task, report, evidence, reward)
        return Finding(reward, COMPILED_WITH_WARNINGS if warned else COMPILED, "not run", 0, total)

    def _run(self, job: Job, source: Source, sandbox: Sandbox) -> Report | None:
        """A failure that may be the host's own counts when it comes again, and a known-good program still compiles."""

        def cancelled() -> bool:
            return getattr(sandbox, "closed", False)

        report = self._host.run(job, cancelled)
        if report and self._is_doubtful(report, source):
            report = self._host.run(job, cancelled)
            if report and self._is_doubtful(report, source):
                self._host.expect_good(self._good["cpp"], cancelled)
        return report

    @staticmethod
    def _is_doubtful(report: Report, source: Source) -> bool:
        if report.compiled.limit or report.compiled.exit == 0:
            return False
        error = first_error(decode(report.compiled.output), source.opaque)
        return error is None or error.doubtful

    def _text(self, code: str, language: str) -> CText:
        return CText(code, language, self.options.cpp_standard if language == "cpp" else self.options.c_standard)

    def _beforehand(self, task: Task, code: str, source: Source) -> Finding | None:
        """What is settled before anything is sent."""
        total, text = count_tests(task), self._text(code, task.language)
        if not code.strip():
            return Finding(BROKEN, COMPILE_ERROR, "no code", 0, total)
        if trouble := broken_tests(task, text.standard):
            return Finding(CLEAN, TASK_ERROR, f"the tests are broken: {trouble}", 0, total)
        refusal = source.refusal or (text.refusal() if self.options.run and task.tests.strip() else None)
        return Finding(BROKEN, COMPILE_ERROR, refusal, 0, total) if refusal else None

    def _job_of(self, task: Task, code: str, evidence: Evidence | None) -> Job:
        inputs = [_bytes(case["stdin"]) for case in task.cases]
        text = self._text(code, task.language)
        if not task.tests.strip():
            return self._job(text, inputs or [b""], kind="cases" if task.cases else None)
        unit = unit_text(text, self._text(task.tests, task.language), evidence)
        # Under a name that the code cannot include.
        files = {f"unit-{secrets.token_hex(8)}.{task.language}": unit}
        if evidence:
            files[f"{evidence.name}.cpp"] = evidence.source
        return self._job(text, [b"", *inputs], files)

    def _job(
        self,
        text: CText,
        inputs: Sequence[bytes],
        units: Mapping[str, str] | None = None,
        kind: Literal["cases"] | None = None,
    ) -> Job:
        """Without `units` of tests the code itself is compiled, by the recipe for that `kind` of program."""
        kind = kind or ("program" if units or text.has_main else "object")
        solution = f"solution.{text.language}"
        files = {solution: text.text, **(units or {})}
        return Job(
            files={name: _bytes(content) for name, content in files.items()},
            recipe=f"{kind}-{text.language}",
            sources=tuple(units or (solution,)),
            inputs=inputs if kind != "object" and self.options.run else (),
            run_seconds=self.settings.limits.job()["wall_seconds"],
            run_bytes=self.settings.limits.output_kb << 10,
        )

    def fingerprint(self) -> dict[str, Any]:
        """cl's version and its flags; not the host's name."""
        fields = {"c_standard", "cpp_standard", "flags", "run", "compile_seconds"}
        return {"cl": self._host.banner, **self.options.model_dump(mode="json", include=fields)}

    def selftests(self) -> Sequence[SelfTest]:
        """Programs that print the number after the one they read; where nothing runs, a right one just compiles."""
        case = {"stdin": "41\n", "stdout": "42\n"}
        task = Task("selftest", "cpp", "Print the number after the one that is read.", "msvc_ssh", None, "", [case])
        if self.options.run:
            best, wrong, hostile = SOLVED, ("a + 1", "a"), ("return 0", "return 1")
        else:
            best, wrong, hostile = CLEAN, ("a + 1", "b + 1"), ("<iostream>", '"/etc/passwd"')
        return [
            SelfTest("right", task, NEXT_NUMBER, best),
            SelfTest("wrong", task, NEXT_NUMBER.replace(*wrong), best),
            SelfTest("hostile", task, NEXT_NUMBER.replace(*hostile), best),
        ]


def _recipes(options: MsvcSettings) -> dict[str, str]:
    """cl's arguments by recipe."""
    recipes = {}
    for language, standard in (("c", options.c_standard), ("cpp", options.cpp_standard)):
        common = [*options.flags, f"/std:{standard}"]
        recipes[f"program-{language}"] = "\n".join([*common, "/Fe:program.exe", ""])
        recipes[f"cases-{language}"] = "\n".join([*common, "/DONLINE_JUDGE", "/Fe:program.exe", ""])
        recipes[f"object-{language}"] = "\n".join([*common, "/c", ""])
    return recipes


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _not_compiled(report: Report, source: Source, total: int) -> Finding:
    if report.compiled.limit:
        level, detail = LIMITS[report.compiled.limit]
        return Finding(BROKEN, level, f"compiling: {detail}", 0, total)
    error = first_error(decode(report.compiled.output), source.opaque)
    return Finding(BROKEN, COMPILE_ERROR, error.detail if error else "the compiler crashes", 0, total)


def _incomplete(options: MsvcSettings) -> str | None:
    absent = [name for name in ("host", "user", "key") if getattr(options, name) is None]
    if absent:
        return f"verify.msvc_ssh: {', '.join(absent)} not set; expected a Windows host with cl and OpenSSH's server"
    for name in ("key", "known_hosts", "config"):
        path = getattr(options, name)
        if path is not None and not Path(path).expanduser().is_file():
            return f"verify.msvc_ssh.{name}: {path}: no such file"
    return None
