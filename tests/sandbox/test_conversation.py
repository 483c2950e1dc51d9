"""The conversation between judge and candidate under messages that no honest side sends."""

import re
import subprocess
import sys
from pathlib import Path

SEED, COUNT = 0, 1500


def test_garbled_messages() -> None:
    """They end as values, exceptions or Gone; never in a hang, a crash or a change of what the judge holds."""
    script = Path(__file__).with_name("garble.py")
    command = [sys.executable, str(script), str(SEED), str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    ended = {kind: int(count) for kind, count in re.findall(r"'(\w+)': (\d+)", done.stdout)}
    assert sum(ended.values()) == COUNT
    assert ended["Gone"] > COUNT / 10
    assert ended["KeyError"] > COUNT / 10  # the solution's own, at the end of an undisturbed conversation
