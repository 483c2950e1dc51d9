"""What the images build from git: flash-attn and llama.cpp's converter at pinned commits, from repositories made here.

git and pip are real.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toolbox.standins import TOOLBOX, is_error_line, wheel

IMAGE = TOOLBOX / "image"


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always")
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def repository(folder: Path, files: dict[str, str]) -> str:
    """A git repository with one commit, whose name is returned; it may be asked for any commit, as GitHub may."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")
    return git(folder, "rev-parse", "HEAD")


def run(script: str, code: int = 0, **env: object) -> str:
    """What a script of toolbox/image says, by the real commands of this machine."""
    own = {name: value for name, value in os.environ.items() if name not in ("VENV", "LLAMA_CPP", "PIP_CONSTRAINT")}
    allow = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
    done = subprocess.run(
        [IMAGE / script],
        env=own | allow | {name: str(value) for name, value in env.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


CONVERTER = "import pathlib, sys\nsys.path.insert(0, str(pathlib.Path(__file__).parent / 'gguf-py'))\nimport gguf\n"


@pytest.fixture
def llama(tmp_path: Path) -> dict[str, object]:
    """A repository like llama.cpp's, its pin, and where the converter goes."""
    files = {
        "convert_hf_to_gguf.py": CONVERTER + "from conversion import base\n",
        "conversion/__init__.py": "",
        "conversion/base.py": "",
        "gguf-py/gguf/__init__.py": "",
        "gguf-py/tests/test_gguf.py": "",
        "LICENSE": "MIT",
        "src/llama.cpp": "int main;",
        "models/large.gguf": "x" * 10_000,
    }
    commit = repository(tmp_path / "llama", files)
    git(tmp_path / "llama", "tag", "-a", "v0.5.0", "-m", "v0.5.0")
    git(tmp_path / "llama", "tag", "b11146")
    pin = tmp_path / "llama-cpp.env"
    pin.write_text(f"LLAMA_CPP_TAG=v0.5.0\nLLAMA_CPP_COMMIT={commit}\n")
    place = tmp_path / "opt" / "llama.cpp"
    return {"LLAMA_CPP_REPO": tmp_path / "llama", "LLAMA_CPP_ENV": pin, "LLAMA_CPP": place, "VENV": sys.prefix}


def test_the_converter_and_what_it_imports_are_all_that_is_kept(llama: dict[str, object]) -> None:
    place = Path(str(llama["LLAMA_CPP"]))
    for _ in range(2):  # another time takes the place of the first
        run("install-converter.sh", **llama)
        kept = sorted(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file() and p.suffix != ".pyc")
        assert kept == [
            "LICENSE",
            "REVISION",
            "conversion/__init__.py",
            "conversion/base.py",
            "convert_hf_to_gguf.py",
            "gguf-py/gguf/__init__.py",
        ]
        assert (place / "REVISION").read_text().startswith("v0.5.0 ")
    pin = Path(str(llama["LLAMA_CPP_ENV"]))
    pin.write_text(pin.read_text().replace("v0.5.0", "b11146"))  # a tag of the other kind
    run("install-converter.sh", **llama)
    assert (place / "REVISION").read_text().startswith("b11146 ")


def test_a_converter_that_is_not_as_pinned_is_refused(llama: dict[str, object]) -> None:
    pin = Path(str(llama["LLAMA_CPP_ENV"]))
    text = pin.read_text()
    pin.write_text(text.replace("v0.5.0", "v0.6.0"))
    told = run("install-converter.sh", 1, **llama)
    assert is_error_line(told) and "but tag v0.6.0 of" in told and "is not there" in told
    source = Path(str(llama["LLAMA_CPP_REPO"]))
    (source / "convert_hf_to_gguf.py").write_text("import no_such_module")
    git(source, "commit", "-qam", "broken")
    git(source, "tag", "-f", "v0.5.0")
    pin.write_text(text)
    assert f"but tag v0.5.0 of {source} is {git(source, 'rev-parse', 'HEAD')}" in run(
        "install-converter.sh", 1, **llama
    )
    pin.write_text(f"LLAMA_CPP_TAG=v0.5.0\nLLAMA_CPP_COMMIT={git(source, 'rev-parse', 'HEAD')}\n")
    assert "no_such_module" in run("install-converter.sh", 1, **llama)  # one that does not run fails the build


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """An environment with a torch and a wheel of einops at hand, and its constraints."""
    folder = tmp_path_factory.mktemp("flash")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    packages = next((folder / "venv").glob("lib/python*/site-packages"))
    wheels = folder / "wheels"
    torch = wheel(wheels, "torch", "2.12.0+rocm7.14.0")
    wheel(wheels, "einops", "0.8.2")
    pip = [folder / "venv" / "bin" / "python", "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target"]
    subprocess.run([*pip, packages, torch], check=True)
    constraints = folder / "constraints.txt"
    constraints.write_text("torch==2.12.0+rocm7.14.0\n")
    offline = {"PIP_NO_INDEX": 1, "PIP_FIND_LINKS": wheels, "PIP_CONFIG_FILE": os.devnull}
    return {"VENV": folder / "venv", "CONSTRAINTS": constraints, **offline}


# Builds, without tools, a wheel that says what its build was told: the real one compiles kernels where it is not told.
BACKEND = """
import os, pathlib, zipfile
assert CONDITION
def build_wheel(folder, *_):
    told = {name: os.environ.get(name) for name in ("BUILD_TARGET", "FLASH_ATTENTION_TRITON_AMD_ENABLE", "GPU_ARCHS")}
    info, name = "flash_attn-2.7.4.dist-info", "flash_attn-2.7.4-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        wheel.writestr("flash_attn.py", f"told = {told}")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: flash_attn\\nVersion: 2.7.4\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def flash(condition: str = "True") -> dict[str, str]:
    """The files of a repository whose build stops unless the condition holds."""
    return {"pyproject.toml": SYSTEM, "backend.py": BACKEND.replace("CONDITION", condition)}


def flash_told(venv: dict[str, object]) -> str:
    command = [Path(str(venv["VENV"])) / "bin" / "python", "-c", "import flash_attn; print(flash_attn.told)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_flash_attn_from_its_commit(venv: dict[str, object], tmp_path: Path) -> None:
    commit = repository(tmp_path / "flash", flash())
    (tmp_path / "flash" / "backend.py").write_text("raise SystemExit('the branch has moved on')")
    git(tmp_path / "flash", "commit", "-qam", "later")
    run("install-flash-attn.sh", **venv, FLASH_ATTN_REPO=tmp_path / "flash", FLASH_ATTN_COMMIT=commit)
    assert flash_told(venv) == (
        "{'BUILD_TARGET': 'rocm', 'FLASH_ATTENTION_TRITON_AMD_ENABLE': 'TRUE', 'GPU_ARCHS': 'gfx1151'}\n"
    )


def test_flash_attns_submodule_is_pinned_too(venv: dict[str, object], tmp_path: Path) -> None:
    aiter = repository(tmp_path / "aiter", {"marker.txt": "aiter"})
    repository(tmp_path / "flash", flash("pathlib.Path('third_party/aiter/marker.txt').exists()"))
    git(tmp_path / "flash", "submodule", "add", "-q", str(tmp_path / "aiter"), "third_party/aiter")
    git(tmp_path / "flash", "commit", "-qm", "submodule")
    pin = {"FLASH_ATTN_REPO": tmp_path / "flash", "FLASH_ATTN_COMMIT": git(tmp_path / "flash", "rev-parse", "HEAD")}
    told = run("install-flash-attn.sh", 1, **venv, **pin)
    assert is_error_line(told) and f"FLASH_ATTN_AITER: found '', expected '{aiter}'" in told
    run("install-flash-attn.sh", **venv, **pin, FLASH_ATTN_AITER=aiter)


def test_flash_attn_is_optional_and_wants_a_commit(venv: dict[str, object], tmp_path: Path) -> None:
    assert run("install-flash-attn.sh", **venv, FLASH_ATTN=0) == ""
    repository(tmp_path / "flash", flash())
    told = run("install-flash-attn.sh", 1, **venv, FLASH_ATTN_REPO=tmp_path / "flash", FLASH_ATTN_COMMIT="main_perf")
    assert is_error_line(told) and "found the commit 'main_perf', expected 40 hex digits" in told
    missing = {"FLASH_ATTN_REPO": tmp_path / "flash", "FLASH_ATTN_COMMIT": "0" * 40}
    assert f"cannot fetch commit {'0' * 40}" in run("install-flash-attn.sh", 1, **venv, **missing)
