"""The frame around every stage's `main`: known errors become one line on stderr and a non-zero exit."""

import errno
import gc
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stages.common.errors import HaloForgeError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def run(main: Callable[[], None]) -> None:
    """Call `main`; exit with 1 on a known error, with 130 on Ctrl-C and with 143 on SIGTERM.

    SIGTERM is raised as SystemExit, so that `with` blocks remove their temporary files and end their sandboxes.
    A reader of the output that has gone, as `head` goes, ends the stage without a word, with 141 as in a shell.
    A full disk, and a path that is missing, of the wrong kind or closed to this user, are the user's to mend, so they
    are told in one line as well, and so is an accelerator whose memory is full; any other exception is a bug and keeps
    its traceback.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
    except HaloForgeError as error:
        sys.exit(f"error: {_one_line(error)}")
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, run again to go on", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno == errno.EPIPE and _reader_has_gone():
            _drop_output()
            sys.exit(141)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            if error.filename is None:
                _drop_output()
            sys.exit(f"error: {error.filename or 'output'}: no space left on the device; free some and run again")
        if error.filename is None:
            raise
        sys.exit(f"error: {error.filename}: {(error.strerror or type(error).__name__).lower()}")
    except RuntimeError as error:
        if not _is_full_memory(error):
            raise
        sentences = re.split(r"(?<=\.) ", " ".join(str(error).split()))
        told = " ".join(sentences[:2])  # the rest is about the allocator's settings
        sys.exit(f"error: {told} Lower the stage's batch or lengths; `make plan` tells what fits")


def _one_line(error: Exception) -> str:
    """A message in one line, also where it quotes a name with line ends or a terminal's commands in it."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], str(error).strip())


def _reader_has_gone() -> bool:
    """Whether standard output is a pipe or socket that nobody reads any more."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), select.POLLOUT)
    except (AttributeError, OSError, ValueError):  # closed, or replaced by what is no file
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _drop_output() -> None:
    """Let what is left in the buffer of standard output go nowhere: Python would try to write it again as it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


@contextmanager
def heavy_imports() -> Iterator[None]:
    """For importing torch and what builds on it, without the garbage collector. It would look through their hundreds of
    thousands of objects again and again as they come, which takes a quarter of a stage's start; nor does it look at
    them, and at whatever else there is by then, later. Does nothing where torch is there already, as in tests."""
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _is_full_memory(error: RuntimeError) -> bool:
    """Whether it is torch's for memory that a device does not have; stages without torch do not load it to ask."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
