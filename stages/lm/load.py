"""Checkpoints in the ordinary Hugging Face layout: loading with checks, saving whole or not at all.

A checkpoint is a directory with either full weights (config.json, *.safetensors) or a PEFT adapter
(adapter_config.json) on top of another such directory. Pickled weights are refused: loading one runs code.
"""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from stages.common.errors import InputError
from stages.common.files import content_hash, naming_a_full_disk, replacing_directory
from stages.settings.compute import ComputeSettings

# Deprecations between these libraries' own versions, which nobody who runs a stage can mend.
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

MENDED = "python -m stages.base with base.hub set to this directory makes a copy that is fit (docs/PROMPTS.md)"


def device() -> torch.device:
    """The accelerator (ROCm shows itself as cuda) where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def use_threads(count: int) -> None:
    """Set torch's CPU threads; 0 means all cores. Sums round differently for different counts."""
    torch.set_num_threads(count or len(os.sched_getaffinity(0)))


def load_tokenizer(path: Path | str) -> PreTrainedTokenizerBase:
    """Load a checkpoint's tokenizer, set to pad on the left as generation needs.

    Raises InputError where it is missing or broken, has no chat template, or pads with its end token (a model trained
    so never learns to stop: huggingface/transformers#48016). The stage `base` mends the last two.
    """
    tokenizer = raw_tokenizer(path)
    if tokenizer.chat_template is None:
        raise InputError(f"{path}: the tokenizer has no chat template; {MENDED}")
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        raise InputError(f"{path}: the tokenizer must define an end token (eos) and a padding token (pad); {MENDED}")
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise InputError(f"{path}: the tokenizer pads with its end token '{tokenizer.eos_token}'; {MENDED}")
    tokenizer.padding_side = "left"
    return tokenizer


def raw_tokenizer(path: Path | str) -> PreTrainedTokenizerBase:
    """Load a checkpoint's tokenizer as it is, fit for training or not. Raises InputError where that cannot be."""
    expect_checkpoint(Path(path))
    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise InputError(f"{path}: cannot load the tokenizer: {_first_line(error)}") from None


def load_model(path: Path | str, compute: ComputeSettings, trainable: bool = False) -> PreTrainedModel:
    """Load a checkpoint's weights onto the device; an adapter is put on its base model.

    Raises InputError where the directory, its configuration or its weights are missing, truncated or do not fit.
    """
    path = Path(path)
    expect_checkpoint(path)
    try:
        if (path / "adapter_config.json").is_file():
            model = _load_adapter(path, compute, trainable)
        else:
            model = _load_weights(path, compute)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot load the checkpoint: {_first_line(error)}") from None
    except Exception as error:  # safetensors raises a class of its own, outside the ordinary hierarchy
        if type(error).__module__.partition(".")[0] not in ("safetensors", "safetensors_rust", "builtins"):
            raise
        raise InputError(f"{path}: cannot load the checkpoint: {_first_line(error)}") from None
    return model.to(device()).train(trainable)


def _load_weights(path: Path, compute: ComputeSettings) -> PreTrainedModel:
    if not any(path.glob("*.safetensors")):
        raise InputError(f"{path}: no *.safetensors file; pickled weights are not loaded")
    model, info = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=getattr(torch, compute.dtype),
        attn_implementation=compute.attention,
        use_safetensors=True,
        output_loading_info=True,
    )
    # transformers fills weights that a file lacks with random numbers and goes on.
    wrong = [*info.get("missing_keys", ()), *info.get("mismatched_keys", ())]
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} weights missing or of the wrong shape, the first is {min(map(str, wrong))}"
        )
    return model


def _load_adapter(path: Path, compute: ComputeSettings, trainable: bool) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(_load_weights(base_of(path), compute), path, is_trainable=trainable)


def base_of(path: Path) -> Path:
    """The directory of an adapter's base model. Raises InputError where it is not there."""
    named = json.loads((path / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    base = next((p for p in (Path(named or ""), path.parent / Path(named or "").name) if named and p.is_dir()), None)
    if base is None:
        raise InputError(f"{path}: adapter of the base model '{named}', which is not there")
    return base


def save(path: Path | str, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write a checkpoint (an adapter alone, where the model is one), so that equal weights give equal files."""
    with naming_a_full_disk(Path(path)), replacing_directory(path) as directory:
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        # PEFT's generated card names library versions and has empty headings; a release writes a real one.
        (directory / "README.md").unlink(missing_ok=True)


def origin(path: Path, compute: ComputeSettings) -> list[str]:
    """What tells a checkpoint's weights, and how tensors are computed, from others: for keys of unfinished work."""
    return [content_hash(path), compute.dtype, compute.attention, device().type, torch.__version__]


def expect_checkpoint(path: Path) -> None:
    """Raise InputError unless `path` is a directory with a model's configuration and a tokenizer."""
    if not path.is_dir():
        raise InputError(f"{path}: no such checkpoint directory")
    if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise InputError(f"{path}: not a checkpoint: expected config.json or adapter_config.json")
    # Without these transformers makes an empty tokenizer and goes on.
    if not any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise InputError(f"{path}: no tokenizer: expected tokenizer.json, tokenizer.model or vocab.json")


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
