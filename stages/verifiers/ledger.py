"""What the two processes behind a Python test have said, read: the judge's results, and what became of the solution.

The candidate's process may say anything, the judge's what the tests' text makes it say: what is of another shape than
expected does not count, and texts are cut.
"""

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

DETAIL_LENGTH = 400
BAD_MESSAGE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass
class Ledger:
    """The judge's account (inside/python_judge.py says what it is made of).

    `missing` is what the tests lack that they need; `results` are (kind, label, message), `trouble` one of what has
    ended the tests; `total` is how many tests there are, `asserted` how many assertions were evaluated; `unused` names
    the entry point if the tests did not use it; `complete`: all evidence is there.
    """

    missing: str | None = None
    results: list[list[str]] = field(default_factory=list)
    trouble: list[str] | None = None
    total: int = 0
    asserted: int = 0
    unused: str | None = None
    complete: bool = False


def read_ledger(said: str, token: str, plan: dict, exit_code: int | None) -> Ledger:
    """The account of a judge that was given `token` and `plan` (see inside/python_plan.py), by its exit code."""
    ledger = Ledger()
    items: int | None = None
    closed = exited = False
    for line in said.split("\n"):
        if closed or not line.startswith(token):
            continue
        with contextlib.suppress(*BAD_MESSAGE):
            message = json.loads(line.removeprefix(token))
            if "result" in message:
                ledger.results.append(_texts(message["result"]))
            elif "trouble" in message:
                ledger.trouble = ledger.trouble or _texts(message["trouble"])
            elif "items" in message:
                items = int(message["items"])
            elif "missing" in message:
                ledger.missing = str(message["missing"])[:DETAIL_LENGTH]
            elif "end" in message:
                closed = message["end"] == len(ledger.results)
                ledger.asserted, ledger.unused = int(message["asserted"]), message["unused"]
                exited = message["exited"] is True
    ledger.total = plan["total"] + (plan["functions"] if items is None else items)
    whole = items is not None and len(ledger.results) == ledger.total
    if exited and not ledger.trouble:  # the tests have left out what was to come
        ledger.total, whole = len(ledger.results), True
    ledger.complete = closed and exit_code == 0 and (whole or ledger.trouble is not None)
    ledger.results = ledger.results[: ledger.total]
    return ledger


def _texts(parts: list) -> list[str]:
    return [str(part)[:DETAIL_LENGTH] for part in parts]


def read_candidate(said: str) -> dict[str, Any]:
    """compile, load and load_kind (None or a text) and loaded: see inside/python_candidate.py."""
    facts: dict[str, Any] = {"compile": None, "load": None, "load_kind": None, "loaded": False}
    with contextlib.suppress(*BAD_MESSAGE):
        for line in said.splitlines()[:2]:
            message = json.loads(line)
            facts["loaded"] = facts["loaded"] or message.get("loaded") is True
            told = (key for key in ("compile", "load", "load_kind") if key in message)
            facts.update({key: str(message[key])[:DETAIL_LENGTH] for key in told})
    return facts
