"""A stand-in for Microsoft's cl: takes its arguments, calls a GNU compiler, says what that says as cl would.

CL_COMPILER in the environment names the compiler; it is mingw's otherwise. A source with the word CL_HANGS makes
it hang, as a compiler may.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

BANNER = "Microsoft (R) C/C++ Optimizing Compiler Version 19.0 (stand-in) for x64"
FLAGS = {
    "/nologo": [],
    "/W4": ["-Wall", "-Wextra", "-Wno-unknown-pragmas"],
    "/EHsc": [],
    "/utf-8": [],
    "/WX": ["-Werror"],
    "/c": ["-c"],
}
LINE = re.compile(r"(?P<file>[^:\n]+):(?P<line>\d+):(?:\d+:)? (?P<kind>(?:fatal )?error|warning|note): (?P<message>.*)")
CODES = {
    "unused parameter": "C4100",
    "unused variable": "C4189",
    "comparison of integer expressions": "C4018",
    "No such file": "C1083",
    "was not declared": "C2065",
    "undeclared": "C2065",
    "expected": "C2143",
    "static assertion": "C2338",
    "no matching function": "C2672",
}
UNRESOLVED = re.compile(r"undefined reference to `([^'\n]+)'")


def arguments(words: list[str]) -> list[str]:
    """The words, with those of response files in their places."""
    found = []
    for word in words:
        found += Path(word[1:].replace("\\", "/")).read_text().split() if word.startswith("@") else [word]
    return found


def command(words: list[str]) -> tuple[list[str], list[str]]:
    """The GNU compiler's command, and the sources."""
    sources = [word for word in words if not word.startswith("/")]
    compiler = os.environ.get("CL_COMPILER", "x86_64-w64-mingw32-g++")
    if all(source.endswith(".c") for source in sources):
        compiler = compiler.replace("g++", "gcc")
    flags = ["-fno-diagnostics-show-caret", "-fdiagnostics-color=never", "-fmax-errors=100", "-static"]
    for word in words:
        if word.startswith("/std:"):
            flags.append(f"-std={word[5:]}")
        elif word.startswith("/Fe:"):
            flags += ["-o", word[4:]]
        elif word.startswith("/D"):
            flags.append(f"-D{word[2:]}")
        elif word in FLAGS:
            flags += FLAGS[word]
        elif word.startswith("/"):
            print(f"cl : Command line warning D9002 : ignoring unknown option '{word}'", flush=True)
    return [compiler, *flags, *sources], sources


def translate(said: str) -> str:
    """A GNU compiler's diagnostics in cl's form and order."""
    lines = []
    for line in said.splitlines():
        if found := LINE.match(line):
            kind, message = found["kind"], re.sub(r" \[-W[^\]]*\]$", "", found["message"])
            code = next((code for words, code in CODES.items() if words in message), None)
            code = "" if kind == "note" else " " + (code or ("C4996" if kind == "warning" else "C2059"))
            lines.append(f"{found['file']}({found['line']}): {kind}{code}: {message}")
        elif found := UNRESOLVED.search(line):
            symbol = f'unresolved external symbol "{found[1]}" referenced in function main'
            lines.append(f"solution.obj : error LNK2019: {symbol}")
    unresolved = sum("LNK2019" in line for line in lines)
    if unresolved:
        lines.append(f"program.exe : fatal error LNK1120: {unresolved} unresolved externals")
    return "".join(f"{line}\n" for line in lines)


def compile_all(words: list[str]) -> int:
    """What cl does; returns its exit code."""
    if not words:
        print(BANNER, "usage: cl [ option... ] filename... [ /link linkoption... ]", sep="\n\n", file=sys.stderr)
        return 0
    line, sources = command(words)
    print(*sources, sep="\n", flush=True)
    if any("CL_HANGS" in Path(source).read_text(encoding="utf-8", errors="replace") for source in sources):
        time.sleep(1000)
    if any("CL_DAWDLES" in Path(source).read_text(encoding="utf-8", errors="replace") for source in sources):
        time.sleep(1)
    environment = {**os.environ, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(line, capture_output=True, text=True, errors="replace", check=False, env=environment)
    print(translate(done.stderr), end="", flush=True)
    return 2 if done.returncode else 0


def main() -> None:
    exit_file = os.environ.get("CL_EXIT_FILE")
    if exit_file:  # started by cl.c
        os.dup2(1, 2)
        os.environ["PATH"] = os.defpath
    code = compile_all(arguments(sys.argv[1:]))
    if exit_file:
        Path(exit_file).write_text(f"{code}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
