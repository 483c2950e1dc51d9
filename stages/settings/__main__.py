"""Check params.yaml, every profile in it, and say what is active; with --profile, make another one active first.

python -m stages.settings
python -m stages.settings --profile smoke
"""

import re

from stages.common.cli import run
from stages.common.errors import InputError
from stages.common.files import replacing
from stages.common.params import DEFAULT_PATH, Params, argument_parser
from stages.settings.check import check_all


def with_profile(text: str, name: str) -> str:
    """params.yaml with another active profile: that one word changes. InputError where there is no such line."""
    changed, count = re.subn(r"^(profile:[ ]*)[^\s#]+", lambda line: line[1] + name, text, count=1, flags=re.MULTILINE)
    if not count:
        raise InputError("params.yaml: profile: missing")
    return changed


def main() -> None:
    """Change the profile where asked for, check the file, say so."""
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", metavar="NAME", help="make this profile the active one")
    args = parser.parse_args()
    path = args.params or DEFAULT_PATH
    params = Params(path)
    if args.profile and args.profile != params.raw.get("profile"):
        if args.profile not in (params.raw.get("profiles") or {}):
            known = ", ".join(map(str, params.raw.get("profiles") or {}))
            raise InputError(f"--profile: found '{args.profile}', expected one of: {known}")
        text = with_profile(path.read_text(encoding="utf-8"), args.profile)
        with replacing(path) as file:
            file.write(text)
        params = Params(path)
    check_all(params)
    cycles = len(params.raw["cycles"])
    print(f"{path}: profile {params.profile}, seed {params.seed}, {cycles} cycles, all settings valid")


if __name__ == "__main__":
    run(main)
