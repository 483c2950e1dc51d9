"""The figure of the graph is what `dvc dag` says."""

from itertools import pairwise

import pytest

from tests.dag_figure import PICTURE, TEXT, folded, mark, reduced, text


def test_the_figure_is_renewed() -> None:
    graph = text()
    assert TEXT.read_text(encoding="utf-8") == graph, "run: python -m tests.dag_figure --write"
    assert mark(graph) in PICTURE.read_text(encoding="utf-8"), "run: python -m tests.dag_figure --write"


def test_arrows_that_follow_from_others_are_left_out() -> None:
    assert reduced({("a", "b"), ("b", "c"), ("a", "c")}) == {("a", "b"), ("b", "c")}


def test_what_may_be_absent_makes_no_arrow_superfluous() -> None:
    edges = {("a", "x"), ("x", "c"), ("a", "c")}
    assert reduced(edges, frozenset("x")) == edges


@pytest.mark.parametrize("cycles", [1, 2, 5])
def test_cycles_are_folded(cycles: int) -> None:
    """The chain of any length has one node per stage, and an arrow back where there is a next cycle."""
    chain = [f"{stage}@{cycle}" for cycle in range(1, cycles + 1) for stage in ("sample", "verify", "raft")]
    here, onward = folded(set(pairwise(chain)))
    assert here == {("sample", "verify"), ("verify", "raft")}
    assert onward == ({("raft", "sample")} if cycles > 1 else set())
