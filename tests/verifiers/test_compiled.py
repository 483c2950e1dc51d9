"""C and C++: hostile programs for both compilers, sanitizers, settings, precompiled headers, and what reads the text.

`hostile_c.jsonl`: `max_reward` says what a program may earn at most; in a completion, [text, count] is text that often.
"""

import dataclasses
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import SandboxError
from stages.common.records import Sample, Task, Verdict
from stages.sandbox import Sandbox, View
from stages.settings.verify import VerifySettings
from stages.verifiers import make
from stages.verifiers.c_text import CText
from stages.verifiers.mingw import pe_trouble
from stages.verifiers.pool import verify_samples
from stages.verifiers.precompiled import leading_headers

COMPILERS = ("gcc", "clang")
FAST = {"compile_cpu_seconds": 4, "compile_memory_mb": 1536}
LIMITS = {"cpu_seconds": 1, "wall_factor": 2.0, "memory_mb": 512}
SETTINGS = VerifySettings.parse({"limits": LIMITS, "gcc": FAST, "clang": FAST, "cache": False}, "test")
HOSTILE = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases" / "hostile_c.jsonl").read_text(encoding="utf-8").splitlines()
]
TESTS = "#include <assert.h>\nint main() {\n    assert(add(1, 2) == 3);\n}\n"
RIGHT = "int add(int a, int b) { return a + b; }\n"
TASK = Task("t", "cpp", "Add.", "gcc", "add", TESTS, [])


def usable(compiler: str) -> bool:
    """Whether it is here."""
    return make(compiler, SETTINGS).check() is None


def text_of(completion: str | list) -> str:
    """A completion in full."""
    if isinstance(completion, str):
        return completion
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in completion)


def judge(code: str, task: Task = TASK, **settings: Any) -> Verdict:
    """The verdict on one program."""
    parsed = VerifySettings.parse({"limits": LIMITS, "cache": False, **settings}, "test")
    return next(verify_samples({task.task_id: task}, [Sample(task.task_id, 0, code)], parsed))


@pytest.fixture(scope="module")
def judged() -> dict[tuple[str, str], Verdict]:
    """All hostile programs, judged in one go by each compiler that is here."""
    fields = ("language", "prompt", "entry_point", "tests", "cases")
    tasks, samples = {}, []
    for compiler in filter(usable, COMPILERS):
        for case in HOSTILE:
            name = f"{compiler}: {case['name']}"
            tasks[name] = Task(task_id=name, verifier=compiler, **{key: case[key] for key in fields})
            samples.append(Sample(name, 0, text_of(case["completion"])))
    keys = [tuple(sample.task_id.split(": ", 1)) for sample in samples]
    return dict(zip(keys, verify_samples(tasks, samples, SETTINGS), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case["name"])
def test_hostile(judged: dict[tuple[str, str], Verdict], case: dict[str, Any], compiler: str) -> None:
    if (compiler, case["name"]) not in judged:
        pytest.skip(f"no {compiler} here")
    verdict = judged[compiler, case["name"]]
    assert verdict.reward <= case["max_reward"], verdict
    assert verdict.level == case.get("level", verdict.level), verdict
    assert len(verdict.detail) <= 200
    assert "forge_" not in verdict.detail


@pytest.mark.parametrize("compiler", COMPILERS)
def test_verdicts_repeat(compiler: str) -> None:
    """Random names and tokens leave no trace."""
    task = dataclasses.replace(TASK, verifier=compiler)
    codes = ("struct A {", "int add(int a, int b) { return a * b; }", "namespace x {", "int add(int) { return 1; }")
    for code in codes:
        assert judge(code, task) == judge(code, task)


SANITIZED = {
    "right": ("undefined", RIGHT, ""),
    "right, too": ("address", RIGHT, ""),
    "overflow": (
        "undefined",
        "#include <climits>\nint add(int a, int b) { int x = INT_MAX; x += a; return x - INT_MAX + b; }\n",
        "runtime error: signed integer overflow",
    ),
    "past the end": (
        "address",
        "#include <vector>\nint add(int a, int b) { std::vector<int> v(a + b); return v.data()[a + b]; }\n",
        "AddressSanitizer: heap-buffer-overflow",
    ),
    "after its end": (
        "address",
        "int add(int a, int b) { volatile int *p = new int(a + b); delete p; return *p; }\n",
        "AddressSanitizer: heap-use-after-free",
    ),
}


def links_sanitizers(compiler: str, folder: Path) -> bool:
    """Whether the compiler's run-time libraries are here: a package of their own for clang."""
    command = [shutil.which({"gcc": "g++", "clang": "clang++"}[compiler]), "-fsanitize=address,undefined", "-x", "c++"]
    done = subprocess.run([*command, "-", "-o", folder / "program"], input="int main() {}", text=True, check=False)
    return done.returncode == 0


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", SANITIZED)
def test_sanitizers(compiler: str, name: str, tmp_path: Path) -> None:
    if not links_sanitizers(compiler, tmp_path):
        pytest.skip(f"{compiler} has no run-time libraries of its sanitizers here (Debian: libclang-rt-dev)")
    sanitizer, code, detail = SANITIZED[name]
    verdict = judge(code, dataclasses.replace(TASK, verifier=compiler), **{compiler: {"sanitize": [sanitizer]}})
    assert (verdict.reward < 1.0) == bool(detail), verdict
    assert detail in verdict.detail


@pytest.mark.parametrize(
    "changes", ({"cpp_standard": "c++1999"}, {"flags": ["-fno-such-flag"]}, {"libraries": ["no-such-library"]})
)
def test_settings_that_build_nothing(changes: dict[str, Any]) -> None:
    """One error that names the compiler, and no verdicts."""
    with pytest.raises(SandboxError, match=r"g(cc|\+\+) does not compile a known-good file; it says: "):
        judge(RIGHT, gcc=changes)


def test_settings_reach_the_compiler() -> None:
    code = "#include <string_view>\n" + RIGHT
    assert judge(code, gcc={"cpp_standard": "c++14"}).reward == 1.0  # the header is empty before C++17
    assert judge(code + "std::string_view v;\n", gcc={"cpp_standard": "c++14"}).level == "compile_error"
    assert judge("int add(int a, int b) { return a + b + N; }\n", gcc={"flags": ["-DN=0"]}).reward == 1.0
    md5 = "#include <zlib.h>\nint add(int a, int b) { return zlibVersion() ? a + b : 0; }\n"
    if Path("/usr/include/zlib.h").exists():
        assert judge(md5).detail == "undefined reference to 'zlibVersion'"
        assert judge(md5, gcc={"libraries": ["z"]}).reward == 1.0


def test_headers_are_precompiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the second program that begins with them; verdicts do not change, and what they hide stays hidden."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    programs = [f"#include <vector>\n#include <cstdio>\nstd::vector<int> v{n};\n{RIGHT}" for n in range(3)]
    programs += [
        "#include <vector>\nstd::string s;\n" + RIGHT,
        "#include <vector>\n#include <string>\nstd::string s;\n" + RIGHT,
    ]
    samples = [Sample("t", n, code) for n, code in enumerate(programs)]
    verdicts = list(verify_samples({"t": TASK}, samples, VerifySettings.parse({"cache": False, "workers": 1}, "test")))
    assert [verdict.reward for verdict in verdicts] == [1.0, 1.0, 1.0, 0.0, 1.0]
    assert [path.name for path in (tmp_path / "halo-forge" / "gcc").glob("*/*.gch")] == ["vector.h.gch"]


@pytest.mark.parametrize(
    ("text", "expected"),
    (
        ("#include <vector>\n#include<map>\nint x;\n#include <set>\n", {"vector", "map"}),
        ("\ufeff// a\n/* b\n */ #include <vector>\n#pragma once\n# include <stdio.h>\n", {"vector"}),
        ("#define NDEBUG\n#include <vector>\n", set()),
        ('#include <vector>\n#include "own.h"\n#include <map>\n', {"vector"}),
        ("#include <vector>\n#include <boost/any.hpp>\n#include <map>\n", {"vector"}),
        ("// a \\\n#include <vector>\n", set()),
        ("#if 0\n#include <vector>\n#endif\n", set()),
        ("/* #include <vector>\n", set()),
    ),
)
def test_leading_headers(text: str, expected: set[str]) -> None:
    assert leading_headers(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    (
        ("int a; // asm\n", {"int", "a"}),
        ('const char *s = "asm \\" asm"; char c = \'"\';', {"const", "char", "s", "c"}),
        ('auto s = R"x(asm )" )x"; int b;', {"auto", "s", "R", "int", "b"}),
        ("int a = 1'000'000; int b;", {"int", "a", "b"}),
        ("a\\\nb", {"ab"}),
        ("#if 0\ndon't /* \n#endif\nint c; /* */", {"if", "don", "endif", "int", "c"}),
    ),
)
def test_words(text: str, words: set[str]) -> None:
    assert CText(text, "cpp", "c++17").words == words


@pytest.mark.parametrize(
    ("text", "hides"),
    (
        ('#pragma GCC diagnostic ignored "-Wall"\n', True),
        ("#pragma GCC system_header\n", True),
        ('_Pragma("GCC diagnostic push")\n', True),
        ("#define P(x) _Pragma(#x)\nP(GCC diagnostic push)\n", True),
        ('# 1 "x.h" 3\n', True),
        ('#line 3 "tests.cpp"\n', True),
        ("#define D(a, b) P(GCC a##b)\n_Pragma\ndiag nostic\n", True),
        ('#pragma once\n#pragma GCC optimize("O3")\n// diagnostic\n', False),
        ("int diagnostic;\n", False),
    ),
)
def test_hidden_warnings(text: str, hides: bool) -> None:
    assert CText(text, "cpp", "c++17").hides_warnings == hides


@pytest.mark.parametrize(
    "piece", ("x", "f(", "f(x", "class a ", "operator==<", "template<", "'", '"', 'R"(', "/*", "\\\n", "#", "}x", "1'")
)
def test_text_is_read_in_linear_time(piece: str) -> None:
    text = CText(piece * (400_000 // len(piece)), "cpp", "c++17")
    began = time.process_time()
    text.refusal(), text.hides_warnings, text.broken(), text.functions, text.called, text.macros
    assert time.process_time() - began < 10


LOOKS_AROUND = """\
#include <cstdio>
#include <dirent.h>
int main() {
    int count = 0;
    DIR *folder = opendir("/tmp");
    while (readdir(folder)) count++;
    FILE *own = fopen("/proc/self/exe", "r");
    fopen("/tmp/left", "w");
    printf("%d %d", count - 2, own != nullptr);
}
"""
STARTS_OTHERS = """\
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <unistd.h>
int main() {
    int done = 0;
    std::thread thread([&] { done = 1; });
    thread.join();
    printf("%d %d %d %d", done, fork(), vfork(), system("true") != 0);
}
"""
DEFINES = """\
static int mine(void) { return 1; }
__attribute__((weak)) int theirs(void) { return mine(); }
__attribute__((visibility("hidden"))) int hidden;
int used(void);
int public(void) { return used(); }
"""


def run_steps(*steps: dict, files: dict[str, str] | None = None) -> list[dict]:
    limits = SETTINGS.limits.job()
    job = {"kind": "steps", "files": files or {}, "steps": [{"limits": limits, **step} for step in steps]}
    with Sandbox() as sandbox:
        return sandbox.run({**job, "limits": limits, "runs": len(steps)}, View())["steps"]


def test_a_sealed_program_starts_alone() -> None:
    """It finds nothing, not even itself, as often as it runs; what it leaves is gone with the next."""
    compiler = {"argv": ["/usr/bin/g++", "-x", "c++", "/tmp/a.cpp", "-o", "/tmp/a"], "needed": True}
    sealed = {"argv": ["/tmp/a"], "sealed": "/tmp/a"}
    steps = run_steps(compiler, sealed, sealed, {**sealed, "readable": True}, files={"a.cpp": LOOKS_AROUND})
    assert [step["stdout"] for step in steps[1:]] == ["0 0", "0 0", "0 1"]


def test_what_comes_through_a_pipe_is_read_once() -> None:
    for size in (10, 1 << 20):
        step = {"argv": ["/bin/sh", "-c", "wc -c; wc -c < /proc/self/fd/0"], "stdin": "x" * size, "once": True}
        assert run_steps(step)[0]["stdout"].split() == [str(size), "0"]


def test_a_program_alone_has_threads_and_no_children() -> None:
    compiler = {"argv": ["/usr/bin/g++", "-x", "c++", "/tmp/a.cpp", "-o", "/tmp/a"], "needed": True}
    alone = {"argv": ["/tmp/a"], "sealed": "/tmp/a", "alone": True}
    assert run_steps(compiler, alone, files={"a.cpp": STARTS_OTHERS})[1]["stdout"] == "1 -1 -1 1"


def test_symbols_of_an_object_file() -> None:
    names = ["mine", "theirs", "hidden", "used", "public", "other"]
    for compiler in filter(shutil.which, ("gcc", "clang", "x86_64-w64-mingw32-gcc")):
        argv = [shutil.which(compiler, path="/usr/bin"), "-O0", "-x", "c", "/tmp/a.c", "-c", "-o", "/tmp/a.o"]
        step = {"argv": argv, "defines": ("a.o", names), "needed": True}
        assert run_steps(step, files={"a.c": DEFINES})[0]["defines"] == ["hidden", "mine", "public", "theirs"], compiler
    garbage = {"argv": ["/bin/true"], "defines": ("a.o", names)}
    for text in ("", "x", "\x7fELF", "\x7fELF\x02\x01" + "\x7f" * 90):
        assert run_steps(garbage, files={"a.o": text})[0]["defines"] is None


def test_pe() -> None:
    def head(machine: int = 0x8664, kind: int = 0x20B, flags: int = 0x22, sections: int = 3) -> bytes:
        pe = b"PE\0\0" + machine.to_bytes(2, "little") + sections.to_bytes(2, "little") + bytes(14)
        return (
            b"MZ"
            + bytes(58)
            + (64).to_bytes(4, "little")
            + pe
            + flags.to_bytes(2, "little")
            + kind.to_bytes(2, "little")
        )

    assert pe_trouble(head()) is None
    for wrong in (
        b"",
        b"MZ",
        b"\x7fELF",
        head()[:70],
        head(machine=0x14C),
        head(kind=0x10B),
        head(flags=0),
        head(sections=0),
    ):
        assert pe_trouble(wrong)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("wine"), reason="no wine here")
def test_wine() -> None:
    """Programs and tests for Windows run where that is asked for, and are judged as elsewhere."""
    if not usable("mingw"):
        pytest.skip("no mingw here")
    settings = VerifySettings.parse({"limits": LIMITS, "mingw": {"run": "wine"}, "cache": False}, "test")
    verifier = make("mingw", settings)
    assert verifier.check() is None
    case = {"stdin": "1 2\n", "stdout": "3\n"}
    program = Task("p", "cpp", "Add.", "mingw", None, "", [case, {"stdin": "2 2\n", "stdout": "4\n"}])
    adds = "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; return %s; }\n"
    with Sandbox() as sandbox:
        for test in verifier.selftests():
            found = verifier.verify(test.task, test.code, sandbox)
            assert (found.reward == 1.0) == (test.kind == "right"), (test, found)
        assert verifier.verify(program, adds % "0", sandbox).reward == 1.0
        assert verifier.verify(program, adds % "3", sandbox).detail == "case 1: exit code 3"
