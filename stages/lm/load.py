"""Checkpoints in the ordinary Hugging Face layout: loading with checks, saving whole or not at all.

A checkpoint is a directory with either full weights (config.json, *.safetensors) or a PEFT adapter
(adapter_config.json) on top of another such directory. Pickled weights are refused: loading one runs code.
"""

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from stages.common.errors import InputError
from stages.common.files import content_hash, naming_a_full_disk, replacing_directory
from stages.lm import adapters, attention
from stages.lm.devices import device
from stages.settings.compute import ComputeSettings

# Deprecations between these libraries' own versions, which nobody who runs a stage can mend.
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

MENDED = "python -m stages.base with base.hub set to this directory makes a copy that is fit (docs/PROMPTS.md)"


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


def load_model(
    path: Path | str, compute: ComputeSettings, trainable: bool = False, quantize: str | None = None
) -> PreTrainedModel:
    """Load a checkpoint's weights onto the device; an adapter is put on its base model. `quantize` "nf4" holds the
    weights that an adapter leaves alone in 4 bits.

    Raises InputError where the directory, its configuration or its weights are missing, truncated or do not fit, or
    where bitsandbytes is wanted and missing.
    """
    path = Path(path)
    expect_checkpoint(path)
    if quantize and importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f"lora.quantize: found '{quantize}', which needs bitsandbytes: pip install bitsandbytes")
    try:
        if (path / "adapter_config.json").is_file():
            model = _load_adapter(path, compute, trainable, quantize)
        else:
            model = _load_weights(path, compute, quantize)
    except torch.OutOfMemoryError:  # no fault of the checkpoint's
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot load the checkpoint: {_first_line(error)}") from None
    except Exception as error:  # of safetensors, or of what checks a configuration: classes outside the hierarchy
        known = ("safetensors", "safetensors_rust", "huggingface_hub", "builtins")
        if type(error).__module__.partition(".")[0] not in known:
            raise
        raise InputError(f"{path}: cannot load the checkpoint: {_first_line(error)}") from None
    _expect_numbers(model, path)
    # Weights in 4 bits are put on the device as they are loaded, and cannot be moved.
    return (model if quantize else model.to(device())).train(trainable)


def _expect_numbers(model: torch.nn.Module, path: Path) -> None:
    """Raise InputError for a weight that is NaN or infinite; each is read once, and its sum tells."""
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not torch.isfinite(weight.detach().sum(dtype=torch.float32)):
            raise InputError(f"{path}: the weight {name} is not finite; train it again with a lower learning rate")


def expect_vocabulary(model: Any, tokenizer: PreTrainedTokenizerBase, path: Path | str) -> None:
    """Raise InputError for a tokenizer that gives ids which the model's embedding has no row for."""
    expect_rows(model.get_input_embeddings().weight.shape[0], tokenizer, path)


def expect_rows(rows: int, tokenizer: PreTrainedTokenizerBase, path: Path | str) -> None:
    """As `expect_vocabulary`, for an embedding of `rows` rows that need not be loaded."""
    needed = max(tokenizer.get_vocab().values(), default=-1) + 1
    if needed > rows:
        raise InputError(f"{path}: the tokenizer has {needed} entries and the embedding {rows} rows; {MENDED}")


def _quantization(compute: ComputeSettings) -> Any:
    """NF4 with double quantisation, computing in the profile's type (QLoRA, section 3)."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, compute.dtype),
    )


def _load_weights(path: Path, compute: ComputeSettings, quantize: str | None = None) -> PreTrainedModel:
    if not any(path.glob("*.safetensors")):
        raise InputError(f"{path}: no *.safetensors file; pickled weights are not loaded")
    model, info = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=getattr(torch, compute.dtype),
        attn_implementation=attention.resolve(compute.attention, compute.dtype),
        use_safetensors=True,
        output_loading_info=True,
        **({"quantization_config": _quantization(compute), "device_map": {"": device()}} if quantize else {}),
    )
    # transformers fills weights that a file lacks with random numbers and goes on.
    wrong = [*info.get("missing_keys", ()), *info.get("mismatched_keys", ())]
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} weights missing or of the wrong shape, the first is {min(map(str, wrong))}"
        )
    return model


def _load_adapter(path: Path, compute: ComputeSettings, trainable: bool, quantize: str | None) -> Any:
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    base = adapters.base_of(path)
    weights = path / "adapter_model.safetensors"
    if not weights.is_file():
        raise InputError(f"{path}: no adapter_model.safetensors; pickled weights are not loaded")
    adapters.expect_same_base(path, base)
    model = PeftModel.from_pretrained(_load_weights(base, compute, quantize), path, is_trainable=trainable)
    # PEFT leaves out what does not fit, and goes on with fresh adapters in its place.
    with safe_open(weights, "pt") as file:
        there = set(file.keys())
    known = set(get_peft_model_state_dict(model))
    odd = (there - known) | {name for name in known - there if "lora_" in name}
    if odd:
        raise InputError(f"{path}: {len(odd)} weights of the adapter are missing or unknown, the first is {min(odd)}")
    return model


def save(path: Path | str, model: Any, tokenizer: PreTrainedTokenizerBase, weights: dict | None = None) -> None:
    """Write a checkpoint (an adapter alone, where the model is one), so that equal weights give equal files. `weights`
    is the state to write where the model's own is spread over processes."""
    with naming_a_full_disk(Path(path)), replacing_directory(path) as directory:
        model.save_pretrained(directory, **({} if weights is None else {"state_dict": weights}))
        tokenizer.save_pretrained(directory)
        if (directory / "adapter_config.json").is_file():
            adapters.remember_base(directory, adapters.base_of(directory))
        # PEFT's generated card names library versions and has empty headings; a release writes a real one.
        (directory / "README.md").unlink(missing_ok=True)


def origin(path: Path, compute: ComputeSettings) -> list[str]:
    """What tells a checkpoint's weights, and how tensors are computed, from others: for keys of unfinished work."""
    how = attention.resolve(compute.attention, compute.dtype)
    return [content_hash(path), compute.dtype, how, device().type, torch.__version__]


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
    first, *others = (str(error).strip() or type(error).__name__).splitlines()
    # Some name the fault in their second line.
    return (f"{first} {others[0].strip()}" if first.endswith(":") and others else first)[:200]
