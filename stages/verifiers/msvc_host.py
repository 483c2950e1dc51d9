"""The host that has cl, as a place where jobs are done: connects, tries again, cleans up, tells its faults from theirs.

Each connection has a folder of its own over there, removed when the connection ends, however it ends; each job has one
in that.
"""

import contextlib
import dataclasses
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stages.common.errors import SandboxError
from stages.sandbox import Gate
from stages.settings.verify import MsvcSettings
from stages.verifiers.msvc_scripts import BATCH, BATCH_SETUP, SHELL
from stages.verifiers.ssh import (
    LAST_BYTES,
    TICK_SECONDS,
    CancelledError,
    Connection,
    Ended,
    LostError,
    Target,
    last_line,
)

SETUP_SECONDS = 120.0
CLEAN_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 60.0
COMPILER_BYTES = 1 << 20
END = re.compile(rb"\r?\n?forge-end (\S+) (-?\d+) *\r?\n\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """Files by name; the recipe that makes `program.exe` or objects of one or two of them; and, where the program is to
    be run, its inputs and the limits of each run (wall-clock s, bytes of each output)."""

    files: Mapping[str, bytes]
    recipe: str
    sources: Sequence[str]
    inputs: Sequence[bytes] = ()
    run_seconds: float = 0.0
    run_bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """How the compilation ended, and each run; fewer runs than inputs where one passed a limit."""

    compiled: Ended
    runs: tuple[Ended, ...] = ()

    @property
    def out_of_time(self) -> bool:
        """Whether the wall-clock limit ended anything."""
        return any(ended.limit == "wall" for ended in (self.compiled, *self.runs))


class Host:
    """Does jobs, several at once. `recipes` are response files of cl by name; `good` is a job that is known to work."""

    def __init__(self, settings: MsvcSettings, recipes: Mapping[str, str], good: Job) -> None:
        self._settings = settings
        self._files = _files(settings, recipes)
        self._good = good
        self._gate = Gate()
        self._slots = threading.BoundedSemaphore(settings.concurrency)
        self._lock = threading.Lock()
        self._connected: _Folder | None = None
        self._banner = ""
        self._closed = False

    @property
    def banner(self) -> str:
        """cl's first line, which holds its version; connects where that has not been done. SandboxError as `run`."""
        if not self._banner:
            self._folder()
        return self._banner

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Report | None:
        """The job's report; None where it broke the connection each time although a known-good job does not.

        A lost connection is made anew and the job done again, `retries` times; then, and where the wall-clock limit
        ended it, once more alone. SandboxError where the host cannot be reached, or fails a known-good job.
        """
        report = None
        with contextlib.suppress(LostError):
            report = self._persist(job, cancelled, self._gate.shared)
        if report is None or report.out_of_time:
            with self._gate.alone():
                report = self._alone(job, cancelled)
        return report

    def _alone(self, job: Job, cancelled: Callable[[], bool]) -> Report | None:
        report = None
        with contextlib.suppress(LostError):
            report = self._attempt(job, cancelled)
        if report is None or report.out_of_time:
            self.expect_good(self._good, cancelled)
        return report

    def expect_good(self, job: Job, cancelled: Callable[[], bool] = lambda: False) -> bytes:
        """What cl says of a known-good job. SandboxError where that fails: then it is the host that is broken."""
        try:
            report = self._persist(job, cancelled, contextlib.nullcontext)
        except LostError as error:
            raise self._error(f"lost with a known-good program: {error}") from None
        trouble = next((ended for ended in (report.compiled, *report.runs) if ended.limit or ended.exit != 0), None)
        if trouble:
            said = last_line(trouble.output + trouble.errors) or f"exit code {trouble.exit}"
            reason = {"wall": "it does not end", "output": "it says too much"}.get(trouble.limit, f"it says: {said}")
            raise self._error(f"a known-good program fails: {reason}")
        return report.compiled.output

    def _persist(
        self, job: Job, cancelled: Callable[[], bool], gate: Callable[[], contextlib.AbstractContextManager]
    ) -> Report:
        """Try, and try again where the connection is lost; LostError where it always is."""
        trouble = LostError()
        for attempt in range(self._settings.retries + 1):
            if attempt:
                self._pause(attempt, cancelled)
            try:
                with gate():
                    return self._attempt(job, cancelled, patient=attempt == 0)
            except LostError as error:
                trouble = error
        raise trouble

    def _attempt(self, job: Job, cancelled: Callable[[], bool], patient: bool = False) -> Report:
        """A lost session costs the connection, and all that is going on there, but for a `patient` attempt on a
        connection that still stands."""
        with self._slots:
            folder = self._folder(cancelled)
            try:
                return folder.do(job, cancelled)
            except LostError:
                if not (patient and folder.alive()):
                    self._discard(folder)
                raise

    def _folder(self, cancelled: Callable[[], bool] = lambda: False) -> "_Folder":
        """The run's folder, on a connection that is made now if there is none. SandboxError where none comes up."""
        with self._lock:
            if self._closed:
                raise SandboxError("the connection is closed")
            attempt = 0
            while self._connected is None:
                try:
                    self._connected = _Folder(self._settings, self._files, cancelled)
                except LostError as error:
                    attempt += 1
                    if attempt > self._settings.retries:
                        raise self._error(f"ssh says: {error}; is sshd running there, and its port open?") from None
                    self._pause(attempt, cancelled)
            self._banner = self._banner or self._connected.banner
            return self._connected

    def _discard(self, folder: "_Folder") -> None:
        with self._lock:
            if self._connected is folder:
                self._connected = None
        folder.close()

    def _pause(self, attempt: int, cancelled: Callable[[], bool]) -> None:
        """Longer each time, and not in step with others."""
        longest = min(LONGEST_PAUSE_SECONDS, self._settings.backoff_seconds * 2 ** (attempt - 1))
        until = time.monotonic() + longest * random.uniform(0.5, 1.0)
        while (left := until - time.monotonic()) > 0:
            if cancelled():
                raise CancelledError
            time.sleep(min(left, TICK_SECONDS))

    def _error(self, what: str) -> SandboxError:
        return SandboxError(f"{self._settings.host} port {self._settings.port}: {what}")

    def close(self) -> None:
        """Remove the run's folder and end the connection. Not to be used again."""
        self._closed = True
        if self._connected:
            self._connected.sweep()
            self._connected.close()
            self._connected = None


def _files(settings: MsvcSettings, recipes: Mapping[str, str]) -> dict[str, bytes]:
    """What a run's folder holds: the script, the set-up, the recipes."""
    batch = settings.shell == "cmd"
    setup = f"{settings.setup or ''}\n"
    scripts = {"forge.bat": BATCH, "setup.bat": setup if settings.setup else BATCH_SETUP}
    texts = (scripts if batch else {"forge.sh": SHELL, "setup.sh": setup}) | {
        f"{name}.rsp": text for name, text in recipes.items()
    }
    return {name: (text.replace("\n", "\r\n") if batch else text).encode() for name, text in texts.items()}


class _Folder:
    """A connection, and the folder that belongs to it. LostError where the connection breaks."""

    def __init__(self, settings: MsvcSettings, files: Mapping[str, bytes], cancelled: Callable[[], bool]) -> None:
        self._settings = settings
        self._batch = settings.shell == "cmd"
        self._path = f"{settings.folder}/run-{secrets.token_hex(8)}"
        shell = "cmd /d /q" if self._batch else "sh"
        self._connection = Connection(_target(settings), shell, cancelled)
        try:
            parts = settings.folder.split("/")
            parents = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
            # Told first, so that nothing stays behind whatever happens next.
            self._connection.farewell(f"{'set /p X=&' if self._batch else 'cat >/dev/null;'} {self._command('sweep')}")
            self._put([*parents, self._path], {f"{self._path}/{name}": data for name, data in files.items()})
            self.banner = self._setup()
        except BaseException:
            self._connection.close()
            raise

    def _setup(self) -> str:
        ended = self._call("setup", SETUP_SECONDS, COMPILER_BYTES)
        lines = [line.strip() for line in decode(ended.output).splitlines() if line.strip()]
        if ended.limit or ended.exit != 0 or not lines:
            said = lines[-1][:200] if lines else "nothing"
            where = f"{self._settings.host} port {self._settings.port}"
            raise SandboxError(f"{where}: cl does not start there: {said}; verify.msvc_ssh.setup must put it on PATH")
        return lines[0]

    def do(self, job: Job, cancelled: Callable[[], bool]) -> Report:
        """One job, in a folder that is gone when this returns."""
        name = f"job-{secrets.token_hex(8)}"
        # Names that the code under test cannot know when it is compiled.
        inputs = {f"in-{secrets.token_hex(8)}": data for data in job.inputs}
        files = {f"{self._path}/{name}/{file}": data for file, data in {**job.files, **inputs}.items()}
        limits = {"most_bytes": COMPILER_BYTES, "cancelled": cancelled}
        tidy = False
        try:
            self._put([f"{self._path}/{name}"], files)
            build = f"build {name} {job.recipe} {'keep' if job.inputs else 'drop'} {' '.join(job.sources)}"
            compiled = self._call(build, self._settings.compile_seconds, **limits)
            tidy = not job.inputs and not compiled.limit
            runs = self._runs(name, job, list(inputs), cancelled) if compiled.exit == 0 and not compiled.limit else ()
            return Report(compiled, tuple(runs))
        finally:
            if not tidy and self._call(f"drop {name}", CLEAN_SECONDS, COMPILER_BYTES).limit:
                raise LostError(f"a job's folder was not removed within {CLEAN_SECONDS:g} s")

    def _runs(self, name: str, job: Job, inputs: Sequence[str], cancelled: Callable[[], bool]) -> list[Ended]:
        runs: list[Ended] = []
        for file in inputs:
            most = job.run_bytes + LAST_BYTES
            runs.append(self._call(f"run {name} {file}", job.run_seconds, most, cancelled))
            if runs[-1].limit:
                break
        return runs

    def _put(self, folders: Sequence[str], files: Mapping[str, bytes]) -> None:
        self._connection.upload(folders, files, self._settings.compile_seconds)

    def _call(self, what: str, seconds: float, most_bytes: int, cancelled: Callable[[], bool] = lambda: False) -> Ended:
        """The script's own word on how it ended; ssh's exit code cannot tell a lost session from a failed command."""
        words = what.split()
        # cl leaves processes behind that keep a session open. But a program could write that last line itself, and a
        # sweep's folder goes behind it, so that these sessions are waited for.
        last = None if words[0] in ("run", "sweep") else END
        ended = self._connection.call(self._command(what), seconds, most_bytes, last, cancelled)
        if ended.limit:
            return ended
        said = END.search(ended.output[-LAST_BYTES:])
        if not said or said[1].decode() != (words[1] if len(words) > 1 else words[0]):
            raise LostError(ended.last_line or f"a session ended early, with code {ended.exit}")
        end = len(ended.output) - len(said[0])
        return dataclasses.replace(ended, exit=int(said[2]), output=ended.output[:end])

    def _command(self, what: str) -> str:
        """A line that cmd, PowerShell and POSIX shells take alike."""
        if self._batch:
            path = self._path.replace("/", "\\")
            after = f" & rd /s /q {path}" if what == "sweep" else ""
            return f'cmd /d /c "{path}\\forge.bat {what}{after}"'
        after = f"; rm -rf {self._path}" if what == "sweep" else ""
        return f"sh {self._path}/forge.sh {what}{after}"

    def alive(self) -> bool:
        """Whether the connection still stands, as far as can be seen from here."""
        return self._connection.alive()

    def sweep(self) -> None:
        """Remove the folder now. Where that cannot be done it is left to the farewell."""
        with contextlib.suppress(LostError):
            self._call("sweep", CLEAN_SECONDS, COMPILER_BYTES)

    def close(self) -> None:
        """End the connection; may be done twice."""
        self._connection.close()


def _target(settings: MsvcSettings) -> Target:
    return Target(
        settings.host or "",
        settings.port,
        settings.user or "",
        Path(settings.key or ""),
        Path(settings.known_hosts) if settings.known_hosts else None,
        Path(settings.config) if settings.config else None,
        settings.connect_seconds,
        settings.keepalive_seconds,
    )


def decode(output: bytes) -> str:
    """What a Windows program wrote: UTF-8, or else the code page of consoles."""
    try:
        return output.decode()
    except UnicodeDecodeError:
        return output.decode("cp437")
