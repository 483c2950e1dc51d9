"""What goes to cl and what comes back from it: code that must not reach the host, and the diagnostics of a compilation.

cl runs without a sandbox around it, so code that names files by path is refused: no file of the host, and no share of
the network, is opened for it, and none shows up in a diagnostic. Everything here is linear in the text's length.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

SPLICE = re.compile(r"\\[ \t]*\r?\n")
# Whatever may open a directive: an end of a comment may, too.
DIRECTIVE = re.compile(r"(#|%:|\?\?=|\*/)\s*(include_next|include|import|embed|using|pragma)\b")
IMPORT = re.compile(r"^[ \t]*(?:export[ \t]+)?import[ \t]*[<\"]", re.MULTILINE)
PROBE = re.compile(r"\b__has_(?:include(?:_next)?|embed)\b")
ASKED_FOR = re.compile(r"(?:#\s*if(?:n?def)?|\bdefined)[\s(]*$")
NAME = r"[A-Za-z0-9_+][A-Za-z0-9_+.-]*"
PLAIN_FILE = re.compile(rf"\s*(?:<{NAME}(?:/{NAME})*>|\"{NAME}(?:/{NAME})*\")")
DEVICE = re.compile(r"[<\"/](?:con|nul|aux|prn|com\d|lpt\d)(?:\.[^/]*)?[>\"/]", re.IGNORECASE)
PLAIN_LIBRARY = re.compile(r"\s*comment\s*\(\s*lib\s*,\s*\"[\w+.-]+\"\s*\)")
WORD = re.compile(r"\s*(\w+)")
OPERATOR = re.compile(r"\b(?:_Pragma|__pragma)\b")
FAR_REACHING = re.compile(r"\b(?:include_alias|comment)\b")
# Of these no warning gets lost. Any other pragma may hide some.
HARMLESS_PRAGMA = re.compile(
    r"\s*(?:once|pack|omp|region|endregion|message|intrinsic|optimize|inline_depth|inline_recursion|auto_inline|loop|unroll"
    r"|comment|float_control|fp_contract|fenv_access|STDC|function|section|data_seg|code_seg|const_seg|bss_seg|init_seg"
    r"|alloc_text|check_stack|runtime_checks|strict_gs_check|vtordisp|setlocale|detect_mismatch)\b"
)
# With these, text from elsewhere could get into a message, or the time of day.
OPAQUE = re.compile(r"##|%:%:|\?\?=\?\?=|\b(?:_Pragma|__pragma|__TIME__|__DATE__|__TIMESTAMP__|__FILE__)\b")

LONGEST_COMMENT = 200  # characters before a directive
LONGEST_LINE = 2000
DIAGNOSTIC = re.compile(
    r"(?P<file>.{0,400}?)\s?(?:\((?P<line>\d{1,9})(?:,\d{1,9})?\))?\s?: "
    r"[^:'\"]{0,60}?\b(?P<code>[A-Z]{1,4}\d{4,5})\s?: (?P<message>.*)"
)
NOTE = re.compile(r"(?P<file>.{0,400}?)\s?\((?P<line>\d{1,9})(?:,\d{1,9})?\)\s?: ")
WARNING_CODE = re.compile(r"C(?:4\d{3}|5\d{3}|6\d{3}|26\d{3}|28\d{3})|(?:LNK|CVT|RC)4\d{3}|D(?:4|9)\d{3}")
PATH = re.compile(r"(?:\b[A-Za-z]:|\\)\\(?:[^\\/:*?\"<>|'\n]{1,100}\\)*")
RANDOM = re.compile(r"\b(?:unit-|forge_|job-|run-|in-)[0-9a-f]{16,32}(?:_[tv]\b)?")  # names of ours
SOURCES = re.compile(r"(?:^|[\\/])((?:solution|tests)\.(?:c|cpp))$")
# A full disk, a lack of memory or a virus scanner may be behind these as well as the code.
DOUBTFUL = re.compile(r"C10(?:01|02|60|63|69|76|81|85|88|90)|C1902|LNK1(?:000|102|104|181|201)")


@dataclass(frozen=True, slots=True)
class Source:
    """What code says about itself before it is compiled."""

    refusal: str | None  # why it must not reach the host
    hides_warnings: bool
    opaque: bool  # the text of diagnostics is not to be shown


def inspect(code: str) -> Source:
    """Look for what names files by path, and for what switches warnings off; in doubt, it does."""
    text = SPLICE.sub("", code)
    refused = next(_refused(text), None)
    hides = OPERATOR.search(text) or any(
        name == "pragma" and not HARMLESS_PRAGMA.match(rest) for name, rest in _directives(text)
    )
    refusal = None if refused is None else f"not sent to the compiler's host: {refused}"
    return Source(refusal, bool(hides), bool(OPAQUE.search(text)))


def _directives(text: str) -> Iterator[tuple[str, str]]:
    """Name of a directive, and the line's rest."""
    for found in DIRECTIVE.finditer(text):
        rest = _rest(text, found.end())
        if not _in_comment(text, found) and (found[2] != "using" or re.match(r"\s*[<\"]", rest)):
            yield found[2], rest


def _refused(text: str) -> Iterator[str]:
    for name, rest in _directives(text):
        if not _is_plain(name, rest):
            yield f"#{name}{rest[:60]}"
    for found in PROBE.finditer(text):
        before, rest = text[max(0, found.start() - 40) : found.start()], _rest(text, found.end())
        asked_for = ASKED_FOR.search(before) and not rest.lstrip(" \t").startswith("(")
        if not asked_for and not _is_plain_probe(rest):
            yield f"{found[0]}{rest[:60]}"
    if found := IMPORT.search(text):
        yield text[found.start() : found.end() + 60]
    if OPERATOR.search(text) and (found := FAR_REACHING.search(text)):
        yield f"{found[0]} beside an operator pragma"


def _rest(text: str, at: int) -> str:
    return text[at : at + 300].partition("\n")[0]


def _in_comment(text: str, found: re.Match) -> bool:
    """Whether the line, up to a directive, is a comment whatever came before it."""
    at = found.start()
    start = text.rfind("\n", max(0, at - LONGEST_COMMENT), at) + 1
    return start > 0 and text[start:at].lstrip(" \t").startswith("//") and "*/" not in text[start : found.end()]


def _is_plain(name: str, rest: str) -> bool:
    """Whether a directive stays with the compiler's own headers and libraries."""
    if name == "pragma":
        word = (WORD.match(rest) or ("", ""))[1]
        return word != "include_alias" and (word != "comment" or PLAIN_LIBRARY.match(rest) is not None)
    return name == "include" and PLAIN_FILE.match(rest) is not None and not DEVICE.search(rest)


def _is_plain_probe(rest: str) -> bool:
    opened = rest.lstrip(" \t")
    return opened.startswith("(") and PLAIN_FILE.match(opened[1:]) is not None and not DEVICE.search(opened[1:])


@dataclass(frozen=True, slots=True)
class Error:
    """The first error of a compilation: its code and what a verdict says of it."""

    code: str
    detail: str

    @property
    def doubtful(self) -> bool:
        """Whether the host may be at fault and not the code."""
        return DOUBTFUL.fullmatch(self.code) is not None


def has_warning(output: str) -> bool:
    """Whether cl or its linker warned of anything."""
    return any(WARNING_CODE.fullmatch(found["code"]) for _, found in _diagnostics(_lines(output)))


def first_error(output: str, opaque: bool) -> Error | None:
    """The first error, whatever cl's language; one inside a header is put down to the line of ours that led there."""
    lines = _lines(output)
    for number, found in _diagnostics(lines):
        code = found["code"]
        if not WARNING_CODE.fullmatch(code):
            message = "" if opaque else f": {scrub(found['message'])}"
            return Error(code, f"{_place(lines, number)}{code}{message}")
    return None


def scrub(text: str) -> str:
    """Without the host's folders and without what differs from job to job."""
    return RANDOM.sub("...", PATH.sub("", text))


def _lines(output: str) -> list[str]:
    return [line[:LONGEST_LINE].rstrip() for line in output.split("\n")]


def _diagnostics(lines: list[str]) -> Iterator[tuple[int, re.Match]]:
    for number, line in enumerate(lines):
        if found := DIAGNOSTIC.match(line):
            yield number, found


def _place(lines: list[str], number: int) -> str:
    """Of a diagnostic and the notes that follow it, the first place in a source of ours; "" where there is none."""
    for at, line in enumerate(lines[number:]):
        if at and DIAGNOSTIC.match(line):
            break
        found = NOTE.match(line)
        if found and (source := SOURCES.search(found["file"])):
            return f"{source[1]} line {found['line']}: "
    return ""
