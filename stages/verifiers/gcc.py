"""Verifier `gcc`: C and C++ with the system's gcc and g++; cases on stdin and stdout, or assert-style test text."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from stages.common.errors import SandboxError
from stages.common.files import value_hash
from stages.common.records import Task
from stages.sandbox import View
from stages.settings.verify import VerifySettings
from stages.verifiers.base import expect_language
from stages.verifiers.compiled import PROGRAM, Compiled

SEARCH = "/usr/bin:/usr/local/bin:/bin"  # what a sandbox sees
HEADERS_AT = "/forge/gcc"
PRECOMPILED = "bits/stdc++.h"
PLAIN_DIAGNOSTICS = ("-fdiagnostics-color=never", "-fno-diagnostics-show-caret", "-fmax-errors=20")
MAIN = re.compile(r"\bmain\s*\(")
# Linked around the tests' main: it hands the secret on descriptor 3 back once main has returned 0.
EVIDENCE = """\
#include <unistd.h>
int __real_main(int, char **, char **);
int __wrap_main(int count, char **arguments, char **environment) {
    int code = __real_main(count, arguments, environment);
    char secret[64];
    if (code == 0) {
        long size = read(3, secret, sizeof secret);
        if (size > 0 && write(3, secret, size) != size) return 1;
    }
    return code;
}
"""
GOOD = {"c": "#include <stdio.h>\nint main(void) { return 0; }\n", "cpp": "#include <iostream>\nint main() {}\n"}


class Gcc(Compiled):
    """Judges C and C++."""

    drivers = {"c": "gcc", "cpp": "g++"}  # noqa: RUF012 - a constant that a subclass replaces

    def __init__(self, settings: VerifySettings) -> None:
        super().__init__(settings)
        self.options = settings.gcc
        self.paths = {language: shutil.which(name, path=SEARCH) for language, name in self.drivers.items()}
        self.view = View()

    def check(self) -> str | None:
        """Both compilers, and their helpers built once."""
        missing = [name for language, name in self.drivers.items() if not self.paths[language]]
        if missing:
            return f"{' and '.join(missing)} not found; apt-get install g++, or dnf install gcc-c++"
        self.view = View(folders=((HEADERS_AT, str(self._helpers())),), tmp_mb=self.settings.limits.tmp_mb)
        return None

    def check_task(self, task: Task) -> None:
        """C and C++ only."""
        expect_language(task, ("c", "cpp"))

    def has_main(self, code: str) -> bool:
        """A word `main` before a parenthesis."""
        return MAIN.search(code) is not None

    def compile_limits(self) -> dict:
        """Those of a run, with a compiler's time and memory."""
        return self.settings.limits.job(
            cpu_seconds=self.options.compile_cpu_seconds, memory_mb=self.options.compile_memory_mb
        )

    def build(self, task: Task, code: str, link: bool) -> tuple[dict[str, str], list[str]]:
        """One file; test text goes behind the code, whose own main, if it has one, steps aside."""
        name = f"solution.{task.language}"
        command = [*self._command(task.language), f"-I{HEADERS_AT}", f"/tmp/{name}"]
        if not link:
            return {name: code}, [*command, "-c", "-o", f"/tmp/{PROGRAM}"]
        if task.tests.strip():
            code = self._with_tests(code, task)
            command += [f"{HEADERS_AT}/evidence.o", "-Wl,--wrap=main"]
        libraries = [f"-l{library}" for library in self.options.libraries]
        return {name: code}, [*command, "-o", f"/tmp/{PROGRAM}", *libraries]

    def _with_tests(self, code: str, task: Task) -> str:
        if MAIN.search(code) and MAIN.search(task.tests):
            code = f"#define main solution_main\n#line 1\n{code}\n#undef main"
        # The code may have switched assertions off; including the header again switches them on.
        return f'{code}\n#undef NDEBUG\n#include <assert.h>\n#line 1 "tests.{task.language}"\n{task.tests}\n'

    def good_program(self, task: Task) -> tuple[dict[str, str], list[str]]:
        """An empty main."""
        name = f"solution.{task.language}"
        return {name: GOOD[task.language]}, [*self._command(task.language), f"/tmp/{name}", "-o", f"/tmp/{PROGRAM}"]

    def _command(self, language: str) -> list[str]:
        standard = self.options.cpp_standard if language == "cpp" else self.options.c_standard
        return [self.paths[language], f"-std={standard}", *self.options.flags, *PLAIN_DIAGNOSTICS]

    def _version(self, language: str) -> str:
        result = subprocess.run(
            [self.paths[language], "--version"], capture_output=True, text=True, check=False, env={"LANG": "C"}
        )
        return (result.stdout.splitlines() or ["unknown"])[0]

    def fingerprint(self) -> dict[str, Any]:
        """Compiler versions and flags."""
        versions = {name: self._version(language) for language, name in self.drivers.items() if self.paths[language]}
        return {**versions, **self.options.model_dump(mode="json")}

    def _helpers(self) -> Path:
        """The folder with what is compiled once per toolchain and flags: evidence.o, and bits/stdc++.h, which takes
        longer to parse than most solutions take to compile. Only trusted text is compiled here, outside a sandbox."""
        key = value_hash([self.fingerprint(), EVIDENCE, GOOD])
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "halo-forge" / "gcc" / key
        if cache.is_dir():
            return cache
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SandboxError(f"{cache.parent}: {error.strerror}; XDG_CACHE_HOME can name another folder") from None
        with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
            made = Path(folder, "made")
            (made / PRECOMPILED).parent.mkdir(parents=True)
            (made / "evidence.c").write_text(EVIDENCE)
            _compile([self.paths["c"], "-O2", "-c", str(made / "evidence.c"), "-o", str(made / "evidence.o")])
            for language in self.drivers:
                self._expect_working(language, made)
            # Without this header (a C library of another kind) code compiles as before, just not faster.
            with contextlib.suppress(SandboxError):
                target = str(made / f"{PRECOMPILED}.gch")
                _compile([*self._command("cpp"), "-x", "c++-header", _header(self.paths["cpp"]), "-o", target])
            with contextlib.suppress(OSError):  # another process may have been faster
                made.rename(cache)
        return cache

    def _expect_working(self, language: str, folder: Path) -> None:
        """SandboxError where the settings' standard, flags and libraries do not build even an empty program."""
        source = folder / f"good.{language}"
        source.write_text(GOOD[language])
        libraries = [f"-l{library}" for library in self.options.libraries]
        _compile([*self._command(language), str(source), "-o", str(folder / "good"), *libraries])


def _compile(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={"LANG": "C", "PATH": SEARCH})
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["nothing"])[-1]
        raise SandboxError(f"{command[0]} does not compile a known-good file; it says: {last[:200]}")


def _header(driver: str) -> str:
    """Path of the real header, asked of the preprocessor."""
    command, text = [driver, "-M", "-x", "c++", "-"], f"#include <{PRECOMPILED}>\n"
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    found = re.search(r"\S+/bits/stdc\+\+\.h", result.stdout)
    if not found:
        raise SandboxError(f"{driver} has no {PRECOMPILED}")
    return found[0]
