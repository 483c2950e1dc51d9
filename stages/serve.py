"""vLLM's OpenAI-compatible server with a checkpoint, for `sample.backend: openai`.

python -m stages.serve --model models/sft --port 8000
python -m stages.serve --model models/cycle-1 -- --gpu-memory-utilization 0.6

A whole model is served under its path and its folder's name, an adapter on its base and under its path; where vLLM
cannot run it so, it is merged first. What stands behind `--` goes to `vllm serve` as it is.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from stages.common.cli import run
from stages.common.errors import HaloForgeError
from stages.common.files import content_hash
from stages.common.json_reader import read_map
from stages.common.params import Params, argument_parser
from stages.settings.compute import ComputeSettings

# Of those that vLLM takes for --max-lora-rank (MaxLoRARanks in vllm/config/lora.py, 0.30).
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
MERGED = Path("build/merged")


def command(model: Path, base: Path | None, rank: int, compute: ComputeSettings, host: str, port: int) -> list[str]:
    """The command line. `base`: of the adapter that `model` is, None for a whole model."""
    served = base or model
    words = ["vllm", "serve", str(served), "--served-model-name", str(served), served.name]
    words += ["--host", host, "--port", str(port), "--dtype", compute.dtype]
    # Nothing from the checkpoint's generation_config.json: what a sample depends on stands in the request.
    words += ["--generation-config", "vllm"]
    # Log probabilities under temperature and top_p, as the records define them.
    words += ["--logprobs-mode", "processed_logprobs"]
    if base:
        words += ["--enable-lora", "--max-lora-rank", str(next(r for r in RANKS if r >= rank))]
        words += ["--lora-modules", f"{model}={model.resolve()}"]
    return words


def servable(config: dict[str, Any]) -> bool:
    """Whether vLLM runs an adapter of this adapter_config.json as it is: plain LoRA, and no other weights trained."""
    plain = config.get("peft_type") == "LORA" and config.get("bias", "none") == "none"
    rank = max([config.get("r") or 0, *(config.get("rank_pattern") or {}).values()])
    return plain and not config.get("use_dora") and not config.get("modules_to_save") and rank <= RANKS[-1]


def merged(model: Path, compute: ComputeSettings) -> Path:
    """The adapter as a whole model in build/merged, made where it is not there."""
    from stages.lm import devices
    from stages.lm.merge import merge

    out = MERGED / content_hash(model) / model.name
    if not out.is_dir():
        print(f"{model}: vLLM does not run an adapter of this kind; merging it into {out}", flush=True)
        devices.use_threads(compute.threads)
        merge(model, out, compute)
    return out


def main() -> None:
    """Make ready what is served, then become vLLM."""
    words = sys.argv[1:]
    words, more = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argument_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint: a whole model or an adapter")
    parser.add_argument("--port", type=int, default=8000, help="port (default: 8000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    args = parser.parse_args(words)
    if shutil.which("vllm") is None:
        raise HaloForgeError(
            "vllm is not installed: pip install -e '.[serve]' on a machine with CUDA or ROCm, or serve "
            f"{args.model} by another server (docs/SAMPLING.md)"
        )
    from stages.lm import adapters, load
    from stages.lm.merge import is_adapter

    load.expect_checkpoint(args.model)
    compute = Params(args.params).section(ComputeSettings, "compute")
    model, base, rank = args.model, None, 0
    if is_adapter(model):
        config = read_map(model / "adapter_config.json", foreign=True)
        if servable(config):
            base = adapters.base_of(model)
            rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
            # Other adapters of the same base may come later (`servers.adapter: load`).
            os.environ.setdefault("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True")
        else:
            model = merged(model, compute)
    line = command(model, base, rank, compute, args.host, args.port)
    if model != args.model:
        line[line.index("--served-model-name") + 1] = str(args.model)
    line += more
    print("serve:", " ".join(line), flush=True)
    os.execvp(line[0], line)


if __name__ == "__main__":
    run(main)
