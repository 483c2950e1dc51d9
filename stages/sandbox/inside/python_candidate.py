"""Jobs of kind `candidate`: a Python module under test, for a judge in another sandbox to talk to.

Runs inside the sandbox and imports the standard library alone. Nothing of the tests comes here but what they hand to
the code under test; see candidate_peer.py for what is done with it.
"""

import errno
import gc
import json
import os
import socket
import sys
import traceback

from candidate_peer import CandidatePeer
from python_script import PATH, compile_source, hidden_text, new_module, put_source
from supervise import PEER, write_all

DETAIL_LENGTH = 400
FRAMES_OF_A_CALL = 3  # of peer.py and candidate_peer.py, around a function that is called for the judge
RESOURCE_ERRORS = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EAGAIN)
WRONG_ANSWERS = ("AssertionError", "Failed")  # Failed: pytest.fail and a missing exception


def main(job: dict, channel: int) -> None:
    """Run the job's `code`, then serve the judge at the other end of the peer socket until that closes.

    Says to the host, in lines of JSON: `compile`, or `load` and `load_kind` ("error", "resource" or "wrong"), messages
    where the code does not compile or run; `loaded` when it has been run.
    """
    own = os.getpid()
    code = hidden_text(job["code"]) or compile_source(job["code"])
    if isinstance(code, str):
        say(channel, compile=code)
        os._exit(0)
    put_source(job["code"])
    module = new_module("solution", PATH)
    connection = socket.socket(fileno=PEER)
    deeper = _depth() + 1  # `exec` counts as well
    sys.setrecursionlimit(sys.getrecursionlimit() + deeper)
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
        # As deep as where tests and solution are one script: what stands between here and a call does not count.
        sys.setrecursionlimit(sys.getrecursionlimit() - deeper + _depth() + FRAMES_OF_A_CALL)
        CandidatePeer(connection, module).serve_forever()
    except EOFError:
        os._exit(0)
    except BaseException:
        os._exit(70)


def _depth() -> int:
    """How many frames there are below the caller's, itself among them."""
    frame, count = sys._getframe(1), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count


def say(channel: int, **message: object) -> None:
    """A line of JSON to the other end of the channel."""
    write_all(channel, json.dumps(message).encode() + b"\n")


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
