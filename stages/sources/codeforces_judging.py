"""How the statement of a Codeforces problem lets an answer be judged: by one expected output, and how closely.

The site's own checkers are not published. Their rules are in the statements, in a few turns of phrase.
"""

import re

from stages.common.comparing import EXACT

SENTENCE = re.compile(r"[^.;\n]+(?:\.(?=\d)[^.;\n]*)*")
SEVERAL = re.compile(r"\b(?:multiple|several|many|more than one|ambigu\w+|not unique|two or more)\b", re.I)
ANY = re.compile(r"\b(?:any(?! number of)|arbitrary|whichever|either)\b", re.I)
PRINT_ANY = re.compile(
    r"(?<!not )(?<!n't )\b(?:print|output|report|display|write|return)s? (?:out )?(?:any|arbitrary)"
    r"(?! (?:(?:letter )?case|other|more|extra|additional)\b)"
    r"|\b(?:print|output) any other\b.*\b(?:recognized|accepted)"
    r"|\bany (?:\w+ ){0,4}(?:is|are|will be|would be) (?:accepted|considered correct|correct)"
    r"|\bany (?:\w+ ){0,2}(?:valid|correct|suitable|possible|optimal) (?:answer|solution|output|option|way|one)"
    r"|\b(?:satisfied|happy) with any\b"
    r"|\b(?:print|output|report|otherwise|then)\b.*\bany (?:suitable|valid|possible|such) \w+"
    r"|\b(?:print|output|report)\b.*\bone of (?:the |these )?(?:possible|valid|correct|suitable)\b"
    r"|\b(?:print|output|report) a (?:possible|valid|suitable) "
    r"(?:answer|arrangement|array|assignment|construction|permutation|sequence|solution|string|way)\b",
    re.I,
)
ANY_ORDER = re.compile(
    r"\b(?:in|with|using) (?:any|an arbitrary|arbitrary) order\b|\border (?:does not|doesn't) matter", re.I
)
ANY_CASE = re.compile(
    r"\bany (?:letter )?(?:case|register)\b|\barbitrary case\b|case[- ]insensitive"
    r"|\bcase of (?:the |each )?letters? (?:does not|doesn't|is not)|\b(?:upper|lower)\w* or (?:upper|lower)",
    re.I,
)
ANSWER_WORDS = re.compile(r"\b(?:letters?|characters?|yes|no|print|output|answer|displayed|strings?|words?)\b", re.I)
ERROR = re.compile(r"\b(?:errors?|precision|accuracy|deviat\w+|differ\w*|tolerance|within\W+10)\b", re.I)
MAXED = re.compile(r"max\W{0,6}1\s*,")  # |a - b| / max(1, |b|) of the site's usual sentence
CLOSE = re.compile(
    r"\b(?:absolute|relative|exceed|at most|less than|more than|within|precision|accuracy|tolerance|worse)\b", re.I
)
POWER = re.compile(r"1\s*0\s*(?:\^|<sup>|\*\*)?\s*\{?\s*[-\u2013\u2014\u2212]\s*(\d{1,2})(?!\d)")
EXPONENT = re.compile(r"\b1(?:\.0)?[eE]\s*-\s*(\d{1,2})(?!\d)")
DECIMAL = re.compile(r"\b0[.,](0{0,15})1\b")
DIGITS = re.compile(
    r"\b(?:at least|up to|to within|accurate to|least) (\d{1,2}|four|five|six|eight|nine|ten) "
    r"(?:decimal|digits after|significant decimal|places after)",
    re.I,
)
NUMBER_WORDS = {"four": 4, "five": 5, "six": 6, "eight": 8, "nine": 9, "ten": 10}
IGNORE_CASE = {"tokens": {"ignore_case": True}}


def accepts_any(statement: str, output: str, note: str) -> bool:
    """Whether other outputs than the expected one are right as well: one of several answers, or lines in any order."""
    said = [(part is statement, part is output, s) for part in (statement, output, note) for s in _sentences(part)]
    return any(_accepts_any(*each) for each in said if not _says_case(each[2]))


def _accepts_any(in_statement: bool, in_output: bool, sentence: str) -> bool:
    if PRINT_ANY.search(sentence) or (in_output and ANY_ORDER.search(sentence)):
        return True
    # A statement has several things, and any of them, that are not answers.
    return not in_statement and bool(SEVERAL.search(sentence) and ANY.search(sentence))


def _says_case(sentence: str) -> bool:
    """Whether it says that answers may be in upper or lower case."""
    return bool(ANY_CASE.search(sentence) and ANSWER_WORDS.search(sentence) and not SEVERAL.search(sentence))


def comparison(statement: str, output: str, note: str) -> str | dict:
    """The task's `compare`: numbers with the tolerance that the statement names, words in any case where it says so."""
    found = [tolerance for part in (output, note, statement) for s in _sentences(part) if (tolerance := _tolerance(s))]
    if found:
        return {"float": found[0]}
    return IGNORE_CASE if any(map(_says_case, _sentences(output))) else EXACT


def _sentences(text: str) -> list[str]:
    return [" ".join(sentence.replace("$", " ").split()) for sentence in SENTENCE.findall(text)]


def _tolerance(sentence: str) -> dict[str, float] | None:
    """Of a sentence about the error that is allowed."""
    if found := DIGITS.search(sentence):
        digits = NUMBER_WORDS.get(found[1].lower()) or int(found[1])
        return {"abs": 10.0**-digits}
    maxed = MAXED.search(sentence)
    if not maxed and not (ERROR.search(sentence) and CLOSE.search(sentence)):
        return None
    size = next((size for size in (_size(sentence, kind) for kind in (POWER, EXPONENT, DECIMAL)) if size), None)
    if size is None or size > 0.1:
        return None
    kinds = [kind for kind in ("absolute", "relative") if maxed or re.search(kind, sentence, re.I)]
    return {kind[:3]: size for kind in kinds or ["absolute"]}


def _size(sentence: str, kind: re.Pattern) -> float | None:
    found = kind.search(sentence)
    if not found:
        return None
    return 10.0 ** -(len(found[1]) + 1 if kind is DECIMAL else int(found[1]))
