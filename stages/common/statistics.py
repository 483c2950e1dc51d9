"""Statistics of pass rates: unbiased pass@k and bootstrap intervals over tasks."""

from collections.abc import Sequence

import numpy as np

CHUNK = 256  # resamples drawn at a time: memory is CHUNK x tasks, however many resamples


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that one of k samples passes, from `correct` of n that do.

    1 - C(n - c, k) / C(n, k), as a product (Chen et al. 2021, https://arxiv.org/abs/2107.03374, figure 3).
    Raises ValueError unless 0 <= correct <= n and 1 <= k <= n.
    """
    if not (0 <= correct <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= correct <= n and 1 <= k <= n; got n={n}, correct={correct}, k={k}")
    if n - correct < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(n - correct + 1, n + 1)))


def bootstrap_interval(values: Sequence[float], resamples: int, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values`, one a task, resampling tasks with replacement.

    (Efron 1979.) The generator's own seed makes it repeatable. Raises ValueError for no values.
    """
    if not len(values):
        raise ValueError("an interval needs at least one value")
    data = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        means[start : start + rows] = data[generator.integers(0, len(data), (rows, len(data)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
