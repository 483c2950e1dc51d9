"""A GGUF file read back and compared with the model directory that it was made from."""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, quants
from transformers import PretrainedConfig

from stages.common.errors import HaloForgeError
from stages.lm.gguf_file import ARCHITECTURES, Weights

# Of a rounding to the nearest: half a unit in the last place (2^-p at p bits of precision), and what is lost below the
# smallest normal number.
ROUNDING = {
    GGMLQuantizationType.F32: (0.0, 0.0),
    GGMLQuantizationType.F16: (2.0**-11, 2.0**-25),
    GGMLQuantizationType.BF16: (2.0**-8, 2.0**-134),
}
BLOCK = 32  # values that share a scale in Q8_0


def tolerance(values: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    """How far each value may lie from the one stored. Raises HaloForgeError for a type that is not written here.

    Q8_0 stores round(x / d) with d = max |x| / 127 over a block, and d itself in float16.
    """
    if kind in ROUNDING:
        relative, absolute = ROUNDING[kind]
        return np.abs(values) * relative + absolute
    if kind is not GGMLQuantizationType.Q8_0:
        raise HaloForgeError(f"type {kind.name}: expected f32, f16, bf16 or q8_0")
    largest = np.abs(values).reshape(-1, BLOCK).max(axis=1, keepdims=True)
    bound = largest / 127 * 0.5001 + largest * 2.0**-11 + 127 * 2.0**-25
    return np.broadcast_to(bound, (len(bound), BLOCK)).reshape(values.shape)


def read_back(file: Path, path: Path, config: PretrainedConfig) -> dict[str, int]:
    """Count the file's weights by type, after each was compared with that of the model in `path`.

    Of an architecture that stages.lm.gguf_file does not know, whose weights the converter may have turned round, only
    that they are finite is checked. Raises HaloForgeError for a file that does not hold what it should.
    """
    try:
        tensors = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise HaloForgeError(f"{file}: is no GGUF file: {str(error).splitlines()[0][:200]}") from None
    if config.architectures[0] in ARCHITECTURES:
        _compare(file, tensors, Weights(path, config))
    else:
        for name, tensor in tensors.items():
            if not np.isfinite(quants.dequantize(tensor.data, tensor.tensor_type)).all():
                raise HaloForgeError(f"{file}: {name} is not finite")
    counts: dict[str, int] = {}
    for tensor in tensors.values():
        kind = tensor.tensor_type.name.lower()
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _compare(file: Path, tensors: dict, weights: Weights) -> None:
    if tensors.keys() != weights.shapes.keys():
        odd = min(tensors.keys() ^ weights.shapes.keys())
        raise HaloForgeError(f"{file}: {len(tensors)} weights, expected {len(weights.shapes)}; one that differs: {odd}")
    for name, values in weights:
        tensor = tensors[name]
        shape = tuple(int(n) for n in reversed(tensor.shape))  # GGUF lists the fastest dimension first
        if shape != values.shape:
            raise HaloForgeError(f"{file}: {name}: shape {shape}, expected {values.shape}")
        there = quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        far = ~(np.abs(there - values) <= tolerance(values, tensor.tensor_type))  # NaN is far as well
        if far.any():
            place = tuple(int(n) for n in np.argwhere(far)[0])
            raise HaloForgeError(f"{file}: {name}{list(place)}: {there[place]}, expected {values[place]}")
