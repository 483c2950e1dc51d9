"""Jobs of kind `candidate`: a Python module under test, for a judge in another sandbox to talk to.

Runs inside the sandbox and imports the standard library alone. Nothing of the tests comes here but what they hand to
the code under test; see candidate_peer.py for what is done with it.
"""

import errno
import gc
import json
import os
import signal
import socket
import traceback

from candidate_peer import CandidatePeer
from python_program import compile_source, new_module
from supervise import PEER, Supervisor, restore_streams, write_all

DETAIL_LENGTH = 400
FACTS_LIMIT = 1 << 16  # bytes that the code's process may say to its supervisor
RESOURCE_ERRORS = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EAGAIN)
WRONG_ANSWERS = ("AssertionError", "Failed")  # Failed: pytest.fail and a missing exception


def run(supervisor: Supervisor, job: dict) -> dict:
    """Run `code` under `limits`, then serve the judge at the other end of the job's peer socket until that closes.

    Reports compile and load (None or a message: the code does not compile, does not run), load_kind ("error",
    "resource", "wrong"), loaded, and ended (as Supervisor.run tells it).
    """
    facts: dict = {"compile": None, "load": None, "load_kind": None, "loaded": False}
    said = bytearray()

    def listen(data: bytes, _channel: int) -> None:
        if len(said) < FACTS_LIMIT:
            said.extend(data)

    ended = supervisor.run(lambda channel: _main(job["code"], channel), job["limits"], capture=False, listen=listen)
    try:
        for line in bytes(said).splitlines()[:2]:
            message = json.loads(line)
            facts["loaded"] = facts["loaded"] or message.get("loaded") is True
            facts.update(
                {key: str(message[key])[:DETAIL_LENGTH] for key in ("compile", "load", "load_kind") if key in message}
            )
    except (ValueError, AttributeError, RecursionError):
        pass
    return {**facts, "ended": ended}


def say(channel: int, **message: object) -> None:
    """A line of JSON to the supervisor."""
    write_all(channel, json.dumps(message).encode() + b"\n")


def _main(source: str, channel: int) -> None:
    own = os.getpid()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    code = compile_source(source, "solution.py")
    if isinstance(code, str):
        say(channel, compile=code)
        os._exit(0)
    restore_streams()
    module = new_module("solution")
    connection = socket.socket(fileno=PEER)
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        if os.getpid() == own:
            say(channel, load=describe(error), load_kind=kind_of(error))
        os._exit(0)
    if os.getpid() != own:
        os._exit(0)  # a copy that the code under test has made of itself
    say(channel, loaded=True)
    os.close(channel)
    try:
        CandidatePeer(connection, module).serve_forever()
    except EOFError:
        os._exit(0)
    except BaseException:
        os._exit(70)


def kind_of(error: BaseException) -> str:
    """Of a failure: "resource", "wrong" or "error"."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in RESOURCE_ERRORS):
        return "resource"
    return "wrong" if type(error).__name__ in WRONG_ANSWERS else "error"


def describe(error: BaseException) -> str:
    """The last line of a traceback."""
    try:
        return traceback.format_exception_only(error)[-1].strip()[:DETAIL_LENGTH]
    except BaseException:
        return "an exception that cannot be shown"
    finally:
        gc.collect(0) if isinstance(error, MemoryError) else None
