"""No install takes an image's torch away: install-torch.sh, pip, uv and assert_packages.py for real.

What stands in is the wheels, which are tiny and have the names, versions and requirements of AMD's; they come from an
index on this machine, laid out as pip wants it.
"""

import functools
import http.server
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.toolbox.standins import TOOLBOX, is_error_line, wheel

IMAGE = TOOLBOX / "image"
ROCM = "2.12.0+rocm7.14.0"
TORCH = f"""
__version__ = "{ROCM}"
class version: hip, cuda = "7.14.1", None
"""
CUDA = """
__version__ = "2.13.0"
class version: hip, cuda = None, "13.0"
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An index with torch for gfx1151 and what it brings, at a URL of this machine."""
    root = tmp_path_factory.mktemp("index")
    extra = "device-gfx1151"
    wheel(
        root / "torch",
        "torch",
        ROCM,
        TORCH,
        ["triton==3.7.0+rocm7.14.0", f"amd-torch-device-gfx1151=={ROCM}; extra == '{extra}'", "rocm==7.14.0"],
        [extra],
    )
    wheel(root / "triton", "triton", "3.7.0+rocm7.14.0")
    wheel(root / "amd-torch-device-gfx1151", "amd-torch-device-gfx1151", ROCM)
    wheel(root / "rocm", "rocm", "7.14.0")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what PyPI would offer: newer builds for CUDA, and a package that wants them."""
    folder = tmp_path_factory.mktemp("others")
    wheel(folder, "torch", "2.13.0", CUDA)
    wheel(folder, "triton", "3.8.0")
    wheel(folder, "wants-torch", "1.0", requires=["torch>=2.13"])
    wheel(folder, "wants-triton", "1.0", requires=["triton==3.8.0"])
    wheel(folder, "harmless", "1.0", requires=["torch>=2.11"])
    return folder


class Image:
    """An environment and its constraints, as install-torch.sh makes them."""

    def __init__(self, folder: Path, index: str) -> None:
        self.venv, self.constraints = folder / "venv", folder / "constraints.txt"
        self.python = self.venv / "bin" / "python"
        settings = {"TORCH_VERSION": ROCM, "TORCH_INDEX": index, "GFX": "gfx1151", "TOOLS": "pip"}
        done = self.run(IMAGE / "install-torch.sh", PYTHON=sys.executable, **settings)
        assert done.returncode == 0, done.stderr

    def run(self, *command: object, **env: str) -> subprocess.CompletedProcess[str]:
        """A command without the machine's own settings for pip."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))}
        own |= {"VENV": str(self.venv), "CONSTRAINTS": str(self.constraints), "PIP_CONFIG_FILE": os.devnull}
        words = [str(word) for word in command]
        return subprocess.run(words, env=own | env, capture_output=True, text=True, check=False)

    def pip(self, others: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.python, "-m", "pip", "install", "--no-index", "--find-links", others, *words, **env)

    def uv(self, others: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        uv = Path(sys.executable).parent / "uv"
        options = ("--no-config", "--no-cache", "--no-index", "--find-links", others, "--python", self.python)
        return self.run(uv, "pip", "install", *options, *words, **env)

    def check(self, *words: object) -> subprocess.CompletedProcess[str]:
        return self.run(self.python, IMAGE / "assert_packages.py", *words)

    def versions(self) -> dict[str, str]:
        found = self.run(self.python, "-m", "pip", "freeze").stdout.split()
        return dict(line.split("==") for line in found)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, index: str) -> Image:
    return Image(tmp_path_factory.mktemp("image"), index)


BROUGHT = {
    "torch": ROCM,
    "triton": "3.7.0+rocm7.14.0",
    "amd-torch-device-gfx1151": ROCM,
    "rocm": "7.14.0",
}


def test_the_constraints_are_what_was_installed(image: Image) -> None:
    lines = [line for line in image.constraints.read_text().splitlines() if not line.startswith("#")]
    assert {name: version for name, _, version in (line.partition("==") for line in lines)} == BROUGHT
    assert image.versions() == BROUGHT


@pytest.mark.parametrize("tool", ["pip", "uv"])
@pytest.mark.parametrize("package", ["wants-torch", "wants-triton", "torch==2.13.0"])
def test_nothing_that_wants_another_torch_is_installed(image: Image, others: Path, tool: str, package: str) -> None:
    name = {"pip": "PIP_CONSTRAINT", "uv": "UV_CONSTRAINT"}[tool]
    done = getattr(image, tool)(others, package, **{name: str(image.constraints)})
    assert done.returncode != 0
    assert image.versions() == BROUGHT


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_what_takes_the_torch_that_is_there_is_installed(image: Image, others: Path, tool: str) -> None:
    name = {"pip": "PIP_CONSTRAINT", "uv": "UV_CONSTRAINT"}[tool]
    done = getattr(image, tool)(others, "harmless", **{name: str(image.constraints)})
    assert done.returncode == 0, done.stderr
    assert image.versions() == BROUGHT | {"harmless": "1.0"}
    assert image.run(image.python, "-m", "pip", "uninstall", "-qy", "harmless").returncode == 0


def test_a_torch_that_was_replaced_is_told(tmp_path: Path, index: str, others: Path) -> None:
    """Without the constraints the same install goes through; the assert names what it did."""
    image = Image(tmp_path, index)
    assert image.check("--constraints", image.constraints, "--torch", ROCM).returncode == 0
    assert image.pip(others, "wants-torch").returncode == 0
    told = image.check("--constraints", image.constraints)
    assert told.returncode == 1 and is_error_line(told.stderr)
    assert f"torch: found 2.13.0, expected {ROCM} ({image.constraints})" in told.stderr
    told = image.check("--torch", ROCM)
    assert told.returncode == 1 and f"torch: found 2.13.0 at {image.venv}" in told.stderr


def test_a_torch_from_elsewhere_or_of_another_kind_is_told(image: Image, tmp_path: Path) -> None:
    """Packages of ~/.local come first where PYTHONNOUSERSITE is not set; and a version's name is not its kind."""
    (tmp_path / "torch").mkdir()
    for text, told in ((TORCH, "set PYTHONNOUSERSITE=1"), (CUDA.replace("2.13.0", ROCM), "expected below")):
        (tmp_path / "torch" / "__init__.py").write_text(text)
        done = image.run(image.python, IMAGE / "assert_packages.py", "--torch", ROCM, PYTHONPATH=str(tmp_path))
        assert done.returncode == 1 and is_error_line(done.stderr) and told in done.stderr
    own = next(image.venv.glob("lib/python*/site-packages/torch/__init__.py"))
    text = own.read_text()
    own.write_text(CUDA.replace("2.13.0", ROCM))
    done = image.check("--torch", ROCM)
    own.write_text(text)
    assert done.returncode == 1 and f"found {ROCM} built for 13.0, expected a build for ROCm" in done.stderr


def test_the_projects_own_torch() -> None:
    """Of the environment that the tests run in: the right expectation passes, a wrong one is one line."""
    import torch

    def check(version: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(IMAGE / "assert_packages.py"), "--torch", version]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert check(str(torch.__version__)).returncode == 0
    done = check(ROCM)
    assert done.returncode == 1 and is_error_line(done.stderr)
    assert f"torch: found {torch.__version__} at {torch.__file__}, expected {ROCM}" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no pin of torch"), (f"torch=={ROCM}\nrocm>=7\n", "found 'rocm>=7', expected NAME==VERSION")],
)
def test_a_constraints_file_that_holds_nothing_is_told(image: Image, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "constraints.txt").write_text(text)
    done = image.check("--constraints", tmp_path / "constraints.txt")
    assert done.returncode == 1 and message in done.stderr


def test_the_pinned_packages_are_those_of_the_project() -> None:
    """Each requirement has a pin that meets it; torch has none here, as the image's own stays."""
    lines = (TOOLBOX / "constraints" / "box.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    assert not {"torch", "triton", "halo-forge"} & set(pins)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, wanted):
        if requirement.name != "torch":
            assert requirement.specifier.contains(pins[requirement.name.lower().replace("_", "-")]), requirement
