"""Verdicts on programs that others wrote and judged: as their labels say, or as labelled.jsonl explains; and the Python
ones as plain CPython has it. A third of each set, or all with HALO_FORGE_ALL=1."""

import os
from functools import cache

import pytest

from stages.common.records import Verdict
from tests import labelled

ALL = os.environ.get("HALO_FORGE_ALL") == "1"
AGREEMENT = 0.995
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not labelled.FOLDER.is_dir(), reason="no labelled programs; name their folder in HALO_FORGE_LABELLED"
    ),
]


@cache
def judged(name: str) -> list[tuple[bool, Verdict]]:
    """Label and verdict of each program; skips where a tool is missing."""
    if trouble := labelled.lacking(name):
        pytest.skip(trouble)
    return labelled.judge_set(name, ALL)


@pytest.mark.parametrize("name", labelled.SETS)
def test_verdicts_are_the_published_ones_or_are_explained(name: str) -> None:
    found = labelled.compare(name, judged(name))
    print("\n" + labelled.table([found], {}))
    assert found.unnamed == []
    assert found.vanished == []
    assert found.agreement >= AGREEMENT


@pytest.mark.parametrize("name", labelled.PYTHON)
def test_verdicts_are_those_of_plain_cpython(name: str) -> None:
    assert labelled.cpython_differs(name, [verdict for _, verdict in judged(name)]) == []


@pytest.mark.parametrize("name", labelled.SETS)
def test_explanations_are_of_programs_that_are_there(name: str) -> None:
    programs = {(sample.task_id, sample.sample) for sample, _ in labelled.load(name)[1]}
    assert set(labelled.named(name)) <= programs
    assert {known.kind for known in labelled.named(name).values()} <= set(labelled.KINDS)
