"""The roofline of decoding: bytes counted step by step, and the measurement on a small shape."""

from benchmarks.roofline import bytes_moved, measure_shape
from stages.lm.decoding import Drawn


def test_bytes_are_those_of_every_step() -> None:
    lengths, answers = [5, 2], [[3, 1], [4, 4]]
    weights, token = 1000, 7
    drawn = [[Drawn([0] * count, -1.0) for count in counts] for counts in answers]
    steps = 4  # all rows at once
    expected = 0
    for step in range(steps):
        expected += weights
        for length, counts in zip(lengths, answers, strict=True):
            expected += sum(token * (length + step) for count in counts if step < count)
    assert bytes_moved(weights, steps, token, lengths, drawn) == expected


def test_a_small_shape_is_measured() -> None:
    table = measure_shape("tiny", prompts=8, samples=2, new_tokens=16)
    rates, ratios, shares = (list(table.columns[column].cells) for column in (1, 2, 3))
    assert all(float(rate.replace(",", "")) > 0 for rate in rates)
    assert ratios[0] == "1.00"
    assert shares[0] == ""
    assert 0 <= float(shares[1].rstrip("%")) <= 100
