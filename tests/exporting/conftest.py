"""Fixtures of the tests of GGUF files."""

from pathlib import Path

import pytest

from stages.export_gguf import export
from tests.exporting.models import FLOAT32, Exported, save_qwen2


@pytest.fixture(scope="session")
def models(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("qwen2")
    made = {kind: save_qwen2(folder / kind, checkpoint, kind == "tied") for kind in ("tied", "untied")}
    assert len(list(made["untied"].glob("*.safetensors"))) > 2
    return {"tiny": checkpoint, **made}


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    """Export to `tmp_path/out`; returns the file."""

    def exported(model: Path, kind: str = "f32", converter: Path | None = None) -> Path:
        said = export(model, tmp_path / "out", kind, FLOAT32, converter)
        file = tmp_path / "out" / f"{model.name}-{kind}.gguf"
        assert said[0].startswith(f"{file}: {file.stat().st_size} bytes by ")
        return file

    return exported
