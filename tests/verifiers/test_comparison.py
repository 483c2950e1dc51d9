"""Outputs that count as equal, by each rule, and what is said of those that do not."""

import time

import pytest

from stages.common.comparing import parse_comparison
from stages.verifiers.outputs import difference, same

CASE = {"tokens": {"ignore_case": True}}
CLOSE = {"float": {"abs": 1e-6, "rel": 1e-6}}


@pytest.mark.parametrize(
    ("rule", "found", "expected", "equal"),
    [
        ("exact", "1 \r\n2\n\n", "1\n2", True),
        ("exact", "1  2", "1 2", False),
        ("exact", "0.75", "0.7500", False),
        ("tokens", "1\n2  3\t\n", "1 2\n3", True),
        ("tokens", "12", "1 2", False),
        ("tokens", "1\u00a02", "1 2", False),
        ("tokens", "Yes", "YES", False),
        (CASE, "Yes  nO", "YES\nNO", True),
        (CASE, "\u212a", "k", False),  # the sign of kelvin, which is k in lower case
        (CLOSE, "0.75", "0.7500000000000000", True),
        (CLOSE, "3 YES 0.1", "3 YES 0.10000001", True),
        (CLOSE, "3 yes 0.1", "3 YES 0.1", False),
        (CLOSE, "1000000.5", "1000000", True),
        (CLOSE, "1.00001", "1", False),
        (CLOSE, "-1e-7", "0", True),
        (CLOSE, "1 2", "1", False),
        (CLOSE, "", "0", False),
        (CLOSE, "nan", "5", False),
        (CLOSE, "5", "nan", False),
        (CLOSE, "1e999", "5", False),
        (CLOSE, "inf", "1e999", False),
        (CLOSE, "1e999", "inf", False),
        (CLOSE, "NaN -Infinity +inf", "nan -inf inf", True),
        (CLOSE, "-inf", "inf", False),
        (CLOSE, "-+inf", "-inf", False),
        (CLOSE, "++nan", "nan", False),
        (CLOSE, "0x10", "16", False),
        (CLOSE, "1_0", "10", False),
        (CLOSE, "\u0661", "1", False),
        (CLOSE, "9" * 5000, "9" * 4999 + "8", False),
        ({"float": {}}, "9007199254740993", "9007199254740992", False),
        ({"float": {}}, "9007199254740993", "9007199254740992.0", False),
        ({"float": {}}, "3.0", "3", True),
        ({"float": {"rel": 0.1}}, "1" * 400, "1" * 399 + "2", False),
        ({"float": {"abs": 0.1}}, "0.1", "0", True),
    ],
)
def test_equal_or_not(rule: str | dict, found: str, expected: str, equal: bool) -> None:
    parsed = parse_comparison(rule)
    assert same(found, expected, parsed) == equal
    assert same(expected, expected, parsed)
    assert equal or difference(found, expected, parsed)


@pytest.mark.parametrize(
    ("rule", "found", "expected", "said"),
    [
        ("exact", "1  2\n", "1 2\n", "line 1, column 3: expected '1·2', found '1··2'; only white space differs"),
        ("exact", "a\tb", "a b", "line 1, column 2: expected 'a·b', found 'a\\tb'; only white space differs"),
        ("exact", "1\n2\n4", "1\n2\n3", "line 3, column 1: expected '3', found '4'"),
        ("exact", "1", "1\n2", "line 2: expected '2', found nothing"),
        ("exact", "1\n2", "1", "line 2: expected nothing, found '2'"),
        ("exact", "1\n\n2", "1\n2", "line 2, column 1: expected '2', found ''; only white space differs"),
        ("exact", "a  b", "a c", "expected 'a c', found 'a··b'"),
        ("exact", "x" * 90 + "b", "x" * 90 + "a", f"line 1, column 91: expected '{'x' * 20}a', found '{'x' * 20}b'"),
        ("tokens", "1 2 4", "1 2\n3", "word 3: expected '3', found '4'"),
        ("tokens", "1", "1 2", "word 2: expected '2', found nothing"),
        (CLOSE, "0.5 nan", "0.5 0.7", "word 2: expected '0.7', found 'nan'"),
    ],
)
def test_what_is_said_of_a_difference(rule: str | dict, found: str, expected: str, said: str) -> None:
    assert difference(found, expected, parse_comparison(rule)) == said


@pytest.mark.parametrize("text", ["9" * 1_000_000, "1." * 500_000, " " * 1_000_000, "e" * 1_000_000, "1 " * 500_000])
def test_long_outputs_take_no_longer_than_they_are_long(text: str) -> None:
    began = time.process_time()
    for rule in ("exact", "tokens", CASE, CLOSE):
        parsed = parse_comparison(rule)
        assert not same(text, f"{text}7", parsed)
        difference(text, f"{text}7", parsed)
    assert time.process_time() - began < 10
