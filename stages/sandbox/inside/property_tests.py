"""Tests that lean on hypothesis: the same examples for every solution, each time, and nothing kept.

Runs inside the sandbox, in the runner of python_judge.py.
"""

from hypothesis import HealthCheck, settings


def warm() -> None:
    """Set what hypothesis goes by; its own defaults draw at random, keep failures on disk and time each example."""
    settings.register_profile(
        "judge", derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    settings.load_profile("judge")
