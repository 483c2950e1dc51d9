"""The only place that starts untrusted code. Fails closed: without a working sandbox nothing is run.

`probe()` says whether it works here. `Sandbox().run(job, View())` runs one job; see host.py, and `inside/` for what
runs within.
"""

from stages.sandbox.bubblewrap import View
from stages.sandbox.gate import Gate
from stages.sandbox.host import Sandbox, abilities, probe, probe_ahead

__all__ = ["Gate", "Sandbox", "View", "abilities", "probe", "probe_ahead"]
