"""The shapes of decoders, and what follows from them: parameters, bytes of a token in the cache, FLOPs."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.errors import InputError
from stages.common.json_reader import read_map
from stages.settings.model import BaseSettings


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder of the Qwen2 kind: biases in the query, key and value projections, a gated MLP, RMS norms."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    tied: bool

    @property
    def kv_width(self) -> int:
        """Entries of a token's keys in one layer."""
        return self.hidden // self.heads * self.kv_heads

    @property
    def layer_matrices(self) -> int:
        """Entries of one layer's linear maps: query and output, key and value, gate, up and down."""
        return 2 * self.hidden**2 + 2 * self.hidden * self.kv_width + 3 * self.hidden * self.intermediate

    @property
    def matrices(self) -> int:
        """Entries that every token is multiplied with: all layers and the output head."""
        return self.layers * self.layer_matrices + self.vocabulary * self.hidden

    @property
    def embeddings(self) -> int:
        """Entries of the embedding and, where it is another matrix, of the output head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All of them."""
        small = self.hidden + 2 * self.kv_width + 2 * self.hidden  # biases and norms
        return self.embeddings + self.layers * (self.layer_matrices + small) + self.hidden

    def adapter(self, rank: int, targets: str | list[str] = "all-linear") -> int:
        """Parameters of adapters: rank x (inputs + outputs) for each linear map of the layers that PEFT would take:
        all, those that a list names, or those whose path a regular expression matches."""
        h, kv, i = self.hidden, self.kv_width, self.intermediate
        attention = {"q_proj": h + h, "k_proj": h + kv, "v_proj": h + kv, "o_proj": h + h}
        sides = {f"self_attn.{name}": count for name, count in attention.items()}
        sides |= {"mlp.gate_proj": h + i, "mlp.up_proj": h + i, "mlp.down_proj": i + h}
        if isinstance(targets, list):
            sides = {name: n for name, n in sides.items() if any(f".{name}".endswith(f".{t}") for t in targets)}
        elif targets != "all-linear":
            sides = {name: n for name, n in sides.items() if re.fullmatch(targets, f"model.layers.0.{name}")}
        return self.layers * rank * sum(sides.values())

    def cache_bytes(self, width: int) -> int:
        """Bytes of keys and values for one token, in a type of `width` bytes."""
        return 2 * self.layers * self.kv_width * width

    def training_flops(self, length: float, adapter: bool, again: bool) -> float:
        """FLOPs a token: 6 for each matrix entry, 4 where weights are frozen, 2 more where activations are computed
        again, and 12 x layers x hidden x length for attention (Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311,
        appendix B)."""
        each = (4 if adapter else 6) + (2 if again else 0)
        return each * self.matrices + (16 if again else 12) * self.layers * self.hidden * length


# From the models' config.json. Published totals: 0.49, 1.54, 3.09, 7.61, 14.7 and 32.5 billion.
QWEN = {
    "0.5B": Shape(896, 24, 14, 2, 4864, 151_936, True),
    "1.5B": Shape(1536, 28, 12, 2, 8960, 151_936, True),
    "3B": Shape(2048, 36, 16, 2, 11_008, 151_936, True),
    "7B": Shape(3584, 28, 28, 4, 18_944, 152_064, False),
    "14B": Shape(5120, 48, 40, 8, 13_824, 152_064, False),
    "32B": Shape(5120, 64, 40, 8, 27_648, 152_064, False),
}


QUANTIZED = re.compile(r"AWQ|GPTQ|GGUF|Int[48]\b|bnb|-4bit|-8bit|FP8", re.IGNORECASE)  # as hubs name such models


def shape_of(base: BaseSettings, built: Path) -> tuple[Shape, str]:
    """A base model's shape and where it is known from: its settings, a local directory, a table of known models, or
    the checkpoint at `built`. Raises InputError for a model that none of them knows."""
    if base.tiny is not None:
        t = base.tiny
        return Shape(t.hidden, t.layers, t.heads, t.kv_heads, t.intermediate, t.vocabulary, True), "base.tiny"
    if found := QUANTIZED.search(str(base.hub)):
        raise InputError(f"base.hub: {base.hub} is quantised ({found[0]}); expected a model with all its bits")
    local = Path(base.hub or "")
    if (local / "config.json").is_file():
        return read_config(local / "config.json"), str(local / "config.json")
    for size, shape in QWEN.items():
        if f"Qwen2.5-Coder-{size}" in str(base.hub) or f"Qwen2.5-{size}" in str(base.hub):
            return shape, "the table of Qwen2.5"
    if (built / "config.json").is_file():
        return read_config(built / "config.json"), str(built / "config.json")
    raise InputError(f"base.hub: the shape of {base.hub} is not known here; run the stage `base`, or name a local copy")


def read_config(path: Path) -> Shape:
    """The shape in a config.json. Raises InputError where it does not say, or says what no decoder can be."""
    try:
        config: dict[str, Any] = read_map(path, foreign=True)
        if config.get("quantization_config"):
            raise InputError(f"{path}: is quantised; expected a model with all its bits")
        heads = config["num_attention_heads"]
        sizes = {name: config[name] for name in ("hidden_size", "num_hidden_layers")} | {"num_attention_heads": heads}
        sizes["num_key_value_heads"] = config.get("num_key_value_heads") or heads
        sizes |= {name: config[name] for name in ("intermediate_size", "vocab_size")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: no shape of a decoder in it: {error}") from None
    for name, value in sizes.items():
        if type(value) is not int or value < 1:
            raise InputError(f"{path}: {name}: found {value!r}, expected a whole number from 1")
    shape = Shape(*sizes.values(), tied=bool(config.get("tie_word_embeddings", False)))
    if shape.hidden % shape.heads or shape.heads % shape.kv_heads:
        raise InputError(f"{path}: num_attention_heads must divide hidden_size, and num_key_value_heads must divide it")
    if (config.get("head_dim") or shape.hidden // shape.heads) != shape.hidden // shape.heads:
        raise InputError(f"{path}: head_dim: found {config['head_dim']}, only hidden_size / heads can be planned for")
    return shape
