"""Memory of training and of sampling, in bytes, as this project's code uses it."""

from stages.planning.shapes import Shape
from stages.settings.sampling import SampleSettings
from stages.settings.training import MOST_LOGITS, TrainSettings

WIDTH = {"float32": 4, "bfloat16": 2}
NF4 = 0.5 + 0.127 / 8  # bytes a weight with double quantisation (Dettmers et al. 2023, arXiv:2305.14314, section 3)
TILE = (4096, 32_768)  # tokens x entries of the vocabulary whose logits TRL's fused output head holds at a time
COPIES = {"cpu": 7, "cuda": 0}  # of that tile in float32, beside it: of torch's own operations; Triton works in place
PROMPT = 512  # tokens of a prompt, where none has been measured


def activations(shape: Shape, tokens: int, width: int, frozen: bool) -> int:
    """What one layer keeps for its backward pass, for `tokens` tokens of types of `width` bytes.

    Counted from what autograd saves in transformers' Qwen2 layer, as Korthikanti et al. 2022
    (https://arxiv.org/abs/2205.05198, section 4.1) count it for GPT: both norms compute in float32 and keep it and
    their output; the inputs of the projections; query, key and value before and after rotation and the attention's
    output; in the MLP gate, up, the activation of the one and the product.
    """
    h, kv, i = shape.hidden, shape.kv_width, shape.intermediate
    norms = 2 * (2 * 4 * h + width * h * (1 if width == 4 else 2))
    attention = width * (2 * h + 2 * kv + 2 * (h + kv) + 2 * h)
    mlp = width * 4 * i
    adapters = width * (h + i) // 8 if frozen else 0
    return tokens * (norms + attention + mlp + adapters)


def training(
    shape: Shape, settings: TrainSettings, dtype: str, device: str = "cuda", processes: int = 1
) -> dict[str, float]:
    """Bytes of one process's training, by what they are for.

    Weights are trained in the profile's type, and AdamW's two moments have the type of the weights; PEFT holds adapters
    in float32 on a base in 16 bits. A batch is one of the longest examples.
    """
    width = WIDTH[dtype]
    lora = settings.lora
    if lora is None:
        held, trained, moments = shape.parameters * width, shape.parameters * width, 2 * shape.parameters * width
    else:
        frozen = shape.layers * shape.layer_matrices
        held = shape.parameters * width if not lora.quantize else (shape.parameters - frozen) * width + frozen * NF4
        count = shape.adapter(lora.rank, lora.targets)
        adapter_width = 2 if lora.quantize else 4
        held, trained, moments = held + count * adapter_width, count * adapter_width, 2 * count * adapter_width
    if settings.optimizer == "adamw_bnb_8bit":
        moments = moments / width * 1.02 if lora is None else moments / 4
    tokens = settings.batch * settings.max_length
    if settings.batching == "packed":
        tokens = settings.max_length  # a row at a time, unless flash-attn takes more
    layer = activations(shape, tokens, width, lora is not None)
    kept = layer * shape.layers
    if settings.gradient_checkpointing:
        kept = shape.layers * tokens * shape.hidden * width
    # The peak is when the head is at work, or at the end of the backward pass, when a layer is worked on (or computed
    # again, beside its gradients and what makes them) and all gradients are there. Accumulated ones are there always.
    logits = head(shape, tokens, width, device, lora is None)
    again = (kept + 2 * layer) if settings.gradient_checkpointing else layer
    passes = settings.accumulation * (settings.batch if settings.batching == "packed" else 1)
    early = trained if passes > 1 else 0
    at_head = {"gradients": early / processes, "activations": float(kept), "logits": float(logits)}
    at_end = {"gradients": trained / processes, "activations": float(again), "logits": 0.0}
    # PyTorch's foreach AdamW, the unfused one on accelerators, takes the root of all second moments at a time.
    roots = trained if settings.optimizer == "adamw_torch" and device != "cpu" else 0
    at_step = {"gradients": (trained + roots) / processes, "activations": 0.0, "logits": 0.0}
    peak = max(at_head, at_end, at_step, key=lambda parts: sum(parts.values()))
    return {"weights": held / processes, "optimizer": moments / processes, **peak}


def head(shape: Shape, tokens: int, width: int, device: str, trained: bool) -> int:
    """What the output head takes in its backward pass. TRL's fused one (trl/kernels/chunked_logprob.py): a tile of
    logits in the type of the weights, whose buffer has all columns however small the vocabulary is; the hidden states'
    gradient in float32; and, where the head is trained, that of its weights. On the CPU, where the logits are few
    enough, the plain one: their log-probabilities in float32 and two gradients, of these and of the logits; with that
    of the tied weights, before it is added to the embedding's."""
    logits = tokens * shape.vocabulary
    if device == "cpu" and logits <= MOST_LOGITS:
        tied = shape.vocabulary * shape.hidden * width if trained else 0
        return logits * 12 + tied
    rows, columns = min(tokens, TILE[0]), min(shape.vocabulary, TILE[1])
    tiles = rows * (TILE[1] * width + COPIES[device] * columns * 4)
    gradient = shape.vocabulary * shape.hidden * 4 if trained else 0
    return tiles + gradient + 2 * tokens * shape.hidden * 4


def sampling(shape: Shape, settings: SampleSettings, dtype: str, prompt: int = PROMPT) -> dict[str, float]:
    """Bytes of decoding a batch whose prompts have `prompt` tokens."""
    width, batch = WIDTH[dtype], max(settings.batch, settings.n)
    return {
        "weights": float(shape.parameters * width),
        "cache": float(batch * (prompt + settings.max_new_tokens) * shape.cache_bytes(width)),
        "logits": float(batch * shape.vocabulary * 4 * 4),
    }
