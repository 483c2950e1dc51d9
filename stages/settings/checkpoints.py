"""Which checkpoints a params.yaml makes beside those of its cycles."""

from stages.common.params import Params
from stages.settings.control import check_controls
from stages.settings.grpo import check_runs


def made_beside(params: Params) -> list[str]:
    """The checkpoints that no cycle makes: of controls and of GRPO."""
    return [*check_controls(params), *check_runs(params)]
