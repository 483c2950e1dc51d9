"""Exact and near duplicates among tasks, by MinHash signatures (Broder 1997) in an index on disk.

A task repeats an earlier one of its language where
- the prompts are equal but for layout, and so are the references but for names, comments and layout; or
- the references are, and are no mere one-liners; or
- the prompts resemble each other and name the same numbers, and the references are equal as above, or where there is
  none the tests; or
- the prompts are alike and name the same numbers, and so are the references, if they are long; or
- there is neither reference nor test, and the prompts are nearly the same.

"Alike" is the Jaccard similarity of sets of word pairs, or of five tokens of code in a row. MinHash only finds the
candidates; what counts is the exact similarity. Tasks with one prompt and solutions of different kinds are not
duplicates: they show more than one way.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy

from stages.cleaning.ids import Scratch
from stages.cleaning.text import canonical, digest, numbers, squeezed, statement, without_name, words
from stages.common.records import Task
from stages.extraction.code import extract_code
from stages.settings.data import DuplicateSettings

SHINGLE = 5  # tokens of code
ROWS = 4  # hash values of a band: two texts are compared where all of a band's are equal
ONE_LINER = 30  # tokens: shorter references may be equal by chance
LONG = 40  # tokens: shorter references are alike only where they are equal
RESEMBLANCE = 0.5  # of prompts whose references or tests are equal
NEARLY = 0.9  # similarity from which prompts count as the same where there is nothing else to tell tasks apart
CANDIDATES = 200  # of a band; more share it in collections of one pattern, where similarity tells little
INDEX = 1 << 63  # band keys are 63 bits, for sqlite
SCHEME = "affine32"  # of the hash functions, whatever a version of the library takes by itself


class Match(NamedTuple):
    """`kind` is "duplicate" or "near_duplicate"; `task_id` is the earlier task that is repeated."""

    kind: str
    task_id: str


@dataclass(frozen=True)
class Features:
    """What is compared of a task. `statement` and `code` are sorted arrays of 32-bit hashes of shingles."""

    whole: bytes  # prompt and reference
    prints: tuple[bytes, ...]  # of a reference that is no one-liner
    evidence: bytes | None  # of the reference, or else of the tests
    numbers: bytes
    statement: numpy.ndarray
    code: numpy.ndarray | None  # None: none, or short

    def keys(self, near: bool) -> tuple[bytes, ...]:
        """What no other task may have."""
        return (self.whole, *self.prints) if near else (self.whole,)


SCHEMA = """
    CREATE TABLE exact (key BLOB PRIMARY KEY, task INTEGER) WITHOUT ROWID;
    CREATE TABLE band (key INTEGER, task INTEGER, PRIMARY KEY (key, task)) WITHOUT ROWID;
    CREATE TABLE task (number INTEGER PRIMARY KEY, id TEXT, evidence BLOB, numbers BLOB, statement BLOB, code BLOB);
"""


class Duplicates(Scratch):
    """The tasks kept so far. Memory does not grow with them."""

    def __init__(self, settings: DuplicateSettings, folder: Path | None = None) -> None:
        super().__init__(folder, SCHEMA)
        self._similarity = settings.similarity
        self._settings = settings
        self._permutations: numpy.ndarray | None = None  # of the hash functions, the same for all

    def add(self, task: Task, near: bool = True) -> Match | None:
        """The earlier task that this one repeats; where there is none, the task is kept in the index. `near` False:
        only tasks with equal prompts and references are."""
        features = of_task(task)
        match, bands = self._search(task, features, near)
        if match is None:
            self._keep(task, features, near, bands)
        return match

    def earlier(self, task: Task) -> Match | None:
        """The task in the index that this one repeats."""
        return self._search(task, of_task(task), near=True)[0]

    def _search(self, task: Task, features: Features, near: bool) -> tuple[Match | None, list[int]]:
        """The earlier task, or else the keys of the bands under which this one is to be found."""
        keys = features.keys(near)
        marks = ",".join("?" * len(keys))
        row = self.index.execute(
            f"SELECT id FROM exact JOIN task ON number = task WHERE key IN ({marks}) LIMIT 1", keys
        ).fetchone()
        if row:
            return Match("duplicate", json.loads(row[0])), []
        bands = list(self._bands(features, task.language)) if near else []
        found = self._alike(features, bands)
        return (Match("near_duplicate", found) if found is not None else None), bands

    def _keep(self, task: Task, features: Features, near: bool, bands: list[int]) -> None:
        code = None if features.code is None else features.code.tobytes()
        number = self.index.execute(
            "INSERT INTO task (id, evidence, numbers, statement, code) VALUES (?, ?, ?, ?, ?)",
            # An id may hold a lone surrogate, which sqlite's UTF-8 cannot.
            (json.dumps(task.task_id), features.evidence, features.numbers, features.statement.tobytes(), code),
        ).lastrowid
        self.index.executemany(
            "INSERT OR IGNORE INTO exact VALUES (?, ?)", [(key, number) for key in features.keys(near)]
        )
        self.index.executemany("INSERT OR IGNORE INTO band VALUES (?, ?)", [(key, number) for key in bands])

    def _bands(self, features: Features, language: str) -> Iterator[int]:
        """Keys under which a task that is alike may be found."""
        if features.evidence is not None:
            yield _key(b"evidence", features.evidence)
        if features.code is not None:
            yield from self._signature(b"code " + language.encode("utf-8", "replace"), features.code)
        elif features.evidence is None:
            yield from self._signature(b"text " + language.encode("utf-8", "replace"), features.statement)

    def _signature(self, kind: bytes, hashes: numpy.ndarray) -> Iterator[int]:
        from datasketch import MinHash  # loads scipy, which an unused source can do without

        signature = MinHash(
            num_perm=self._settings.permutations,
            permutations=self._permutations,
            scheme=SCHEME,
            hashfunc=lambda value: value,
        )
        self._permutations = signature.permutations
        signature.update_batch(hashes.tolist())
        for start in range(0, self._settings.permutations, ROWS):
            yield _key(kind, start.to_bytes(2, "big"), signature.hashvalues[start : start + ROWS].tobytes())

    def _alike(self, features: Features, bands: list[int]) -> str | None:
        seen: set[int] = set()
        for key in bands:
            rows = self.index.execute(
                "SELECT number, id, evidence, numbers, statement, code FROM band JOIN task ON number = task "
                "WHERE key = ? LIMIT ?",
                (key, CANDIDATES),
            )
            for number, task_id, *other in rows:
                if number not in seen and self._is_alike(features, *other):
                    return json.loads(task_id)
                seen.add(number)
        return None

    def _is_alike(self, one: Features, evidence: bytes | None, said: bytes, text: bytes, code: bytes | None) -> bool:
        if one.numbers != said:
            return False
        if one.evidence == evidence:
            limit = NEARLY if evidence is None else RESEMBLANCE
        elif one.code is not None and code is not None:
            limit = self._similarity
            if jaccard(one.code, numpy.frombuffer(code, numpy.uint32)) < limit:
                return False
        else:
            return False
        return jaccard(one.statement, numpy.frombuffer(text, numpy.uint32)) >= limit


def _key(*parts: bytes) -> int:
    return int.from_bytes(digest(*(part.hex() for part in parts))[:8], "big") % INDEX


def jaccard(one: numpy.ndarray, other: numpy.ndarray) -> float:
    """Shared members of two sets, given as sorted arrays, by all of their members."""
    shared = numpy.intersect1d(one, other, assume_unique=True).size
    return shared / ((one.size + other.size - shared) or 1)


def _hashes(shingles: Iterable[str]) -> numpy.ndarray:
    values = {int.from_bytes(digest(shingle)[:4], "big") for shingle in shingles}
    return numpy.array(sorted(values), numpy.uint32)


def _of_words(text: str) -> numpy.ndarray:
    found = words(text)
    return _hashes([*found, *map(" ".join, pairwise(found))])


def _of_code(tokens: list[str]) -> numpy.ndarray:
    """Names are numbered anew in each shingle, so that one name more at the start does not change all that follow."""
    shingles = []
    for start in range(max(len(tokens) - SHINGLE + 1, 1)):
        places: dict[str, int] = {}
        window = tokens[start : start + SHINGLE]
        shingles.append(" ".join(f"\0{places.setdefault(t, len(places))}" if t.startswith("\0") else t for t in window))
    return _hashes(shingles)


def of_task(task: Task) -> Features:
    """What is compared of a task."""
    text = statement(task)
    tokens = canonical(extract_code(task.reference, task), task.language) if task.reference else []
    code = digest(task.language, *tokens) if tokens else None
    tests = None
    if task.tests.strip() or task.cases:
        # Case counts here: tests of `upper` and of `lower` differ in nothing else.
        named = " ".join(without_name(task.tests, task.entry_point, "\0").split())
        tests = digest(task.language, named, json.dumps([task.cases, task.compare], sort_keys=True))
    return Features(
        whole=digest(task.language, squeezed(task.prompt), (code or tests or b"").hex()),
        prints=(code,) if code and len(tokens) >= ONE_LINER else (),
        evidence=code or tests,
        numbers=digest(*numbers(text)),
        statement=_of_words(text),
        code=_of_code(tokens) if len(tokens) >= LONG else None,
    )
