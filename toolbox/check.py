"""The self-check: a Strix Halo's devices, kernel, memory and environment, and what torch computes on this machine.

python toolbox/check.py [--full] [--only 5,6] [--json FILE]

Each check passes, fails, warns, or is skipped, and says why and how to mend it. Exits with 1 where one fails. Where
there is no Strix Halo, its own checks are skipped and the others run on the GPU or CPU that is there. What it measures
of matrix products and copies is kept in the user's cache folder, where `make plan` and utilisation find it; see
docs/HARDWARE_NOTES.md.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the modules beside this file, wherever it is started


def main() -> None:
    """Check, print each result as it comes, write the JSON, tell what failed."""
    from stages.common.errors import HaloForgeError, InputError
    from stages.common.files import write_json
    from toolbox.checks.every import ITEMS, every_result

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="without what takes minutes (the default)")
    length.add_argument("--full", action="store_true", help="on a GPU: compiled sampling, and 300 s under load as well")
    parser.add_argument("--only", metavar="N,N", help="these items only, by their numbers from 1 to 12")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--root", type=Path, default=Path("/"), help="of /sys, /proc and /dev, if recorded")
    args = parser.parse_args()
    items = set(ITEMS)
    if args.only is not None:
        asked = [part.strip() for part in args.only.split(",")]
        if wrong := [part for part in asked if not (part.isdecimal() and int(part) in ITEMS)]:
            raise InputError(f"--only: found '{wrong[0]}', expected numbers from 1 to {ITEMS[-1]} with commas between")
        items = set(map(int, asked))
    if not args.root.is_dir():
        raise InputError(f"--root: {args.root}: no such folder")
    results = []
    for result in every_result(args.root, items, args.full):
        results.append(result)
        print(result.line(), flush=True)
    if args.json:
        write_json(args.json, {"full": args.full, "results": [asdict(result) for result in results]})
    if failed := [result.name for result in results if result.status == "fail"]:
        raise HaloForgeError(f"the self-check: {len(failed)} failed: {', '.join(failed)}")


if __name__ == "__main__":
    from stages.common.cli import run

    run(main)
