"""The six (argument, result) pairs that judge a program, picked so that a near miss fails at least one of them.

A near miss is the program with one operation replaced by any other one or by itself with another constant, with a
step left out, or with two neighbouring steps swapped. A program that has a replaced or shortened twin no argument
tells apart (a step without effect, say) is refused rather than judged loosely. Swapped twins may be equal in
meaning: those count only where some argument tells them apart.
"""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from stages.sources.synthetic.operations import Operation, Program, final_operations, step_operations

EXAMPLES = 6
# One result may be expected this often, so that a function that returns it always stays far from passing.
MOST_EQUAL_RESULTS = 3
# Long arguments that every program is judged by, and those that the other two are picked from.
SETTLING = 2
POOL = 20
RANGES = ((-9, 9), (-9, 9), (-20, 20), (1, 12), (0, 30))
ALPHABET = "aaeeiinnoossttrlAENOST 1"
Sequence = tuple[Operation, ...]


def near_misses(program: Program) -> Iterator[Sequence]:
    """Every sequence with one step left out or one operation replaced; the likeliest to be equal in meaning first."""
    whole = (*program.steps, program.final)
    for place in range(len(program.steps)):
        yield whole[:place] + whole[place + 1 :]
    for place, operation in enumerate(whole):
        last = place == len(program.steps)
        for other in final_operations(program.category) if last else step_operations(program.category):
            if other != operation:
                yield (*whole[:place], other, *whole[place + 1 :])


def swapped(program: Program) -> Iterator[Sequence]:
    """Every sequence with two neighbouring steps in the other order."""
    whole = (*program.steps, program.final)
    for place in range(len(program.steps) - 1):
        yield (*whole[:place], whole[place + 1], whole[place], *whole[place + 2 :])


def _result(sequence: Sequence, value: Any) -> Any:
    for operation in sequence:
        value = operation.kind.apply(value, operation.constant)
    return value


def _argument(category: str, length: int, rng: random.Random) -> Any:
    if category == "string":
        return "".join(rng.choice(ALPHABET) for _ in range(length))
    low, high = rng.choice(RANGES)
    return [rng.randint(low, high) for _ in range(length)]


def choose(program: Program, rng: random.Random) -> list[tuple[Any, Any]] | None:
    """Six examples that every near miss fails, or None where the arguments tried tell too little."""
    category = program.category.name
    empty: Any = "" if category == "string" else []
    chosen = [empty, _argument(category, rng.randint(1, 3), rng)]
    # Long arguments leave something over after two or three filters and slices.
    long = [_argument(category, rng.randint(7, 13), rng) for _ in range(SETTLING)]
    pool = [_argument(category, rng.randint(7, 13), rng) for _ in range(POOL)]
    settled = [(value, program(value)) for value in long]
    results = [(place, value, program(value)) for place, value in enumerate(pool)]
    chosen += long

    def telling(sequences: Iterator[Sequence]) -> Iterator[set[int]]:
        """For each sequence that passes the first long arguments: the places in the pool where it fails."""
        for sequence in sequences:
            if all(_result(sequence, value) == result for value, result in settled):
                yield {place for place, value, result in results if _result(sequence, value) != result}

    differ = []
    for places in telling(near_misses(program)):
        if not places:
            return None
        differ.append(places)
    differ += filter(None, telling(swapped(program)))

    while len(chosen) < EXAMPLES:
        counts = Counter(place for places in differ for place in places)
        best = min(range(POOL), key=lambda place: (pool[place] in chosen, -counts[place], place))
        differ = [places for places in differ if best not in places]
        chosen.append(pool[best])
    expected = [program(value) for value in chosen]
    repeated = max(Counter(map(repr, expected)).values())
    return None if differ or repeated > MOST_EQUAL_RESULTS else list(zip(chosen, expected, strict=True))
