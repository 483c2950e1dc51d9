"""A model directory as one GGUF file, by the `gguf` package: Qwen2 (Qwen2.5-Coder, and the tiny model)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from gguf import (
    GGML_QUANT_SIZES,
    GGML_QUANT_VERSION,
    MODEL_ARCH,
    MODEL_ARCH_NAMES,
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
    get_tensor_name_map,
    quants,
)
from gguf.constants import GGUFType
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerBase

from stages.common.errors import InputError
from stages.common.json_reader import read_map
from stages.lm.gguf_vocabulary import add_vocabulary, unwritable

ARCHITECTURES = {"Qwen2ForCausalLM": MODEL_ARCH.QWEN2}
TYPES = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}


def read_config(path: Path) -> PretrainedConfig:
    """A whole model's configuration. Raises InputError where it cannot be read."""
    try:
        return AutoConfig.from_pretrained(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}/config.json: {str(error).strip().splitlines()[0][:200]}") from None


def unsupported(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Why `write` would not write this model as llama.cpp must read it; None where it would."""
    name = (config.architectures or ["?"])[0]
    if name not in ARCHITECTURES:
        return f"the architecture is {name}, not {', '.join(ARCHITECTURES)}"
    rope = (config.rope_parameters or {}).get("rope_type", "default")
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    wrong = {
        f"positions are scaled ({rope})": rope != "default",
        "attention has a sliding window": bool(config.use_sliding_window),
        f"hidden_act is {config.hidden_act}": config.hidden_act != "silu",
        f"head_dim is {head}": head * config.num_attention_heads != config.hidden_size,
        "the weights are quantised": getattr(config, "quantization_config", None) is not None,
    }
    return next((reason for reason, found in wrong.items() if found), None) or unwritable(tokenizer)


class Weights:
    """The weights of a model directory by their GGUF names, read one at a time.

    Raises InputError for a weight that is missing, unknown or not of the shape that the configuration gives it.
    """

    def __init__(self, path: Path, config: PretrainedConfig) -> None:
        self.path = path
        with torch.device("meta"):
            wanted = {n: tuple(w.shape) for n, w in AutoModelForCausalLM.from_config(config).state_dict().items()}
        if config.tie_word_embeddings:
            del wanted["lm_head.weight"]  # llama.cpp takes the embedding in its place
        self.files = self._files(wanted, tied=bool(config.tie_word_embeddings))
        names = get_tensor_name_map(ARCHITECTURES[config.architectures[0]], config.num_hidden_layers)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.origin: dict[str, str] = {}
        for origin, shape in wanted.items():
            name = names.get_name(origin, try_suffixes=(".weight", ".bias"))
            if name is None:
                raise InputError(f"{path}: GGUF has no name for the weight {origin}")
            self.shapes[name], self.origin[name] = shape, origin

    def _files(self, wanted: dict[str, tuple[int, ...]], tied: bool) -> dict[str, Path]:
        """The file that each weight is in, by its name there."""
        index = self.path / "model.safetensors.index.json"
        if index.is_file():
            listed = set(read_map(index, foreign=True)["weight_map"].values())
            files = [self.path / name for name in sorted(listed)]
        else:
            files = sorted(self.path.glob("*.safetensors"))
        found: dict[str, Path] = {}
        for file in files:
            try:
                with safe_open(file, "pt") as weights:
                    for name in weights.keys():  # noqa: SIM118 -- it has no __iter__
                        shape = tuple(weights.get_slice(name).get_shape())
                        if name in wanted and shape != wanted[name]:
                            raise InputError(f"{file}: {name}: shape {shape}, expected {wanted[name]}")
                        found[name] = file
            except (SafetensorError, OSError) as error:
                raise InputError(f"{file}: cannot be read: {str(error).splitlines()[0][:200]}") from None
        odd = found.keys() - wanted - ({"lm_head.weight"} if tied else set())
        missing = wanted.keys() - found
        if odd or missing:
            what, name = ("no weight", min(missing)) if missing else ("an unknown weight", min(odd))
            raise InputError(f"{self.path}: {what} {name}")
        return found

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        """Names and values, in float32. Raises InputError for values that are not finite."""
        for name, origin in self.origin.items():
            with safe_open(self.files[origin], "pt") as weights:
                values = weights.get_tensor(origin).float().numpy()
            if not np.isfinite(values).all():
                raise InputError(f"{self.path}: the weight {origin} is not finite")
            yield name, values


def stored_as(shape: tuple[int, ...], kind: GGMLQuantizationType) -> GGMLQuantizationType:
    """The type of one weight: vectors stay float32, and rows that blocks do not divide are float16, as in llama.cpp."""
    if len(shape) == 1:
        return GGMLQuantizationType.F32
    block, _ = GGML_QUANT_SIZES[kind]
    return kind if shape[-1] % block == 0 else GGMLQuantizationType.F16


def write(
    path: Path, out: Path, kind: str, name: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Write the whole model in `path` to the file `out`; `kind` is one of TYPES. One weight at a time is in memory.

    Raises InputError where `unsupported` has a reason, for a broken checkpoint, and for a weight beyond float16.
    """
    reason = unsupported(config, tokenizer)
    if reason:
        raise InputError(f"{path}: {reason}")
    main, file_type = TYPES[kind]
    weights = Weights(path, config)
    writer = GGUFWriter(out, MODEL_ARCH_NAMES[ARCHITECTURES[config.architectures[0]]])
    writer.add_type(GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    add_vocabulary(writer, tokenizer, config, rows=weights.shapes["token_embd.weight"][0])
    for weight, shape in weights.shapes.items():
        stored = stored_as(shape, main)
        block, size = GGML_QUANT_SIZES[stored]
        writer.add_tensor_info(weight, shape, np.dtype(np.float32), int(np.prod(shape)) // block * size, stored)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for weight, values in weights:
            stored = stored_as(values.shape, main)
            if stored is GGMLQuantizationType.F16 and np.abs(values).max() > np.finfo(np.float16).max:
                raise InputError(f"{path}: the weight {weight} has values beyond float16; choose TYPE=bf16")
            writer.write_tensor_data(quants.quantize(values, stored))
    finally:
        writer.close()
