"""halo-forge: verifier-rewarded training of code models, one plain script per DVC stage."""

import sys
from types import TracebackType


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        from stages.common.cli import INTERRUPTED

        print(INTERRUPTED, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # so it is while Python looks for the script that it is to run
    sys.excepthook = _told  # a script imports torch, for seconds, before it comes to stages/common/cli.py
