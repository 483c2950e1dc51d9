"""Which program may appear in which split, and the drawing of distinct ones.

A program's split is decided by a hash of what it does, so splits are disjoint however large each is made, two programs
that do the same (commuting steps swapped, say) are never in different ones, and a change to one split leaves the
others as they are. Some pairs of neighbouring steps, decided by a hash too, appear in the benchmark alone: its
"unseen" half.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

from stages.sources.synthetic import english
from stages.sources.synthetic.operations import CATEGORIES, Kind, Operation, Program

# Share of all programs that each split draws from, in this order. There are only some 850 programs of one step, so
# the larger splits reuse those in other words; nothing is shared between splits.
SHARES = {"pretraining": 0.55, "demonstrations": 0.15, "prompts": 0.15, "validation": 0.05, "benchmark": 0.1}
# Share of the pairs of neighbouring steps that only the benchmark uses. A constant, since the base model's texts and
# the tasks, which different stages make, must agree on it.
UNSEEN_PAIRS = 0.1
# Lengths of the arguments that tell what a program does.
PROBE_LENGTHS = (0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 16)
# Draws without a new task after which a split counts as exhausted.
PATIENCE = 20_000


@dataclass(frozen=True, slots=True)
class Draw:
    """A program in words, with the random numbers that its tests are made from."""

    program: Program
    name: str
    prompt: str
    composition: str
    rng: random.Random


def fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, whatever PYTHONHASHSEED is."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / (1 << 56)


def generator(text: str) -> random.Random:
    """Random numbers that depend on the text alone."""
    return random.Random(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()))


def _probes(category: str) -> tuple[Any, ...]:
    rng = generator(f"probes/{category}")
    if category == "string":
        return tuple("".join(rng.choices("aeinostbmuzxyAEINOST 1-!", k=k)) for k in PROBE_LENGTHS)
    return tuple([rng.randint(-20, 20) for _ in range(k)] for k in PROBE_LENGTHS)


PROBES = {category.name: _probes(category.name) for category in CATEGORIES}


def behaviour(program: Program) -> str:
    """Results on fixed arguments: equal for programs that do the same, and for some that differ elsewhere only."""
    return f"{program.category.name}: {[program(value) for value in PROBES[program.category.name]]!r}"


def is_roundabout(program: Program) -> bool:
    """Whether some of the steps could be left out, as two reversals."""
    steps, whole = program.steps, behaviour(program)
    fewer = (kept for count in range(len(steps)) for kept in combinations(steps, count))
    return any(behaviour(replace(program, steps=kept)) == whole for kept in fewer)


def split_of(does: str, seed: int) -> str:
    """The only split that may hold programs of this behaviour."""
    place = fraction(f"{seed}/program/{does}")
    for name, share in SHARES.items():
        if place < share:
            return name
        place -= share
    return name


def composition(program: Program, seed: int) -> str:
    """Whether two neighbouring steps are of a pair kept for the benchmark ("unseen") or not ("seen")."""
    for first, second in pairwise(program.steps):
        pair = f"{program.category.name}/{first.kind.name}/{second.kind.name}"
        if fraction(f"{seed}/pair/{pair}") < UNSEEN_PAIRS:
            return "unseen"
    return "seen"


def _random_program(steps: int, rng: random.Random) -> Program:
    category = rng.choices(CATEGORIES, [len(c.steps) for c in CATEGORIES])[0]

    def operation(kinds: tuple[Kind, ...]) -> Operation:
        kind = rng.choice(kinds)
        return Operation(kind, rng.choice(kind.constants))

    return Program(category, tuple(operation(category.steps) for _ in range(steps)), operation(category.finals))


def draw(split: str, steps: int, kind: str, seed: int) -> Iterator[Draw]:
    """Draws for a split, of `steps` steps and composition `kind`, no prompt twice, until nothing new turns up.

    What a program of two or three steps does comes once; programs of one step may come again in other words.
    """
    rng = generator(f"{seed}/{split}/{steps}/{kind}")
    seen: set[str] = set()
    idle = 0
    while idle < PATIENCE:
        idle += 1
        program = _random_program(steps, rng)
        if composition(program, seed) != kind:
            continue
        does = behaviour(program)
        if split_of(does, seed) != split:
            continue
        name = rng.choice(english.FUNCTION_NAMES)
        prompt = english.request(program, name, rng)
        key = prompt if steps == 1 else does
        if key not in seen:
            seen.add(key)
            idle = 0
            yield Draw(program, name, prompt, kind, generator(f"{seed}/examples/{prompt}"))
