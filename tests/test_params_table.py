"""The page of all settings is what the models say, and has every key that the shipped file uses."""

import re
from typing import Any

import yaml

from tests.conftest import ROOT
from tests.params_table import PAGE, text


def test_the_page_is_renewed() -> None:
    assert PAGE.read_text(encoding="utf-8") == text(), "run: python -m tests.params_table --write"


def test_every_key_says_what_it_is() -> None:
    rows = re.findall(r"^\| `([^`]+)` .*\| ([^|]*) \|$", text(), re.MULTILINE)
    assert len(rows) > 200
    assert [key for key, about in rows if not about.strip()] == []


def test_the_shipped_file_has_no_other_keys() -> None:
    """Each map of params.yaml under a heading of the page has only keys of that heading's table."""
    page = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    tables = {}
    for section in page:
        heading, _, body = section.partition("\n")
        for place in re.findall(r"`([^`]+)`", heading):
            tables[place] = set(re.findall(r"^\| `([^`]+)`", body, re.MULTILINE))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    seen = [maps("profiles.P", value) for value in params["profiles"].values()]
    checked = 0
    for place, keys in (pair for found in seen for pair in found):
        if place in tables:
            checked += 1
            assert keys <= tables[place], place
    assert checked > 30


def maps(at: str, value: Any) -> list[tuple[str, set[str]]]:
    """Every map below a value, with its place and keys."""
    if not isinstance(value, dict):
        return []
    return [(at, set(value)), *(pair for key, inner in value.items() for pair in maps(f"{at}.{key}", inner))]
