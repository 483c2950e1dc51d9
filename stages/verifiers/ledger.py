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

    `missing` is what the tests import in vain; `results` are (kind, label, message); `total` is how many tests there
    are; `complete`: all evidence is there.
    """

    missing: str | None = None
    results: list[list[str]] = field(default_factory=list)
    total: int = 0
    complete: bool = False


def read_ledger(said: str, token: str, plan: dict, exit_code: int | None) -> Ledger:
    """The account of a judge that was given `token` and `plan` (see inside/python_plan.py), by its exit code."""
    ledger = Ledger()
    items: int | None = None
    closed = False
    for line in said.split("\n"):
        if closed or not line.startswith(token):
            continue
        with contextlib.suppress(*BAD_MESSAGE):
            message = json.loads(line.removeprefix(token))
            if "result" in message:
                ledger.results.append([str(part)[:DETAIL_LENGTH] for part in message["result"]])
            elif "items" in message:
                items = int(message["items"])
            elif "missing" in message:
                ledger.missing = str(message["missing"])[:DETAIL_LENGTH]
            elif "end" in message:
                closed = message["end"] == len(ledger.results)
    ledger.total = plan["total"] + (items or 0)
    counted = items is not None or not plan["pytest"]
    ledger.complete = closed and counted and len(ledger.results) == ledger.total and exit_code == 0
    ledger.results = ledger.results[: ledger.total]
    return ledger


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
