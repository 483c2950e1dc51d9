"""Messages over a socket between two processes that distrust each other.

Runs inside the sandbox and imports the standard library alone.
"""

import json
import socket

MESSAGE_LIMIT = 64 << 20  # bytes
PARTS = 7  # of a message: see peer.Peer
SMALL_BLOCK, LARGE_BLOCK = 1 << 12, 1 << 20  # bytes asked for at once
ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)


class ProtocolError(Exception):
    """What came is no message."""


class Line:
    """Messages over a socket: a length (4 bytes, big-endian), then JSON."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = bytearray()

    def send(self, data: bytes) -> None:
        """EOFError where the other side has gone, ValueError for a message that is too long."""
        if len(data) > MESSAGE_LIMIT:
            raise ValueError("a value is too large to cross")
        try:
            self._connection.sendall(len(data).to_bytes(4, "big") + data)
        except OSError:
            raise EOFError from None

    def receive(self) -> list:
        """EOFError where the other side has gone, ProtocolError for what is no message."""
        size = int.from_bytes(self._exactly(4), "big")
        if size > MESSAGE_LIMIT:
            raise ProtocolError("a message is too long")
        try:
            message = json.loads(self._exactly(size))
        except (ValueError, RecursionError):
            raise ProtocolError("no JSON") from None
        if type(message) is not list or len(message) != PARTS:
            raise ProtocolError("no message")
        return message

    def _exactly(self, size: int) -> bytes:
        while (missing := size - len(self._received)) > 0:
            try:
                block = self._connection.recv(min(max(missing, SMALL_BLOCK), LARGE_BLOCK))
            except OSError:
                raise EOFError from None
            if not block:
                raise EOFError
            self._received += block
        data = bytes(self._received[:size])
        del self._received[:size]
        return data


def to_json(message: list) -> bytes:
    """A message as it goes over the line."""
    return ENCODER.encode(message).encode("ascii")
