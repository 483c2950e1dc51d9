"""The process that a crash may take: runs checks one after another and tells each one's results as a line of JSON.

python -m toolbox.checks.child FD FULL MODULE:NAME ...
"""

import importlib
import json
import os
import sys
import traceback
from dataclasses import asdict
from typing import Any

from toolbox.checks.results import Result, cause


def use_threads() -> None:
    """As many threads as the active profile trains with."""
    from stages.common.errors import HaloForgeError
    from stages.common.params import Params
    from stages.lm import devices
    from stages.settings.compute import ComputeSettings

    try:
        count = Params().section(ComputeSettings, "compute").threads
    except HaloForgeError:  # `make doctor` tells of params.yaml in a row of its own
        count = 0
    devices.use_threads(count)


def run_one(function: str, full: bool) -> dict[str, Any]:
    """What a check says: `results`, or the `error` that ended it."""
    module, _, name = function.partition(":")
    try:
        check = getattr(importlib.import_module(module), name)
        if "torch" in sys.modules:
            use_threads()
        found = check(full)
    except Exception as error:
        traceback.print_exc()
        return {"error": cause(error)}
    return {"results": [asdict(result) for result in ([found] if isinstance(found, Result) else found)]}


def main() -> None:
    """Run what is named. After an error the process ends: a GPU that has failed once may fail all that follows."""
    channel, full, *functions = sys.argv[1:]
    with os.fdopen(int(channel), "w") as told:
        for function in functions:
            said = run_one(function, full == "full")
            told.write(json.dumps(said) + "\n")
            told.flush()
            if "error" in said:
                sys.exit(1)


if __name__ == "__main__":
    main()
