"""The text that goes to rustc where tests are compiled in: the tests and the evidence around the solution.

    mod SOLUTION { ATTRIBUTES mod TESTS { the tests     comes through a pipe: `include_str!` does not find it
    ... }                                               calls each test, behind names that the solution cannot replace
    include!("solution.rs"); }                          macros of its own begin here, after the tests
    fn main() { ... }                                   reports each test on descriptor 3

SOLUTION and the like are random names. Each report begins with a random token, one for the pass of each test, one for
any failure and one for the end, so that a program which listens to its reports learns nothing that helps it; it goes
out by a system call of its own, so that no function of the solution's comes between. What an assertion says is taken
from its panic. As with C (c_unit.py), the solution shares the process with the tests: code that searches its own memory
for the token could forge a report, and tests that must hold against that are to be written as `cases`.
"""

import re
import secrets
from dataclasses import dataclass

from stages.verifiers.rust_text import OWN_CRATE, RustTest, RustText

TEXT_BYTES = 200
TOKEN_BYTES = 16
HEAD_BYTES = TOKEN_BYTES + 1 + 4 + 4 + 2  # token, kind, test, line, length of the text
# Tests with these may catch their own assertions; in others, one that the solution catches has failed all the same.
CATCHING = {"catch_unwind", "spawn", "spawn_scoped"}
NAMES = ("solution", "guard", "tests", "names", "one", "run", "send", "token")
BEHIND_TESTS = """
#[allow(unused_imports)] use super::*;
pub(crate) fn {run}(one: fn(u32, u128, bool, &str, fn())) {{
{calls}
}}
}}
pub(crate) use {tests}::{run};
#[allow(unused_imports)] use super::*;
#[allow(unused_imports)] use ::std::primitive::{{bool, char, f32, f64, i128, i16, i32, i64, i8, isize, str}};
#[allow(unused_imports)] use ::std::primitive::{{u128, u16, u32, u64, u8, usize}};
#[allow(unused_imports)] use ::std::{{boxed::Box, option::Option::{{self, None, Some}}, string::String, vec::Vec}};
#[allow(unused_imports)] use ::std::{{assert, assert_eq, assert_ne, debug_assert, debug_assert_eq, debug_assert_ne}};
#[allow(unused_imports)] use ::std::{{eprint, eprintln, format, matches, panic, print, println, todo}};
#[allow(unused_imports)] use ::std::{{unimplemented, unreachable, vec, write, writeln}};
}}
pub(crate) use {guard}::{run};
include!("/tmp/solution.rs");
}}
#[allow(unused_imports)]
mod {names} {{
    pub trait {outcome} {{ fn {check}(self); }}
    impl {outcome} for () {{ fn {check}(self) {{}} }}
    impl<T, E: ::std::fmt::Debug> {outcome} for ::std::result::Result<T, E> {{
        fn {check}(self) {{
            if let ::std::result::Result::Err(error) = self {{
                ::std::panic!("{{:?}}", error);
            }}
        }}
    }}
}}
"""
EVIDENCE = """
static {said}: ::std::sync::Mutex<::std::option::Option<(bool, u32, ::std::string::String)>> =
    ::std::sync::Mutex::new(::std::option::Option::None);
#[inline(never)]
fn {send}(token: u128, kind: u8, test: u32, line: u32, text: &str) {{
    let mut end = ::std::cmp::min(text.len(), {text_bytes});
    while !text.is_char_boundary(end) {{ end -= 1; }}
    let mut bytes = ::std::vec::Vec::<u8>::new();
    bytes.extend_from_slice(&token.to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(&test.to_be_bytes());
    bytes.extend_from_slice(&line.to_be_bytes());
    bytes.extend_from_slice(&(end as u16).to_be_bytes());
    bytes.extend_from_slice(&text.as_bytes()[..end]);
    #[cfg(target_arch = "x86_64")]
    unsafe {{
        ::std::arch::asm!("syscall", inlateout("rax") 1usize => _, in("rdi") 3usize, in("rsi") bytes.as_ptr(),
            in("rdx") bytes.len(), lateout("rcx") _, lateout("r11") _);
    }}
    #[cfg(target_arch = "aarch64")]
    unsafe {{
        ::std::arch::asm!("svc 0", in("x8") 64usize, inlateout("x0") 3usize => _, in("x1") bytes.as_ptr(),
            in("x2") bytes.len());
    }}
}}
fn {one}(number: u32, token: u128, panics: bool, expected: &str, test: fn()) {{
    ::std::panic::set_hook(::std::boxed::Box::new(|info| {{
        let payload = info.payload();
        let text = if let ::std::option::Option::Some(text) = payload.downcast_ref::<&str>() {{ (*text).to_string() }}
            else {{ payload.downcast_ref::<::std::string::String>().cloned().unwrap_or_default() }};
        let place = info.location().map(|at| (at.file() == "<anon>", at.line())).unwrap_or((false, 0));
        if let ::std::result::Result::Ok(mut said) = {said}.lock() {{
            *said = ::std::option::Option::Some((place.0, place.1, text));
        }}
    }}));
    let panicked = ::std::panic::catch_unwind(test).is_err();
    let found = {said}.lock().ok().and_then(|mut said| said.take());
    let (ours, line, text) = found.unwrap_or((false, 0, ::std::string::String::new()));
    if panics && !panicked {{
        {send}({failure}, b'F', number, 0, "does not panic");
    }} else if panics && !text.contains(expected) {{
        {send}({failure}, b'F', number, 0, "panics with other words");
    }} else if panics || !panicked && ({catching} || !ours) {{
        {send}(token, b'P', number, 0, "");
    }} else {{
        {send}({failure}, if ours {{ b'F' }} else {{ b'E' }}, number, line, &text);
    }}
}}
fn main() {{
    {solution}::{run}({one});
    {send}({end}, b'D', 0, 0, "");
}}
"""


@dataclass(frozen=True)
class Unit:
    """The unit of one job: `text` is what rustc is to read, `solution` what lies beside it, `tokens` (in hex) what true
    reports begin with: that of each test's pass, of a failure, of the end; `lines` how many lines of the text are the
    tests'."""

    text: str
    solution: str
    tokens: str
    tests: tuple[RustTest, ...]
    lines: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the program said of one test: it passed (P), an assertion failed (F), the solution panicked (E); or that
    all have been called (D)."""

    kind: str
    test: int
    line: int
    text: str


def make_unit(solution: RustText, tests: RustText) -> Unit:
    """The unit for a solution that lies beside it in a file."""
    names = {name: f"forge_{secrets.token_hex(8)}" for name in NAMES} | {
        "outcome": f"Forge{secrets.token_hex(8)}",
        "check": f"forge_{secrets.token_hex(8)}",
        "said": f"FORGE_{secrets.token_hex(8).upper()}",
    }
    found, text = tests.tests()
    *passes, failure, end = (secrets.token_bytes(TOKEN_BYTES) for _ in range(len(found) + 2))
    text = _own_paths(RustText(text), names["solution"])
    attributes, rest = solution.split()
    catching = str(bool(tests.words & CATCHING)).lower()
    calls = "\n".join(
        f"one({number}, {_literal(passes[number])}, {str(test.panics).lower()}, {test.expected}, || "
        f"crate::{names['names']}::{names['outcome']}::{names['check']}({test.path}()));"
        for number, test in enumerate(found)
    )
    parts = [
        f"mod {names['solution']} {{ {attributes} mod {names['guard']} {{ mod {names['tests']} {{ {text}",
        BEHIND_TESTS.format(**names, calls=calls),
        EVIDENCE.format(
            **names, failure=_literal(failure), end=_literal(end), catching=catching, text_bytes=TEXT_BYTES
        ),
    ]
    own = _own_paths(RustText(rest), names["solution"])
    tokens = b"".join((*passes, failure, end))
    return Unit("".join(parts), own, tokens.hex(), tuple(found), text.count("\n") + 1)


def _literal(token: bytes) -> str:
    return f"0x{token.hex()}u128"


def _own_paths(solution: RustText, module: str) -> str:
    """The solution is a module and no crate of its own: paths from its root on begin there."""
    text = solution.text
    for found in reversed(list(OWN_CRATE.finditer(solution.shown))):
        text = f"{text[: found.end()]}{module}::{text[found.end() :]}"
    return text


def read_reports(said: bytes, tokens: bytes) -> list[Report]:
    """The reports in a row, up to the first thing that is none; `tokens` are those of the unit."""
    *passes, failure, end = (tokens[at : at + TOKEN_BYTES] for at in range(0, len(tokens), TOKEN_BYTES))
    reports, at = [], 0
    while len(said) >= at + HEAD_BYTES:
        head = said[at + TOKEN_BYTES : at + HEAD_BYTES]
        kind, number, line = chr(head[0]), int.from_bytes(head[1:5], "big"), int.from_bytes(head[5:9], "big")
        expected = {"F": failure, "E": failure, "D": end}.get(kind)
        if kind == "P" and number < len(passes):
            expected = passes[number]
        if said[at : at + TOKEN_BYTES] != expected:
            break
        behind = at + HEAD_BYTES + int.from_bytes(head[9:11], "big")
        reports.append(Report(kind, number, line, said[at + HEAD_BYTES : behind].decode("utf-8", "replace")))
        at = behind
    return reports


def random_names(text: str) -> str:
    """A compiler's words without the names that are other ones in each job."""
    return re.sub(r"(?:crate::)?(?:forge_|Forge|FORGE_)[0-9a-fA-F]{16}(?:::)?", "", text)
