"""A judge that hears garbled messages: run by test_conversation.py in a process of its own.

`python garble.py SEED COUNT`: COUNT conversations of a real candidate whose answers are mutated on the way. Each must
end with a value, an exception of the judge's own kinds or Gone, and leave what the judge holds for itself untouched.
Prints how often each came.
"""

import json
import random
import socket
import sys
import threading
import types
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "stages" / "sandbox" / "inside"))

import candidate_peer
import judge_peer

SOLUTION = """
import collections, enum
Point = collections.namedtuple("Point", "x y")
class Stack(list):
    def push(self, x): self.append(x)
class Box:
    def __init__(self, v): self.v = v
    def __eq__(self, o): return self.v == o.v
    def __add__(self, o): return Box(self.v + o.v)
    def __len__(self): return 1
def same(x): return x
def many():
    yield from range(5)
def fail(): raise KeyError("k")
def call(f): return f(2)
"""
TESTS = """
names["same"]([1, [2, (3, "x")], {"a": {1, 2}}])
names["Point"](1, 2).x
s = names["Stack"]([1]); s.push(2); len(s)
b = names["Box"](3); (b + b == b, len(b), str(b), b.v)
list(names["many"]())
names["call"](lambda x: [x])
names["same"](2.5 + 1j)
names["fail"]()
"""
SCALARS = [None, True, -1, 0, 1, 2**70, 1.5, "", "x", "h", "builtins.int", [], [0], [[]], {}, "__class__", [10**9]]


class Garbled:
    """A connection whose incoming messages are mutated."""

    def __init__(self, connection: socket.socket, chance: random.Random) -> None:
        self._chance = chance
        self._reader = connection.makefile("rb")
        self._left = b""
        self.sendall = connection.sendall

    def recv(self, size: int) -> bytes:
        """Bytes of messages that may have been mutated."""
        if not self._left:
            head = self._reader.read(4)
            if not head:
                return b""
            data = self._reader.read(int.from_bytes(head, "big"))
            if self._chance.random() < 0.05:
                data = self._garble(data)
            self._left = len(data).to_bytes(4, "big") + data
        found, self._left = self._left[:size], self._left[size:]
        return found

    def _garble(self, data: bytes) -> bytes:
        if self._chance.random() < 0.1:
            at = self._chance.randrange(len(data))
            return data[:at] + bytes([self._chance.randrange(256)]) + data[at + 1 :]
        message = json.loads(data)
        for _ in range(self._chance.randrange(1, 4)):
            target = message
            while True:
                at = self._chance.randrange(len(target))
                if isinstance(target[at], list) and target[at] and self._chance.random() < 0.8:
                    target = target[at]
                    continue
                change = self._chance.random()
                if change < 0.7:
                    target[at] = self._chance.choice(SCALARS)
                elif change < 0.85:
                    target.append(target[at])
                else:
                    del target[at]
                break
            if not message:
                break
        return json.dumps(message).encode()


def converse(seed: int) -> str:
    """One conversation; how it ended."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    module = types.ModuleType("solution")
    exec(SOLUTION, module.__dict__)

    def serve() -> None:
        try:
            candidate_peer.CandidatePeer(theirs, module).serve_forever()
        except BaseException:
            theirs.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    expected = [1, {"a": [2]}]
    try:
        peer = judge_peer.JudgePeer(Garbled(ours, random.Random(seed)), ())
        names = judge_peer.Names(peer, None, {"__name__": "test_task", "expected": expected})
        ended = "value"
        for line in TESTS.strip().splitlines():
            try:
                exec(line, {"names": names})
            except Exception as error:
                ended = type(error).__name__
    except judge_peer.Gone:
        ended = "Gone"
    finally:
        ours.close()
    assert expected == [1, {"a": [2]}]
    return ended


def main() -> None:
    """Converse and count."""
    seed, count = map(int, sys.argv[1:])
    print(Counter(converse(seed + number) for number in range(count)))


main()
