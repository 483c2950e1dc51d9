"""A checkpoint as a GGUF file for llama.cpp, with a Modelfile for Ollama: `make gguf MODEL=models/cycle-3`.

python -m stages.export_gguf --model models/cycle-3 --out build/gguf/cycle-3-q8_0 --type q8_0
python -m stages.export_gguf --model models/cycle-3 --converter ../llama.cpp

An adapter is merged with its base first. Qwen2 (Qwen2.5-Coder, and the tiny model) is written by the `gguf` package,
other architectures by llama.cpp's convert_hf_to_gguf.py, from the checkout that --converter or LLAMA_CPP names
(toolbox/llama-cpp.env has the revision that it should be of). Either way the file is read back and compared.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.common.cli import run
from stages.common.commands import said
from stages.common.errors import HaloForgeError, InputError
from stages.common.files import naming_a_full_disk, replacing_directory, scratch_directory
from stages.common.params import Params, argument_parser
from stages.settings.compute import ComputeSettings

SCRIPT = "convert_hf_to_gguf.py"
PIN = Path(__file__).parents[1] / "toolbox" / "llama-cpp.env"
KINDS = ("f32", "f16", "bf16", "q8_0")


def expect_place(out: Path, file: str) -> None:
    """Raise InputError for a folder that holds more than an earlier export to `file`, since it is replaced."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: a file; expected a folder to write to")
    other = [path.name for path in out.glob("*") if path.name not in (file, "Modelfile")]
    if other:
        raise InputError(f"{out}: holds '{min(other)}', which is no export to {file}; give another folder")


def script_in(converter: Path) -> Path:
    """convert_hf_to_gguf.py in a checkout of llama.cpp. Raises InputError where it is not there."""
    script = converter if converter.name == SCRIPT else converter / SCRIPT
    if not script.is_file():
        raise InputError(f"{script}: not found; --converter and LLAMA_CPP name a checkout of llama.cpp")
    return script


def revision(folder: Path) -> str:
    """The commit of a checkout of llama.cpp, as its file REVISION or git tell; "?" where neither does."""
    if (folder / "REVISION").is_file():  # the toolbox leaves the history out
        return (folder / "REVISION").read_text(encoding="utf-8").split()[-1]
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    top = ["git", "-C", str(folder), "rev-parse", "--show-prefix"]
    inside = subprocess.run(top, capture_output=True, text=True, check=False).stdout.strip()
    return done.stdout.strip() if done.returncode == 0 and not inside else "?"


def pinned() -> str:
    """The commit of llama.cpp that toolbox/llama-cpp.env names."""
    lines = dict(line.split("=", 1) for line in PIN.read_text(encoding="utf-8").splitlines() if "=" in line)
    return lines["LLAMA_CPP_COMMIT"]


@contextmanager
def whole(model: Path, beside: Path, compute: ComputeSettings) -> Iterator[Path]:
    """The model as a directory that needs no PEFT; an adapter's is merged beside the output and removed afterwards."""
    from stages.lm import devices, load
    from stages.lm.merge import is_adapter, merge

    load.expect_checkpoint(model)
    if not is_adapter(model):
        yield model
        return
    devices.use_threads(compute.threads)
    with scratch_directory(beside.with_name(f".{beside.name}.merged.tmp")) as folder:
        merged = folder / model.name
        merge(model, merged, compute)
        yield merged


def expect_rows_for_tokens(model: Path) -> None:
    """Raise InputError for a tokenizer with ids beyond the embedding's rows, of which no reader of GGUF makes sense."""
    from stages.lm import adapters, load
    from stages.lm.gguf_file import read_config
    from stages.lm.merge import is_adapter

    load.expect_checkpoint(model)
    config = read_config(adapters.base_of(model) if is_adapter(model) else model)
    load.expect_rows(config.get_text_config().vocab_size, load.load_tokenizer(model), model)


def convert(model: Path, file: Path, kind: str, name: str, converter: Path | None, ready: Path | None) -> str:
    """Write `file`; returns by what. `converter` was asked for, `ready` is used where the package does not suffice.

    Raises InputError where neither can, and HaloForgeError with what the converter says of its failure.
    """
    from stages.lm import gguf_file, load

    config, tokenizer = gguf_file.read_config(model), load.load_tokenizer(model)
    reason = gguf_file.unsupported(config, tokenizer)
    if converter is None and reason is None:
        gguf_file.write(model, file, kind, name, config, tokenizer)
        return "the gguf package"
    checkout = converter or ready
    if checkout is None:
        raise InputError(f"{name}: {reason}; set LLAMA_CPP to a checkout of llama.cpp, whose converter may do it")
    script = script_in(checkout)
    said(sys.executable, str(script), str(model), "--outfile", str(file), "--outtype", kind, "--model-name", name)
    if not file.is_file():
        raise HaloForgeError(f"{script}: ended without an error and without {file}")
    found = revision(script.parent)
    told = "as pinned" if found == pinned() else f"toolbox/llama-cpp.env pins {pinned()[:9]}"
    return f"llama.cpp's converter at {found[:9]} ({told})"


def write_modelfile(model: Path, file: Path) -> str:
    """Write Ollama's Modelfile beside the GGUF file, where there is a right one; returns what to say of it."""
    from stages.lm import load
    from stages.lm.modelfile import Inexpressible, modelfile

    try:
        text = modelfile(load.load_tokenizer(model), file.name)
    except Inexpressible as error:
        return f"no Modelfile: the chat template cannot be told to Ollama: {error}"
    file.with_name("Modelfile").write_text(text, encoding="utf-8")
    return "Modelfile"


def export(
    model: Path,
    out: Path,
    kind: str,
    compute: ComputeSettings,
    converter: Path | None = None,
    ready: Path | None = None,
) -> list[str]:
    """Write NAME-TYPE.gguf and Modelfile to the folder `out`, whole or not at all; returns lines that tell of them.

    Raises as `convert` does, InputError, before anything is written, for a tokenizer that is longer than the
    embedding, and HaloForgeError for a file that, read back, is not the model.
    """
    name = model.resolve().name
    expect_place(out, f"{name}-{kind}.gguf")
    from stages.lm.gguf_check import read_back
    from stages.lm.gguf_file import read_config

    expect_rows_for_tokens(model)
    with whole(model, out, compute) as ordinary, naming_a_full_disk(out), replacing_directory(out) as folder:
        file = folder / f"{name}-{kind}.gguf"
        how = convert(ordinary, file, kind, name, converter, ready)
        counts = read_back(file, ordinary, read_config(ordinary))
        beside = write_modelfile(ordinary, file)
        size = file.stat().st_size
    told = ", ".join(f"{count} {stored}" for stored, count in sorted(counts.items()))
    return [f"{out / file.name}: {size} bytes by {how}; read back: {told}", f"{out}: {beside}"]


def main() -> None:
    """Merge where needed, write, read back."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint: an adapter, or a whole model")
    parser.add_argument("--out", type=Path, help="folder to write to (default: build/gguf/NAME-TYPE)")
    parser.add_argument("--type", default="f16", choices=KINDS, help="of the weights (default: f16)")
    parser.add_argument("--converter", type=Path, help="use llama.cpp's converter, from this checkout")
    args = parser.parse_args()
    out = args.out or Path("build/gguf") / f"{args.model.resolve().name}-{args.type}"
    compute = Params(args.params).section(ComputeSettings, "compute")
    ready = os.environ.get("LLAMA_CPP")
    print("\n".join(export(args.model, out, args.type, compute, args.converter, Path(ready) if ready else None)))


if __name__ == "__main__":
    run(main)
