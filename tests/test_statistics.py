"""pass@k against its definition, and the bootstrap's intervals."""

from itertools import combinations
from statistics import mean

import pytest

from stages.common.statistics import bootstrap_interval, pass_at_k


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_pass_at_k_is_the_share_of_draws_of_k_that_hold_a_correct_sample(n: int) -> None:
    for correct in range(n + 1):
        samples = [True] * correct + [False] * (n - correct)
        for k in range(1, n + 1):
            assert pass_at_k(n, correct, k) == pytest.approx(mean(any(draw) for draw in combinations(samples, k)))


def test_pass_at_k_is_exact_for_large_n() -> None:
    assert pass_at_k(10_000, 1, 1) == pytest.approx(1e-4, rel=1e-12)
    assert pass_at_k(10_000, 0, 100) == 0
    assert pass_at_k(10_000, 10_000, 1) == 1


@pytest.mark.parametrize(("n", "correct", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_pass_at_k_refuses_what_has_no_meaning(n: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@k needs"):
        pass_at_k(n, correct, k)


def test_interval_holds_the_mean_narrows_with_more_tasks_and_repeats() -> None:
    few, many = [0.0, 1.0] * 20, [0.0, 1.0] * 500
    low, high = bootstrap_interval(few, 2000)
    assert low < 0.5 < high
    # 1.96 standard errors of a fair coin thrown 40 times: 0.155.
    assert 0.5 - low == pytest.approx(0.155, abs=0.03)
    narrow = bootstrap_interval(many, 2000)
    assert narrow[1] - narrow[0] < (high - low) / 3
    assert bootstrap_interval(few, 2000) == (low, high)


def test_interval_of_equal_values_is_a_point() -> None:
    assert bootstrap_interval([1.0] * 10, 100) == (1.0, 1.0)


def test_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([], 100)
