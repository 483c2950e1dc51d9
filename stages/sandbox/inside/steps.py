"""Jobs of kind `steps`: commands run one after the other in /tmp, such as a compiler and then what it made.

Runs inside the sandbox and imports the standard library alone.
"""

import os
import signal

from supervise import Supervisor


def run(supervisor: Supervisor, job: dict) -> dict:
    """Write `files` ({name: text}), run `steps`, report {"steps": [...]}.

    A step: `argv`, `limits`, optional `stdin` (text), `evidence` (a secret; see below), `remove` (files deleted before
    it), `needed` (a failure ends the job, as does any passed limit but that on output). With evidence, the process
    finds the secret on descriptor 3 and is expected to send it back there as its last deed; the step's report says
    `evidence`: whether just that came back.
    """
    for name, text in job["files"].items():
        with open(os.path.join("/tmp", name), "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
        os.chmod(os.path.join("/tmp", name), 0o644)
    reports = []
    for step in job["steps"]:
        for name in step.get("remove", ()):
            os.unlink(os.path.join("/tmp", name))
        reports.append(_step(supervisor, step))
        failed = reports[-1]["exit"] != 0
        if reports[-1]["limit"] in ("cpu", "wall") or (failed and step.get("needed")):
            break
    return {"steps": reports}


def _step(supervisor: Supervisor, step: dict) -> dict:
    secret = step.get("evidence", "").encode()
    said = bytearray()

    def execute(channel: int) -> None:
        if secret:
            os.set_inheritable(channel, True)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(step["argv"][0], step["argv"], dict(os.environ))

    def listen(data: bytes, _channel: int) -> None:
        if len(said) <= len(secret):
            said.extend(data)

    report = supervisor.run(
        execute,
        step["limits"],
        stdin=step.get("stdin", "").encode("utf-8", "surrogateescape"),
        listen=listen if secret else None,
        greeting=secret,
    )
    report["evidence"] = bool(secret) and bytes(said) == secret
    return report
