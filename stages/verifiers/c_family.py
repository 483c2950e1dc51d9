"""What the verifiers of C and C++ share: commands, diagnostics, evidence. See c_unit.py for tests that are compiled in.

Which compile errors in the tests' text are the tests' own: those that the tests show by themselves, too, at the same
place with the same words, as a missing parenthesis or a missing header does. A name that is not declared is one that
the code should have brought.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from stages.common.files import value_hash, write_json
from stages.common.records import Task
from stages.extraction.definitions import without_main
from stages.sandbox import Sandbox, View
from stages.settings.verify import CompilerSettings, VerifySettings
from stages.verifiers import c_unit
from stages.verifiers.base import SelfTest, expect_language
from stages.verifiers.c_evidence import ASSERT_HEADER, EVIDENCE, REPORT_BYTES, THREAD_STACKS
from stages.verifiers.c_text import CText
from stages.verifiers.compiled import PROGRAM, Build, Compiled, Diagnosis
from stages.verifiers.linking import link_command
from stages.verifiers.outcomes import Test, run_trouble
from stages.verifiers.precompiled import Precompiled
from stages.verifiers.toolchain import Workshop, find, version
from stages.verifiers.verdicts import RUNTIME_ERROR, WRONG_ANSWER

OWN_SOURCES = [
    str(Path(__file__).with_name(f"{name}.py")) for name in ("c_family", "linking", "precompiled", "toolchain")
]
LANGUAGES = {"c": "c", "cpp": "c++"}
OBJECT, DEPENDENCIES = "/tmp/unit.o", "unit.d"
DEPENDENCIES_BYTES = 1 << 20
TOKEN_BYTES = 16  # of each of the two
PLACE = r"(?:(?P<file>[^:\n]*?):(?P<line>\d+):(?:\d+:)? )?(?:[^\n:]{1,100}: )??"
STATIC = r"(?:static[ _]assert(?:ion)? failed(?: due to requirement '[^'\n]*')?:? )?"
ERROR = re.compile(rf"^{PLACE}(?:fatal )?[eE]rror: {STATIC}(?P<what>[^\n]+)", re.MULTILINE)
WARNING = re.compile(rf"^{PLACE}warning: (?P<what>[^\n]+)", re.MULTILINE)
LINK_ERROR = re.compile(
    r"(?P<undefined>undefined (?:reference to|symbol:))[ `']*(?P<symbol>[^\n`']+)"
    r"|(?:multiple definition of|duplicate symbol:)[ `']*(?P<twice>[^\n`';]+)"
)
LINK_WARNING = re.compile(r"\bwarning: ")
DUBIOUS = re.compile(r"internal compiler error|cannot execute|unable to execute|No space left|submit a bug report")
OUT_OF_MEMORY = re.compile(r"out of memory|memory exhausted|std::bad_alloc|[kK]illed signal terminated")
SANITIZER = re.compile(r"runtime error: [^\n]*|ERROR: \w+Sanitizer: [\w-]*")
RANDOM_NAME = re.compile(r"forge_[0-9a-f]{8,16}_?")
SYNTAX = re.compile(
    r"expected |stray |missing |unterminated |extraneous |unexpected |invalid preprocessing|redefinition |conflicting "
    r"|#error|[^\n]*(?:No such file or directory|file not found|function.definition is not allowed)"
)
GOOD = {"c": "#include <stdio.h>\nint main(void) { return 0; }\n", "cpp": "#include <iostream>\nint main() {}\n"}
UNIT_PARTS = ("<stdin>", "{standard input}", "tests-evidence", "tests-end")
EVERYTHING = "#include <bits/stdc++.h>\nusing namespace std;\n"
JUDGED = ("-DONLINE_JUDGE",)  # what programs with cases look for, to read no local file and print no trace
SANITIZED_MEMORY_MB = 1 << 26  # address space; the shadow of all of it is mapped


class CFamily(Compiled):
    """Judges C and C++. A subclass says with which compiler, and has a section of settings of its name."""

    name: ClassVar[str]
    drivers: ClassVar[dict[str, str]]
    packages: ClassVar[str]  # that bring them on Debian, and on Fedora
    plain_diagnostics: ClassVar[Sequence[str]]
    many_errors: ClassVar[str]  # the flag that shows more errors than the first few
    linkers: ClassVar[Sequence[str]] = ()  # may take the place of the driver's own, the fastest first
    header_extension: ClassVar[str]
    program: ClassVar[str] = PROGRAM

    def __init__(self, settings: VerifySettings) -> None:
        super().__init__(settings)
        self.options: CompilerSettings = getattr(settings, self.name)
        self.paths = {language: find(name) for language, name in self.drivers.items()}
        self.view = View()
        self.workshop = Workshop(self.name, "")
        self.precompiled: Precompiled | None = None
        self._linking: dict[str, list[str]] = {}
        self._roots: tuple[str, ...] = ()

    def check(self) -> str | None:
        """The compilers, and what is made with them once. SandboxError where the settings' flags build nothing."""
        missing = [name for language, name in self.drivers.items() if not self.paths[language]]
        if missing:
            return f"{' and '.join(missing)} not found; {self.packages}"
        headers = self._headers()
        commands = [self.command(language) for language in self.drivers]
        made = [ASSERT_HEADER, EVIDENCE, THREAD_STACKS]
        key = value_hash([self.fingerprint(), commands, made, _stamps([*headers, *OWN_SOURCES])])
        self.workshop = Workshop(self.name, key)
        self.workshop.make(self._fill)
        self.view = View(folders=self.workshop.folders, tmp_mb=self.settings.limits.tmp_mb)
        folder = self.workshop.path
        self._linking = {language: shlex.split((folder / f"link-{language}").read_text()) for language in self.drivers}
        self._roots = tuple((folder / "roots").read_text().splitlines())
        if headers:
            self.precompiled = Precompiled(
                self.workshop,
                self.header_extension,
                lambda source, target: [*self._compile("cpp"), "-x", "c++-header", source, "-o", target],
                self.use_header,
                lambda arguments: [*self._compile("cpp"), *arguments, "-fsyntax-only", f"{self.workshop.at}/good.cpp"],
            )
        return None

    def use_header(self, path: str) -> list[str]:
        """Arguments that make the compiler read a precompiled header; `path` is without extension."""
        raise NotImplementedError

    def _headers(self) -> list[str]:
        """The files behind <bits/stdc++.h>; none where the library has no such header. The compiler takes a tenth of a
        second to name them, so the list is kept, for as long as these files stay as they are."""
        command = [*self.command("cpp"), "-M", "-x", "c++", "-"]
        key = value_hash([command, _stamps([os.path.realpath(command[0])])])
        kept = Workshop(self.name, f".headers-{key}").path
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(kept.read_text())
            if told["stamps"] == _stamps(told["files"]):
                return told["files"]
        found = self._ask_for_headers(command)
        with contextlib.suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, {"stamps": _stamps(found), "files": found})
        return found

    @staticmethod
    def _ask_for_headers(command: list[str]) -> list[str]:
        done = subprocess.run(command, input=EVERYTHING, capture_output=True, text=True, check=False, env={"LANG": "C"})
        return [] if done.returncode else prerequisites(done.stdout)

    def _fill(self, workshop: Workshop) -> None:
        """What compilations share, with proof that the settings build programs."""
        (workshop.path / "include").mkdir()
        (workshop.path / "include" / "assert.h").write_text(ASSERT_HEADER)
        roots = {workshop.at}
        for language in self.drivers:
            (workshop.path / f"good.{language}").write_text(GOOD[language])
            good, target = f"{workshop.at}/good.{language}", f"{workshop.at}/good-{language}.o"
            workshop.expect([*self._compile(language), "-MD", "-MF", f"{workshop.at}/good.d", "-c", good, "-o", target])
            # Some flags have the compiler read files of its own that are no headers.
            roots |= {os.path.normpath(path) for path in prerequisites((workshop.path / "good.d").read_text())}
            plain = [*self.command(language), "-w", "-fno-sanitize=all", "-x", LANGUAGES[language], "-", "-c", "-o"]
            workshop.expect([*plain, self._evidence(language)], EVIDENCE)
            workshop.expect([*plain, self._thread_stacks(language)], THREAD_STACKS)
            asked = workshop.expect([*self.command(language), "-E", "-v", "-x", LANGUAGES[language], "-"])
            for line in _between(asked, "#include <...>", "End of search"):
                roots |= _places(line.strip())
            command = link_command(workshop, self.command(language), target, self._libraries(), self.linkers)
            whole = shlex.join(command).replace(target, OBJECT).replace(f"{workshop.at}/good", self.program)
            (workshop.path / f"link-{language}").write_text(whole)
        (workshop.path / "roots").write_text("\n".join(sorted(roots)))

    def check_task(self, task: Task) -> None:
        """C and C++ only."""
        expect_language(task, ("c", "cpp"))

    def command(self, language: str) -> list[str]:
        """Compiler, standard and flags."""
        sanitize = [f"-fsanitize={','.join(self.options.sanitize)}", "-fno-sanitize-recover=all"]
        flags = [*self.options.flags, *(sanitize if self.options.sanitize else [])]
        return [self.paths[language] or "", f"-std={self._standard(language)}", *flags, *self.plain_diagnostics]

    def _standard(self, language: str) -> str:
        return self.options.cpp_standard if language == "cpp" else self.options.c_standard

    def _compile(self, language: str) -> list[str]:
        """With the header of assertions in front of the system's."""
        return [*self.command(language), "-isystem", f"{self.workshop.at}/include"]

    def _libraries(self) -> list[str]:
        return [f"-l{library}" for library in self.options.libraries]

    def text(self, text: str, language: str) -> CText:
        """A text in the standard that the settings name."""
        return CText(text, language, self._standard(language))

    def is_program(self, task: Task, code: str) -> bool:
        """A word `main` before a parenthesis."""
        return self.text(code, task.language).has_main

    def broken_tests(self, task: Task) -> str | None:
        """Brackets that do not match, or no main."""
        tests = self.text(task.tests, task.language)
        return tests.broken() or (None if c_unit.main_of(tests) else "they have no main")

    def refusal(self, task: Task, code: str) -> str | None:
        """What could change how the tests are compiled."""
        words = self.text(task.tests, task.language).words
        return self.text(without_main(code, task.language), task.language).refusal(words)

    def build(self, task: Task, code: str, program: bool) -> Build:
        """One file."""
        source = f"/tmp/solution.{task.language}"
        step = self._compile_step(task.language, code, source, JUDGED if task.cases else ())
        steps = [step, self._link_step(task.language)] if program else [step]
        return Build({f"solution.{task.language}": code}, steps, self.run_step() if program else None)

    def build_tests(self, task: Task, code: str) -> Build:
        """The solution in a file; the tests, which include it, come through a pipe.

        The main that an answer shows its function with is left out: it is no part of what is asked for.
        """
        code = without_main(code, task.language)
        solution, tests = (self.text(text, task.language) for text in (code, task.tests))
        unit = c_unit.make_unit(solution, tests, task.prompt, task.entry_point)
        step = self._compile_step(task.language, code, "-")
        step |= {"stdin": unit.text, "once": True, "defines": ("unit.o", list(unit.forbidden))}
        run = self.run_step()
        run = run and {**run, "alone": True, "channel": REPORT_BYTES + 1}
        steps = [step, self._link_step(task.language, self._evidence(task.language))]
        return Build({f"solution.{task.language}": code}, steps, run, 1, unit.token)

    def good_build(self, task: Task) -> Build:
        """An empty main."""
        return self.build(task, GOOD[task.language], True)

    def _compile_step(self, language: str, code: str, source: str, flags: Sequence[str] = ()) -> dict:
        ready = self.precompiled.arguments(code) if self.precompiled and language == "cpp" else []
        command = [*self._compile(language), *ready, "-pipe", "-MD", "-MF", f"/tmp/{DEPENDENCIES}", "-c", "-o", OBJECT]
        return {
            "argv": [*command, *flags, "-x", LANGUAGES[language], source],
            "limits": self._compile_limits(),
            "needed": True,
            "environment": {"SOURCE_DATE_EPOCH": "0"},  # what __DATE__ and __TIME__ say
            "collect": {DEPENDENCIES: DEPENDENCIES_BYTES},
        }

    def _link_step(self, language: str, *objects: str) -> dict:
        words = self._linking[language]
        at = words.index(OBJECT)
        objects = (*objects, self._thread_stacks(language))
        return {"argv": [*words[:at], *objects, *words[at:]], "limits": self._compile_limits(), "needed": True}

    def _evidence(self, language: str) -> str:
        return f"{self.workshop.at}/evidence-{language}.o"

    def _thread_stacks(self, language: str) -> str:
        return f"{self.workshop.at}/stacks-{language}.o"

    def _compile_limits(self) -> dict:
        return self.settings.limits.job(
            cpu_seconds=self.options.compile_cpu_seconds, memory_mb=self.options.compile_memory_mb
        )

    def run_step(self) -> dict | None:
        """How a program is run: out of reach of its own file."""
        limits = self.settings.limits.job()
        step = {"argv": [PROGRAM], "limits": limits, "sealed": PROGRAM}
        if self.options.sanitize:
            memory = limits["memory_mb"]
            quiet = "symbolize=0:print_summary=0"
            step["environment"] = {
                "ASAN_OPTIONS": f"detect_leaks=0:hard_rss_limit_mb={memory}:{quiet}",  # leaks are found by tracing
                "UBSAN_OPTIONS": quiet,
            }
            step |= {"limits": {**limits, "memory_mb": SANITIZED_MEMORY_MB}, "readable": True}
        return step

    def diagnose(self, task: Task, code: str, build: Build, steps: list[dict]) -> Diagnosis:
        """By the compiler's words, the files that it has read, the symbols of the object file, the linker's words."""
        compiled = steps[0]
        solution = f"solution.{task.language}"
        if compiled["exit"] != 0:
            return self._compile_error(compiled["stderr"], solution, f"tests.{task.language}")
        if build.tests and compiled["defines"] is None:
            return Diagnosis("what comes of it is no object file")
        if build.tests and compiled["defines"]:
            return Diagnosis(f"{compiled['defines'][0]}: a function of the libraries that judge")
        read = base64.b64decode(compiled["files"].get(DEPENDENCIES, "")).decode(errors="replace")
        if foreign := [path for path in prerequisites(read) if self._is_foreign(path, solution)]:
            return Diagnosis(f"includes {os.path.basename(foreign[0])}, which is no header")
        if steps[-1]["exit"] != 0:
            return _link_error(steps[-1]["stderr"])
        warned = any(self._counts(found, solution) for found in WARNING.finditer(compiled["stderr"]))
        warned |= len(steps) > 1 and LINK_WARNING.search(steps[1]["stderr"]) is not None
        return Diagnosis(None, warned or self.text(code, task.language).hides_warnings)

    def _compile_error(self, said: str, solution: str, tests: str) -> Diagnosis:
        found = ERROR.search(said)
        if OUT_OF_MEMORY.search(said):
            return Diagnosis("out of memory", exhausted=True)
        if found is None:
            return Diagnosis(None)
        what, path = RANDOM_NAME.sub("", found["what"]).strip('"'), found["file"] or ""
        dubious = DUBIOUS.search(said) is not None
        if path == tests:
            key = f"{found['line']}: {what}" if SYNTAX.match(what) else None
            return Diagnosis(f"{tests} line {found['line']}: {what}", in_tests=key, dubious=dubious)
        if path and path not in UNIT_PARTS and self._is_foreign(path, solution):
            return Diagnosis("includes a file that is no header")
        if os.path.basename(path) == solution:
            return Diagnosis(f"{solution} line {found['line']}: {what}", dubious=dubious)
        where = _way_to(said, found, (tests, solution) if path in UNIT_PARTS else (solution, tests))
        return Diagnosis(f"{where or ('behind its end: ' if path in UNIT_PARTS else '')}{what}", dubious=dubious)

    def _is_foreign(self, path: str, solution: str) -> bool:
        path = os.path.normpath(path)
        own = path in (solution, f"/tmp/{solution}", "-")
        return not own and not any(path == root or path.startswith(f"{root}/") for root in self._roots)

    def _counts(self, warning: re.Match, solution: str) -> bool:
        """Whether a warning is the solution's. That its main, as another function, returns nothing is none."""
        before = warning.string[: warning.start()].rstrip().rpartition("\n")[2]
        own_main = "return" in warning["what"] and "solution_main" in before
        return os.path.basename(warning["file"] or "") == solution and not own_main

    def are_broken(self, task: Task, diagnosis: Diagnosis, sandbox: Sandbox) -> bool:
        """Whether the compiler finds the same at the same place where it sees the tests alone."""
        if diagnosis.in_tests is None:
            return False
        tests = self.text(task.tests, task.language)
        before = EVERYTHING if task.language == "cpp" and self.precompiled else ""
        text = f'{before}# 1 "tests.{task.language}" 3\n{tests.text}\n'
        step = self._compile_step(task.language, before, "-") | {"stdin": text}
        step["argv"] = [*step["argv"], self.many_errors, "-fsyntax-only"]
        reports = self.run_steps(Build({}, [step], None), [step], sandbox)
        found = ERROR.finditer(reports[0]["stderr"]) if reports else ()
        return diagnosis.in_tests in {f"{error['line']}: {error['what']}" for error in found}

    def judge_tests(self, task: Task, build: Build, run: dict) -> list[Test]:
        """One test: it has passed where the tests' main has returned, reported so, and the process then ended well."""
        said, tokens = self.report_of(run, build), bytes.fromhex(build.secret)
        of_pass, of_failure = tokens[:TOKEN_BYTES], tokens[TOKEN_BYTES:]
        kind, line = said[TOKEN_BYTES:][:1], int.from_bytes(said[TOKEN_BYTES + 1 :][:4], "big")
        what = said[TOKEN_BYTES + 5 :].decode("utf-8", "replace")
        if said.startswith(of_failure) and kind == b"F":
            return [Test(WRONG_ANSWER, f"tests.{task.language} line {line}: assert({what})")]
        if said.startswith(of_failure) and kind == b"E":
            return [Test(RUNTIME_ERROR, f"an exception that nothing catches: {what}".rstrip(": "))]
        if trouble := run_trouble(self._sanitized(run)):
            return [Test(*trouble)]
        passed = said.startswith(of_pass) and kind == b"P"
        return [Test(None) if passed else Test(RUNTIME_ERROR, "ended before its tests did")]

    def report_of(self, run: dict, build: Build) -> bytes:
        """What the program has said on its channel."""
        return bytes.fromhex(run["said"])

    def _sanitized(self, run: dict) -> dict:
        """A run whose last words are a sanitizer's, where it had any."""
        found = SANITIZER.search(run["stderr"]) if self.options.sanitize else None
        return {**run, "stderr": found[0]} if found else run

    def selftests(self) -> Sequence[SelfTest]:
        """Sums: added, subtracted, and with an end before the tests."""
        tests = "#include <assert.h>\nint main() {\n    assert(add(1, 2) == 3);\n    assert(add(-1, 1) == 0);\n}\n"
        right = "int add(int a, int b) { return a + b; }\n"
        hostile = "#include <stdlib.h>\nint add(int a, int b) { exit(a + b == 1); }\n"
        return tuple(
            SelfTest(kind, Task("selftest", language, "Add two numbers.", self.name, "add", tests, []), code)
            for language in self.drivers
            for kind, code in (("right", right), ("wrong", right.replace("+", "-")), ("hostile", hostile))
        )

    def fingerprint(self) -> dict[str, Any]:
        """Compiler versions and flags."""
        versions = {name: version(path) for lang, name in self.drivers.items() if (path := self.paths[lang])}
        return {**versions, **self.options.model_dump(mode="json")}


def prerequisites(rule: str) -> list[str]:
    """The files in a rule for make, without its target."""
    names = re.findall(r"(?:\\[^\n]|[^\s\\])+", rule.replace("\\\n", " ").partition(":")[2])
    return [re.sub(r"\\(.)", r"\1", name).replace("$$", "$") for name in names]


def _way_to(said: str, error: re.Match, names: tuple[str, str]) -> str:
    """Where an error elsewhere, as in a header, comes from: the place in the first of the files that is named."""
    before = said[: error.start()].rpartition("error: ")[2]
    behind = said[error.end() :].partition("error: ")[0]
    for name in names:
        for text in (before, behind):
            if found := re.search(rf"(?:^|[ /]){re.escape(name)}:(\d+)", text, re.MULTILINE):
                return f"{name} line {found[1]}: "
    return ""


def _stamps(paths: list[str]) -> str:
    """A digest of sizes and times: what has been made of these files is of no use once they change."""
    found = (os.stat(path) for path in paths)
    text = "".join(f"{path} {at.st_size} {at.st_mtime_ns}\n" for path, at in zip(paths, found, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()


def _places(folder: str) -> set[str]:
    """A folder of headers by all its names, and the folders that links in it lead to."""
    with os.scandir(folder) as entries:
        links = {os.path.dirname(os.path.realpath(entry)) for entry in entries if entry.is_symlink()}
    return {os.path.normpath(folder), os.path.realpath(folder), *(at for at in links if "/include" in at)}


def _between(text: str, first: str, last: str) -> list[str]:
    lines = text.splitlines()
    begins = next((at for at, line in enumerate(lines) if line.startswith(first)), len(lines))
    ends = next((at for at, line in enumerate(lines) if line.startswith(last)), len(lines))
    return lines[begins + 1 : ends]


def _link_error(said: str) -> Diagnosis:
    """In the same words whatever the linker."""
    found, other = LINK_ERROR.search(said), ERROR.search(said)
    if found:
        words = f"undefined reference to '{found['symbol']}'" if found["undefined"] else f"two of '{found['twice']}'"
    else:
        words = other["what"] if other else ""
    return Diagnosis(RANDOM_NAME.sub("", words) or None, dubious=DUBIOUS.search(said) is not None)
