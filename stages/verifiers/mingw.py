"""Verifier `mingw`: C and C++ for 64-bit Windows, cross-compiled by GCC; run under wine where that is asked for.

What comes out of the compiler must be a PE of x86_64. Without wine no program is run, and a program earns 0.5 at most.
Under wine a program is not out of reach of its own file, and reports on standard error.
"""

import base64
import shlex
import struct
from typing import ClassVar

from stages.common.records import Task
from stages.sandbox import abilities
from stages.settings.verify import VerifySettings
from stages.verifiers.base import SelfTest
from stages.verifiers.c_evidence import REPORT_BYTES
from stages.verifiers.c_family import TOKEN_BYTES
from stages.verifiers.compiled import Build, Diagnosis
from stages.verifiers.gcc import Gcc
from stages.verifiers.toolchain import Workshop, find
from stages.verifiers.verdicts import CLEAN

PROGRAM = "/tmp/program.exe"
HEAD_BYTES = 4096
X86_64, PE32_PLUS, EXECUTABLE = 0x8664, 0x20B, 2
WINE_ADDRESSES_MB = 1 << 20  # it sets apart much more than it uses
WINE_PROCESSES = 128
# A prefix of one's own, with the files of a prepared one.
PREFIX = """\
mkdir -p /tmp/prefix/dosdevices
cp {at}/prefix/*.reg {at}/prefix/.update-timestamp /tmp/prefix/
ln -s {at}/prefix/drive_c /tmp/prefix/drive_c
ln -s ../drive_c /tmp/prefix/dosdevices/c:
ln -s / /tmp/prefix/dosdevices/z:
exec {wine} {program}
"""


class Mingw(Gcc):
    """Judges C and C++ for Windows."""

    name = "mingw"
    drivers: ClassVar[dict[str, str]] = {"c": "x86_64-w64-mingw32-gcc", "cpp": "x86_64-w64-mingw32-g++"}
    packages = "apt-get install g++-mingw-w64-x86-64, or dnf install mingw64-gcc-c++"
    linkers = ()
    program = PROGRAM

    def __init__(self, settings: VerifySettings) -> None:
        super().__init__(settings)
        self.wine = find("wine") or find("wine64")

    def check(self) -> str | None:
        """The compilers, and wine where programs are to be run."""
        if self.options.run and not self.wine:
            return "wine not found; apt-get install wine, or dnf install wine-core; or set run to null"
        return super().check()

    def _fill(self, workshop: Workshop) -> None:
        super()._fill(workshop)
        if self.options.run:
            (workshop.path / "fonts.conf").write_text("<fontconfig/>\n")  # none: wine complains where there is no file
            # Its server writes the registry when it ends, and must not be ended before.
            prepare = f"{shlex.quote(self.wine or '')} wineboot --init && wineserver --wait && ls prefix/system.reg"
            command = ["/usr/bin/env", f"WINEPREFIX={workshop.at}/prefix", "WINEDEBUG=-all", "/bin/sh", "-c", prepare]
            workshop.expect(command, proc=abilities()["proc"])

    def unrun(self, task: Task) -> str:
        """No wine."""
        return "not run: wine was not asked for" if task.tests.strip() or task.cases else "no tests"

    def run_step(self) -> dict | None:
        """Under wine, or not at all."""
        if not self.options.run:
            return None
        own = self.settings.limits.cpu_seconds
        limits = self.settings.limits.job(
            cpu_seconds=own + self.options.startup_cpu_seconds, memory_mb=WINE_ADDRESSES_MB, processes=WINE_PROCESSES
        )
        script = PREFIX.format(at=self.workshop.at, wine=shlex.quote(self.wine or ""), program=PROGRAM)
        fonts = f"{self.workshop.at}/fonts.conf"
        environment = {"WINEPREFIX": "/tmp/prefix", "WINEDEBUG": "-all", "FONTCONFIG_FILE": fonts}
        step = {"argv": ["/bin/sh", "-c", script], "limits": limits, "environment": environment}
        return step | {"sealed": PROGRAM, "readable": True}

    def build(self, task: Task, code: str, program: bool) -> Build:
        """As for Linux, with a look at the head of what comes out."""
        return self._looked_at(super().build(task, code, program))

    def build_tests(self, task: Task, code: str) -> Build:
        """As for Linux, with a look at the head of what comes out. Wine starts processes of its own."""
        build = self._looked_at(super().build_tests(task, code))
        if build.run:
            build.run["alone"] = False
        return build

    def _looked_at(self, build: Build) -> Build:
        """The last step is a linker's, or the compiler's of a library."""
        made = "program.exe" if len(build.steps) > 1 else "unit.o"
        build.steps[-1]["collect"] = {**build.steps[-1].get("collect", {}), made: HEAD_BYTES}
        return build

    def diagnose(self, task: Task, code: str, build: Build, steps: list[dict]) -> Diagnosis:
        """As for Linux; what was made must be for Windows."""
        found = super().diagnose(task, code, build, steps)
        if found.error or len(steps) < len(build.steps) or steps[-1]["exit"] != 0:
            return found
        files = steps[-1]["files"]
        if "program.exe" in files:
            trouble = pe_trouble(base64.b64decode(files["program.exe"]))
        else:
            head = base64.b64decode(files.get("unit.o", ""))
            trouble = None if head[:2] == struct.pack("<H", X86_64) else "no object file of x86_64"
        return Diagnosis(trouble) if trouble else found

    def report_of(self, run: dict, build: Build) -> bytes:
        """What begins with one of the tokens, on standard error."""
        said, tokens = run["stderr"].encode("utf-8", "surrogateescape"), bytes.fromhex(build.secret)
        found = [at for token in (tokens[:TOKEN_BYTES], tokens[TOKEN_BYTES:]) if (at := said.find(token)) >= 0]
        return said[min(found) :][:REPORT_BYTES] if found else b""

    def selftests(self) -> tuple[SelfTest, ...]:
        """As for Linux; without wine the right ones earn what compiling is worth, and the others do not compile."""
        if self.options.run:
            return tuple(super().selftests())
        return tuple(
            SelfTest(
                test.kind, test.task, test.code if test.kind == "right" else f"{test.code}{BROKEN[test.kind]}", CLEAN
            )
            for test in super().selftests()
        )


# Not found out by anything but the linker, and a file of another system.
BROKEN = {
    "wrong": "int missing(int);\nint (*volatile use)(int) = missing;\n",
    "hostile": '#include "/proc/self/environ"\n',
}


def pe_trouble(head: bytes) -> str | None:
    """Why a file, by its first bytes, is no program for 64-bit Windows; None where it is one."""
    if head[:2] != b"MZ" or len(head) < 0x40:
        return "no PE: it does not begin as one"
    at = struct.unpack_from("<I", head, 0x3C)[0]
    if head[at : at + 4] != b"PE\0\0" or len(head) < at + 26:
        return "no PE: it has no PE header"
    machine, sections, *_, characteristics = struct.unpack_from("<HHIIIHH", head, at + 4)
    kind = struct.unpack_from("<H", head, at + 24)[0]
    if machine != X86_64 or kind != PE32_PLUS:
        return f"a PE of another machine: {machine:#06x}"
    return None if characteristics & EXECUTABLE and sections else "a PE that is no program"
