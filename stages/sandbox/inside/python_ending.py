"""How a Python program ends: exit code, threads, exit handlers, objects and streams, in the interpreter's own order.

`Py_FinalizeEx` itself takes apart all that the zygote has loaded, which takes longer than most programs run. This does
what a program can tell: threads are joined, exit handlers called, streams flushed, its objects destroyed.

Runs inside the sandbox and imports the standard library alone.
"""

import atexit
import contextlib
import gc
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable

from confine import libc

HERE = os.path.dirname(__file__)
FLUSH_FAILED = 120
STREAMS = ("stdin", "stdout", "stderr")
WRITERS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.BufferedRWPair)
LONG = 1 << 63


def run_to_the_end(body: Callable[[], None]) -> None:
    """Call `body`, which runs the program as module `__main__`, and end the process as the interpreter would."""
    code, interrupted = _outcome(body)
    code = _finalize(code)
    libc.fflush(None)
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


def _outcome(body: Callable[[], None]) -> tuple[int, bool]:
    """The exit code, and whether it was an interrupt that ended the program."""
    try:
        try:
            body()
        finally:
            _flush_streams()
    except SystemExit as error:
        return _asked_for(error), False
    except BaseException as error:
        try:
            _show(error)
        except SystemExit as asked:
            return _asked_for(asked), False
        return 1, type(error) is KeyboardInterrupt
    return 0, False


def _asked_for(error: SystemExit) -> int:
    """The exit code that a SystemExit stands for."""
    code = getattr(error, "code", error)
    if code is None:
        return 0
    if issubclass(type(code), int):
        return int.__and__(code, 0xFF) if -LONG <= code < LONG else 0xFF
    with contextlib.suppress(BaseException):
        print(code, file=sys.stderr)
    return 1


def _show(error: BaseException) -> None:
    """Hand an exception to sys.excepthook, without the frames that are not the program's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(HERE):
        trace = trace.tb_next
    error.__traceback__ = trace
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    hook = getattr(sys, "excepthook", sys.__excepthook__)
    try:
        hook(type(error), error, trace)
    except SystemExit:
        raise
    except BaseException as trouble:
        with contextlib.suppress(BaseException):
            print("Error in sys.excepthook:", file=sys.stderr)
            traceback.print_exception(trouble)
            print("\nOriginal exception was:", file=sys.stderr)
            traceback.print_exception(error)


def _finalize(code: int) -> int:
    """End threads, handlers, objects and streams; the exit code after that."""
    try:
        if _has_threads():
            threading._shutdown()
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    good = _flush_streams()
    if gc.isenabled():
        gc.collect()
    _drop_main()
    gc.collect()
    _flush_writers()
    _flush_streams()
    return code if good else FLUSH_FAILED


def _has_threads() -> bool:
    """Whether there is or may be anything for threading._shutdown to do, which most programs leave untouched: its
    pages are copied for the process that comes to them first."""
    if atexit._ncallbacks():  # a handler may ask whether the main thread is alive
        return True
    locks = getattr(threading, "_shutdown_locks", None)  # the main thread's is one of them
    return locks is None or len(locks) > 1 or bool(getattr(threading, "_threading_atexits", True))


def _drop_main() -> None:
    """Let go of the program's module and of what the interpreter itself holds of its objects."""
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        if hasattr(sys, name):
            setattr(sys, name, None)
    for name in STREAMS:
        setattr(sys, name, getattr(sys, f"__{name}__", None))
    sys.excepthook = sys.__excepthook__
    sys.modules.pop("__main__", None)


def _flush_streams() -> bool:
    """Flush sys.stdout and sys.stderr where they are open; False where that fails."""
    good = True
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is None or _is_closed(stream):
            continue
        try:
            stream.flush()
        except BaseException:
            good = False
    return good


def _is_closed(stream: object) -> bool:
    try:
        return bool(stream.closed)
    except BaseException:
        return False


def _flush_writers() -> None:
    """Flush files that something of the interpreter's still holds, text before the bytes below it."""
    left = [each for each in gc.get_objects() if issubclass(type(each), WRITERS)]
    for each in sorted(left, key=lambda stream: not issubclass(type(stream), io.TextIOWrapper)):
        with contextlib.suppress(BaseException):
            each.flush()
