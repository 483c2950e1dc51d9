"""Splits by problem: all solutions of a problem, in whatever language, stay on one side."""

import hashlib


def split_of(problem: str, validation: float, benchmark: float = 0.0) -> str:
    """The split of a problem, by its name alone: more rows, or another order of them, move no problem.

    `validation` and `benchmark` are the shares of problems that go there.
    """
    digest = hashlib.blake2b(problem.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    if place < benchmark:
        return "benchmark"
    return "validation" if place < benchmark + validation else "train"
