"""Adapters and the base model that each belongs to."""

from pathlib import Path

from stages.common.errors import InputError
from stages.common.files import content_hash, write_json
from stages.common.json_reader import read_map

BASE_FILE = "halo_forge_base.json"  # beside an adapter: the digest of the weights that it was trained on


def base_of(path: Path) -> Path:
    """The directory of an adapter's base model. Raises InputError where it is not there."""
    named = read_map(path / "adapter_config.json", foreign=True).get("base_model_name_or_path")
    places = (Path(named or ""), path.parent / Path(named or "").name)
    base = next((place for place in places if named and place.is_dir()), None)
    if base is None:
        raise InputError(f"{path}: adapter of the base model '{named}', which is not there")
    return base


def weights_hash(directory: Path) -> str:
    """Digest of a checkpoint's weights (all its safetensors files, by name)."""
    return content_hash(*sorted(directory.glob("*.safetensors")))


def remember_base(directory: Path, base: Path) -> None:
    """Write beside an adapter which weights it was trained on."""
    write_json(directory / BASE_FILE, {"weights": weights_hash(base)})


def expect_same_base(path: Path, base: Path) -> None:
    """Raise InputError where `base` has other weights than those that the adapter at `path` was trained on; an adapter
    that does not say is taken."""
    file = path / BASE_FILE
    if not file.is_file():
        return
    known, found = read_map(file).get("weights", ""), weights_hash(base)
    if known != found:
        raise InputError(
            f"{path}: adapter of another base model: {base} has the weights {found[:12]}, expected {known[:12]}"
        )
