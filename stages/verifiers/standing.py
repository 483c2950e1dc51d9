"""Judges that stay: for those who have a few samples to judge again and again, and other work to do meanwhile.

What judges are threads of this process, each of which talks to a sandbox that runs on while there is nothing to judge.
A sandbox is started by vfork and exec (subprocess without preexec_fn), once per judge; what forks for each program is
the sandbox's own zygote, a small process. So a process with torch in it need not hand its samples to another one: no
memory of its is copied, however large it is.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Self

from stages.common.records import Sample, Task, Verdict
from stages.extraction.code import extract_code
from stages.settings.verify import VerifySettings
from stages.verifiers.cache import VerdictCache
from stages.verifiers.keys import Keys
from stages.verifiers.pool import Findings, Work, make_judges, make_verifiers, verdict_of
from stages.verifiers.verdicts import TASK_ERROR, Finding

Submitted = list[tuple[Sample, Finding | Future[Finding]]]


class StandingJudges:
    """The judges of `tasks`, for one thread: `submit` some samples, do other work, ask for their `verdicts`.

    A context manager. Entering raises as make_verifiers does, and SandboxError where there is no sandbox. `work` counts
    what was judged and what was known; `versions` are digests of all that a verifier brings to a verdict, by name.
    """

    def __init__(self, tasks: Mapping[str, Task], settings: VerifySettings) -> None:
        self.work = Work()
        self._tasks, self._settings = tasks, settings

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            verifiers = make_verifiers(self._tasks, self._settings)
            for verifier in verifiers.values():
                stack.callback(verifier.close)
            keys = Keys(self._settings, verifiers)
            judges = stack.enter_context(make_judges(self._tasks, self._settings, verifiers, keys))
            # The cache is closed first: what the end of the judges does to a running program is not its finding.
            cache = stack.enter_context(VerdictCache(self._settings))
            self._findings = Findings(judges, keys, cache, self.work)
            self._open = stack.pop_all()
        self.versions = keys.versions
        return self

    def __exit__(self, *error: object) -> None:
        self._open.__exit__(*error)

    def submit(self, samples: Iterable[Sample]) -> Submitted:
        """Begin to judge the samples; returns at once."""
        judged: Submitted = []
        for sample in samples:
            task = self._tasks[sample.task_id]
            judged.append((sample, self._findings.of(task, extract_code(sample.completion, task))))
        return judged

    def verdicts(self, submitted: Submitted) -> list[Verdict]:
        """The samples' verdicts, in their order, once they are there. SandboxError for a fault of the machine."""
        return [verdict_of(sample, self._findings.wait(found)) for sample, found in submitted]


def is_known(verdict: Verdict) -> bool:
    """Whether the verdict says anything about the sample: not where the task's own tests are broken."""
    return verdict.level != TASK_ERROR
