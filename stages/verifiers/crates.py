"""Crates of others for Rust: from a folder that `cargo vendor` has made, built once, offline, by cargo."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

from stages.common.errors import SandboxError
from stages.sandbox import abilities
from stages.settings.verify import RustSettings
from stages.verifiers.toolchain import Workshop

VENDOR_AT = "/forge/vendor"
ARGUMENTS = "arguments.json"  # of rustc, for all that was built
MANIFEST = (
    '[package]\nname = "forge"\nversion = "0.0.0"\nedition = "2021"\n\n[lib]\npath = "lib.rs"\n\n[dependencies]\n'
)
CONFIG = (
    '[source.crates-io]\nreplace-with = "vendored"\n\n[source.vendored]\ndirectory = "{}"\n\n[net]\noffline = true\n'
    '\n[build]\ntarget-dir = "{}/target"\n'
)


class Crates:
    """The crates that the settings name, built in `workshop` by the toolchain that lies at `root` in a sandbox."""

    def __init__(self, workshop: Workshop, root: str, options: RustSettings) -> None:
        self.workshop, self.root, self.options = workshop, root, options
        self.vendor = Path(options.vendor).resolve() if options.vendor else None

    def check(self) -> str | None:
        """What is missing; None where all is there."""
        if self.vendor is None:
            return "settings name crates and no folder: set vendor" if self.options.crates else None
        if not self.vendor.is_dir():
            return f"{self.options.vendor}: no such folder; make it with cargo vendor (toolbox/vendor-crates.sh)"
        known = set(self.versions(self.options))
        missing = [name for name in map(_name, self.options.crates) if name not in known]
        return f"{self.options.vendor}: no crate {', '.join(missing)}; add it with cargo vendor" if missing else None

    @staticmethod
    def versions(options: RustSettings) -> dict[str, str]:
        """Crate by crate of the folder, its version and a digest of what cargo holds to be its content."""
        found = {}
        for manifest in sorted(Path(options.vendor or "").glob("*/Cargo.toml")):
            try:
                package = tomllib.loads(manifest.read_text(encoding="utf-8"))["package"]
            except (ValueError, KeyError) as error:
                raise SandboxError(f"{manifest}: no manifest of a crate: {error}") from None
            sums = manifest.parent / ".cargo-checksum.json"
            digest = hashlib.sha256(sums.read_bytes() if sums.exists() else b"").hexdigest()[:12]
            found[package["name"]] = f"{package['version']} {digest}"
        return found

    def fill(self, workshop: Workshop) -> None:
        """Build them. SandboxError, with cargo's words, where that fails."""
        (workshop.path / ARGUMENTS).write_text("[]")
        if not self.options.crates:
            return
        workshop.folders = (*workshop.folders, (VENDOR_AT, str(self.vendor)))
        lines = "".join(map(_dependency, self.options.crates))
        (workshop.path / "Cargo.toml").write_text(MANIFEST + lines)
        (workshop.path / "lib.rs").write_text("")
        (workshop.path / ".cargo").mkdir()
        (workshop.path / ".cargo" / "config.toml").write_text(CONFIG.format(VENDOR_AT, workshop.at))
        # The flags are those of solutions, so that both fit together.
        environment = {
            "RUSTC": f"{self.root}/bin/rustc",
            **loading(self.root),
            "CARGO_HOME": "/tmp/cargo",
            "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(self.options.flags),
        }
        command = [f"{self.root}/bin/cargo", "build", "--offline", "--release", "--message-format=json"]
        proc = abilities()["proc"]
        done = workshop.run(["/usr/bin/env", *(f"{k}={v}" for k, v in environment.items()), *command], proc=proc)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("error")]
            last = (said or done.stderr.strip().splitlines() or ["nothing"])[0]
            raise SandboxError(f"cargo does not build the crates of {self.options.vendor}; it says: {last[:200]}")
        built = self._arguments(done.stdout, f"{workshop.at}/target")
        (workshop.path / ARGUMENTS).write_text(json.dumps(built))

    def _arguments(self, said: str, target: str) -> list[str]:
        """What tells rustc where the crates lie."""
        wanted = {_name(spec).replace("-", "_") for spec in self.options.crates}
        arguments = ["-L", f"dependency={target}/release/deps"]
        for line in said.splitlines():
            message = json.loads(line) if line.startswith("{") else {}
            if message.get("reason") != "compiler-artifact":
                continue
            name = message["target"]["name"].replace("-", "_")
            files = [file for file in message["filenames"] if re.search(r"\.(?:rlib|so)$", file)]
            if name in wanted and files and "custom-build" not in message["target"]["kind"]:
                arguments += ["--extern", f"{name}={files[0]}"]
        return arguments

    def arguments(self) -> list[str]:
        """For rustc, inside a sandbox."""
        return json.loads((self.workshop.path / ARGUMENTS).read_text())


def loading(root: str) -> dict[str, str]:
    """The environment in which the toolchain at `root` finds its libraries where there is no /proc."""
    return {} if root == "/usr" else {"LD_LIBRARY_PATH": f"{root}/lib"}


def _name(spec: str) -> str:
    return re.split(r"[\[=]", spec, maxsplit=1)[0]


def _dependency(spec: str) -> str:
    """The line of a manifest for NAME, NAME=VERSION, NAME[FEATURE,FEATURE] or NAME[FEATURE]=VERSION."""
    wanted, _, number = spec.partition("=")
    features = json.dumps([f for f in wanted.partition("[")[2].rstrip("]").split(",") if f])
    return f'{_name(spec)} = {{ version = "{f"={number}" if number else "*"}", features = {features} }}\n'
