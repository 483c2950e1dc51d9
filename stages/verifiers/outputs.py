"""Whether an output is the expected one, by the task's rule, and where it is not.

Outputs are hostile text: everything here takes time in proportion to their length.
"""

import math
import re
from decimal import Decimal
from itertools import zip_longest

from stages.common.comparing import EXACT, FLOAT, Comparison
from stages.verifiers.verdicts import lines_of

SHOWN = 40  # characters of a line
SPACE = " \t\n\r\f\v"
WORD = re.compile(f"[^{SPACE}]+")
# What C and Python read as a decimal number, NaN and infinity left out; longer words than these are text.
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,8})?")
INTEGER = re.compile(r"[+-]?[0-9]+")
NO_NUMBERS = {"nan": "nan", "inf": "inf", "infinity": "inf"}
NUMBER_LENGTH = 400
BLANKS = re.compile(r"^ +| +$| {2,}")
VISIBLE_BLANK = "\u00b7"


def same(found: str, expected: str, rule: Comparison) -> bool:
    """Whether the rule takes one for the other."""
    if rule.kind == EXACT:
        return lines_of(found) == lines_of(expected)
    words, wanted = WORD.findall(found), WORD.findall(expected)
    return len(words) == len(wanted) and all(
        _equal(word, other, rule) for word, other in zip(words, wanted, strict=True)
    )


def difference(found: str, expected: str, rule: Comparison) -> str:
    """Where two outputs that are not the same first differ, and what is there, for a verdict's detail."""
    if rule.kind == EXACT:
        return _line_difference(lines_of(found), lines_of(expected))
    pairs = zip_longest(WORD.findall(found), WORD.findall(expected))
    for number, (word, wanted) in enumerate(pairs, 1):
        if word is None or wanted is None or not _equal(word, wanted, rule):
            return f"word {number}: expected {_show(wanted)}, found {_show(word)}"
    return ""


def _equal(word: str, wanted: str, rule: Comparison) -> bool:
    if word == wanted:
        return True
    if rule.kind == FLOAT:
        return _close(word, wanted, rule)
    return rule.ignore_case and word.isascii() and word.lower() == wanted.lower()


def _close(word: str, wanted: str, rule: Comparison) -> bool:
    """Numbers within the tolerance. What is no finite number equals its like alone, and never a number."""
    if max(len(word), len(wanted)) > NUMBER_LENGTH:
        return False
    if _special(wanted):
        return _special(word) == _special(wanted)
    if not NUMBER.fullmatch(word) or not NUMBER.fullmatch(wanted):
        return False
    if INTEGER.fullmatch(word) and INTEGER.fullmatch(wanted):  # exact, however long
        off, size = abs(int(word) - int(wanted)), abs(int(wanted))
        return off <= rule.abs or (off < 1 << 1000 and size < 1 << 1000 and off <= rule.rel * size) or off == 0
    found, expected = float(word), float(wanted)
    if not math.isfinite(found) or not math.isfinite(expected):
        return False
    allowed = max(rule.abs, rule.rel * abs(expected))
    return abs(found - expected) <= allowed if allowed else Decimal(word) == Decimal(wanted)


def _special(word: str) -> str | None:
    """One spelling of NaN and of each infinity; None for any other word."""
    bare = NO_NUMBERS.get(word[word[:1] in ("+", "-") :].lower()) if len(word) < 12 else None
    return f"-{bare}" if bare == "inf" and word.startswith("-") else bare


def _line_difference(found: list[str], expected: list[str]) -> str:
    lines = enumerate(zip_longest(found, expected), 1)
    number, (line, wanted) = next(((at, pair) for at, pair in lines if pair[0] != pair[1]), (0, ("", "")))
    blanks = "".join("".join(found).split()) == "".join("".join(expected).split())
    if not blanks and max(len(found), len(expected)) <= 1 and max(map(len, (*found, *expected)), default=0) <= SHOWN:
        return f"expected {_show(wanted or '')}, found {_show(line or '')}"
    if line is None or wanted is None:
        at = f"line {number}"
    else:
        pairs = enumerate(zip_longest(line, wanted), 1)
        column = next(place for place, (one, other) in pairs if one != other)
        at = f"line {number}, column {column}"
        begin = max(0, column - 1 - SHOWN // 2) if max(len(line), len(wanted)) > SHOWN else 0
        line, wanted = line[begin:], wanted[begin:]
    said = f"{at}: expected {_show(wanted, blanks)}, found {_show(line, blanks)}"
    return f"{said}; only white space differs" if blanks else said


def _show(text: str | None, blanks: bool = False) -> str:
    """As a literal, with blanks visible where they may matter."""
    if text is None:
        return "nothing"
    text = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
    return repr((re.compile(" ") if blanks else BLANKS).sub(lambda run: VISIBLE_BLANK * len(run[0]), text))
