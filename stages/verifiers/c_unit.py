"""The text that goes to the compiler where tests are compiled in: the solution, then the tests, then the evidence.

    #include "solution.cpp"        in a file of its own: what it leaves open cannot swallow the tests
    ...                            its macros are taken back, but the headers' stay; an assertion is ours
    # 1 "tests.cpp" 3              the tests, whose main gets a random symbol
    ...                            our main calls theirs, and reports on descriptor 3 when that has returned 0

What is reported begins with a random token, a part of this text alone, one for a pass and another one for the rest; an
object file of ours (c_evidence.py) sends it. The text
reaches the compiler through a pipe, so that no
`#include` and no `.incbin` finds the tests; assertions and the report use system calls of their own, so that no
function of the solution's comes between; the program cannot read its own file, and cannot start processes in which to
try answers. Before that, c_text.py refuses what could change how the tests are compiled, and the object file is
searched for functions that take the place of the libraries' (`Unit.forbidden`).

What remains: the solution runs in the process of the tests. Code that finds its way in its own memory, that is, walks
up the stack, patches the tests' code or searches for the token, could report a pass; the values that tests compare
with lie there, too. Nothing can be found by name, and finding it by address takes knowledge of this scheme, of the
compiler and of its flags. Tests that must hold against that are to be written as `cases`: the judge keeps those.
"""

import re
import secrets
from dataclasses import dataclass

from stages.verifiers import c_evidence as c
from stages.verifiers.c_macros import EXPANSIONS, restored
from stages.verifiers.c_text import MAIN_DEFINITION, CText

SOLUTION, TESTS = "solution", "tests"
NAMES = ("fail", "failed", "hidden", "honest", "theirs", "run", "ours", "symbol", "barrier")
ORDINALS = ("first", "second", "third", "fourth")  # words of the two tokens
INCLUDES = re.compile(r"^[ \t]*#[ \t]*include\b[^\n]*", re.MULTILINE)
LAMBDA = re.compile(r"\[[^\[\]\n]{0,60}\]\s*[({]")
BEFORE = re.compile(r"(\w+|->|::|[^\w\s])?$")
BEFORE_A_CALL = {*"(,=!<>&|+-*/%{};?:)^~", "return", None}


@dataclass(frozen=True)
class Unit:
    """The unit of one job. `text` is what the compiler is to read, `token` (in hex) what true reports begin with, 16
    bytes for that of a pass and 16 for others, `forbidden` the symbols that its object file must not define."""

    text: str
    token: str
    forbidden: tuple[str, ...]


def main_of(tests: CText) -> re.Match | None:
    """Where tests define their main; None where they do not."""
    return MAIN_DEFINITION.search(tests.shown)


def make_unit(solution: CText, tests: CText, prompt: str, entry_point: str | None) -> Unit:
    """The unit for a solution that lies beside it in a file. The tests must have a main."""
    cpp = tests.language == "cpp"
    words = [secrets.randbits(64) for _ in ORDINALS]
    names = {name: f"forge_{secrets.token_hex(8)}" for name in NAMES}
    names |= {name: f"{word:016x}" for name, word in zip(ORDINALS, words, strict=True)}
    names["linkage"] = 'extern "C" ' if cpp else ""
    given = CText(prompt, tests.language, tests.standard)
    compares = cpp and solution.has("operator") is not None
    checks = cpp and solution.year >= 14 and (compares or bool(solution.classes))
    hides = compares and "operator" not in tests.words | given.words
    value = c.VALUE_HIDING.format(**names) if hides else c.VALUE_CPP if cpp else c.VALUE_C
    parts = [
        _beginning(solution, tests, given, names["barrier"]),
        f'# 1 "{TESTS}-evidence" 3\n',
        c.FAILED.format(**names),
        c.HIDING.format(**names) if hides else "",
        c.ASSERT.format(value=value),
        f"#define FORGE_FAILED {names['failed']}\n#include <assert.h>\n",
        _declaration(tests, names["symbol"]),
        *_renamed(solution, tests),
        *(_checked(solution, tests, names["honest"]) if checks else ()),
        f'# 1 "{TESTS}.{tests.language}" 3\n{tests.text}\n# 1 "{TESTS}-end" 3\n',
        c.START.format(**names),
    ]
    expected = {entry_point} | given.functions | tests.functions
    token = b"".join(word.to_bytes(8, "little") for word in words)
    return Unit("".join(parts), token.hex(), tuple(sorted((c.RUN_TIME | (c.REPLACEABLE & tests.words)) - expected)))


def _beginning(solution: CText, tests: CText, given: CText, barrier: str) -> str:
    """The solution, and the end of what it has set up for what follows.

    Its own main, where it has one, steps aside. Something that it has left open is an error at the barrier.
    """
    macros = solution.macros & (c.OWN_WORDS | (tests.words | EXPANSIONS) - given.macros)
    macros |= {
        name for name in solution.macros - given.macros if name.startswith("__")
    }  # the headers' are made of such
    undone = sorted(macros | {"main", "NDEBUG", "assert", *c.OWN_MACROS})
    return "".join(
        (
            "#define main solution_main\n" if solution.has_main else "",
            f'#include "{SOLUTION}.{solution.language}"\n',
            *(f"#undef {name}\n" for name in undone),
            restored(macros, tests),
            f"extern int {barrier};\n#pragma pack()\n#ifndef __clang__\n#pragma GCC reset_options\n#endif\n",
        )
    )


def _declaration(tests: CText, symbol: str) -> str:
    """What gives the tests' main another symbol. It stays a main to the compiler, which may end without a return."""
    found = main_of(tests)
    kind = "void" if found["type"] == "void" else "int"
    return f'{kind} main({tests.text[found.start("parameters") : found.end("parameters")]}) __asm__("{symbol}");\n'


def _renamed(solution: CText, tests: CText) -> list[str]:
    """Helpers of the tests that the solution knows as well get other names; before that come the tests' headers."""
    shared = {name for name in tests.functions & solution.words if not _is_member(tests.code, name)}
    if not shared:
        return []
    headers = (f"{line}\n" for line in INCLUDES.findall(tests.text))
    return [*headers, *(f"#define {name} forge_{secrets.token_hex(4)}_{name}\n" for name in sorted(shared))]


def _is_member(code: str, name: str) -> bool:
    return re.search(rf"(?:\.|->|::)\s*{name}\b", code) is not None


def _checked(solution: CText, tests: CText, honest: str) -> list[str]:
    """What looks at the types that assertions compare, and at those that the solution's functions return: macros, at
    each of their calls in the tests. None where an argument must not be there twice."""
    if LAMBDA.search(tests.code):
        return []
    named, unnamed = solution.classes & tests.words, solution.classes - tests.words
    lists = {
        key: "".join(f'"{name}", ' for name in sorted(found)) for key, found in (("named", named), ("unnamed", unnamed))
    }
    known = tests.functions | c.KEYWORDS | solution.classes | tests.classes | tests.macros
    names = sorted(name for name in tests.called & solution.called - known if _only_called(tests.code, name))
    macro = "#ifndef {0}\n#define {0}(...) (::{1}::result<decltype({0}(__VA_ARGS__))>(), {0}(__VA_ARGS__))\n#endif\n"
    return [c.HONEST.format(honest=honest, **lists), *(macro.format(name, honest) for name in names)]


def _only_called(code: str, name: str) -> bool:
    """Whether `name` before a parenthesis is a call each time, and no declaration or member."""
    for found in re.finditer(rf"\b{name}\s*\(", code):
        before = code[max(0, found.start() - 100) : found.start()].rstrip()
        if BEFORE.search(before)[1] not in BEFORE_A_CALL or before.endswith(("->", "::")):
            return False
    return True
