"""Put a spec into params.yaml, or change who writes its examples, and run its stage.

python -m stages.specs --add rust_async --backend deepseek

The entry keeps its other settings, and the file its comments.
"""

import difflib
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from stages.common.cli import run
from stages.common.errors import HaloForgeError, InputError
from stages.common.files import replacing
from stages.common.params import DEFAULT_PATH, Params, argument_parser
from stages.common.secrets import Secrets
from stages.common.yaml_files import read_document
from stages.settings.check import check_all
from stages.settings.generate import PRESETS, GenerateSettings, check_specs
from stages.settings.spec import load_spec

FOLDER = Path("data/specs")


def expect_spec(name: str) -> None:
    """InputError unless there is a spec of that name, and a good one."""
    known = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known) or 'none'}"
        raise InputError(f"SPEC: found '{name}', expected a file {FOLDER}/NAME.yaml; {hint}")
    load_spec(FOLDER / f"{name}.yaml")


def put(document: Any, name: str, changes: dict[str, str | None]) -> bool:
    """Give the entry of a spec the settings in `changes` that are not None; whether anything is new."""
    if document["specs"] is None or not len(document["specs"]):
        # A map in braces would hold every entry in one line.
        document["specs"] = CommentedMap()
    entries, changed = document["specs"], False
    if name not in entries or entries[name] is None:
        entries[name] = CommentedMap()
        entries[name].fa.set_flow_style()
        changed = True
    entry = entries[name]
    if changes.get("backend") not in (None, entry.get("backend")):
        # Another backend: names, addresses and prices of the former one mean nothing to it.
        for key in ("model", "base_url", "key_env", "price_input", "price_output"):
            entry.pop(key, None)
    for key, value in changes.items():
        if value is not None and entry.get(key) != value:
            entry[key] = value
            changed = True
    return changed


def write_checked(path: Path, document: Any, yaml: YAML) -> None:
    """Write params.yaml, unless what it would be is faulty."""
    trial = path.with_name(f".{path.name}.trial")
    try:
        with trial.open("w", encoding="utf-8") as file:
            yaml.dump(document, file)
        try:
            check_all(Params(trial))
        except InputError as error:
            raise InputError(str(error).replace(str(trial), str(path))) from None
        with replacing(path) as file:
            file.write(trial.read_text(encoding="utf-8"))
    finally:
        trial.unlink(missing_ok=True)


def main() -> None:
    """Edit params.yaml where needed, then reproduce."""
    parser = argument_parser(__doc__)
    parser.add_argument("--add", required=True, metavar="SPEC", help="a spec: the name of a file in data/specs")
    parser.add_argument("--backend", metavar="NAME", help=f"one of: {', '.join(PRESETS)} (new entries: local)")
    parser.add_argument("--model", metavar="NAME", help="as the backend names it")
    parser.add_argument("--no-run", action="store_true", help="just edit params.yaml")
    args = parser.parse_args()
    path: Path = args.params or DEFAULT_PATH
    expect_spec(args.add)
    check_all(Params(path))
    yaml, document = read_document(path)
    if put(document, args.add, {"backend": args.backend, "model": args.model}):
        write_checked(path, document, yaml)
        print(f"{path}: specs.{args.add}: {dict(document['specs'][args.add])}")
    if args.no_run:
        return
    settings: GenerateSettings = check_specs(Params(path))[args.add]
    _ = Secrets(settings.key_env or settings.preset.key_env).key  # an error before other stages take their time
    command = ["dvc", "repro", f"generate@{args.add}"]
    print(" ".join(command), flush=True)
    if code := subprocess.run(command, check=False).returncode:
        raise HaloForgeError(f"dvc repro ended with exit code {code}, see above")


if __name__ == "__main__":
    run(main)
