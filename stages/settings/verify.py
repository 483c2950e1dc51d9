"""Settings of verifying: section `verify` of a profile. All have defaults."""

from typing import Annotated, Literal

from pydantic import Field

from stages.common.params import Settings

MOST_MB = 1 << 20  # more than any machine has


class Limits(Settings):
    """What a program under test may use. CPU time decides over timeouts, so a busy machine changes no verdict."""

    cpu_seconds: int = Field(
        10, ge=1, le=86_400, description="CPU time of one run (s): a module with all its tests, or one case"
    )
    wall_factor: float = Field(
        3.0, ge=1, le=1000, description="wall-clock limit as a multiple of the CPU limit, plus 2 s"
    )
    memory_mb: int = Field(
        1024, ge=64, le=MOST_MB, description="memory of a process, and of all together, beside thread stacks (MiB)"
    )
    processes: int = Field(64, ge=8, le=4096, description="processes and threads at once")
    file_mb: int = Field(64, ge=1, le=MOST_MB, description="size of one written file (MiB)")
    tmp_mb: int = Field(256, ge=8, le=MOST_MB, description="size of /tmp (MiB); lives in memory")
    output_kb: int = Field(1024, ge=1, le=1 << 18, description="standard output, and standard error, of one run (KiB)")
    open_files: int = Field(256, ge=16, le=1 << 20, description="open files per process")
    stack_mb: int = Field(64, ge=1, le=MOST_MB, description="stack of a process's first thread (MiB)")

    def job(self, **changes: int) -> dict:
        """The limits of one run in the form that the sandbox takes; `changes` replace single ones."""
        limits = {**self.model_dump(exclude={"wall_factor", "tmp_mb"}), **changes}
        return {**limits, "wall_seconds": limits["cpu_seconds"] * self.wall_factor + 2}


class PytestSettings(Settings):
    """The Python verifier."""

    packages: tuple[str, ...] = Field(
        (), strict=False, description="distributions that solutions may import, with what they require; e.g. numpy"
    )


class CompilerSettings(Settings):
    """A verifier of C and C++."""

    c_standard: str = Field("c17", pattern=r"^[a-z0-9+]+$", description="-std for C")
    cpp_standard: str = Field("c++17", pattern=r"^[a-z0-9+]+$", description="-std for C++")
    flags: tuple[str, ...] = Field(("-O2", "-Wall", "-Wextra"), strict=False, description="compiler flags")
    libraries: tuple[str, ...] = Field(("m", "pthread"), strict=False, description="libraries to link, without -l")
    sanitize: tuple[Literal["address", "undefined"], ...] = Field(
        (), strict=False, description="checks that are compiled in; what they find is a runtime error"
    )
    compile_cpu_seconds: int = Field(60, ge=1, description="CPU time of one compilation (s)")
    compile_memory_mb: int = Field(4096, ge=256, description="memory of a compiler process (MiB)")


class GccSettings(CompilerSettings):
    """GCC."""


class ClangSettings(CompilerSettings):
    """clang."""


class MingwSettings(CompilerSettings):
    """GCC that makes Windows programs."""

    flags: tuple[str, ...] = Field(
        ("-O2", "-Wall", "-Wextra", "-static"), strict=False, description="compiler flags; -static: no DLLs to look for"
    )
    run: Literal["wine"] | None = Field(
        None, description="wine: programs are run, under wine; null: they are compiled only, and earn 0.5 at most"
    )
    startup_cpu_seconds: int = Field(
        10, ge=1, le=86_400, description="CPU time of wine itself, beside that of the program (s)"
    )


class RustSettings(Settings):
    """The Rust verifier."""

    edition: Literal["2015", "2018", "2021", "2024"] = Field("2021", description="--edition")
    flags: tuple[str, ...] = Field(
        ("-Copt-level=2", "-Coverflow-checks=on"), strict=False, description="flags of rustc, for crates as well"
    )
    vendor: str | None = Field(None, min_length=1, description="folder that cargo vendor has made; null: no crates")
    crates: tuple[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\[[A-Za-z0-9_-]+(,[A-Za-z0-9_-]+)*\])?(=[0-9A-Za-z.+-]+)?$")],
        ...,
    ] = Field(
        (),
        strict=False,
        description="crates of that folder that solutions may use, as NAME, NAME=VERSION or NAME[FEATURE,FEATURE]",
    )
    compile_cpu_seconds: int = Field(60, ge=1, description="CPU time of one compilation (s)")
    compile_memory_mb: int = Field(4096, ge=256, description="memory of a compiler process (MiB)")


class MsvcSettings(Settings):
    """The verifier that compiles with Microsoft's cl on another machine, over OpenSSH."""

    host: str | None = Field(None, pattern=r"^[A-Za-z0-9_:][A-Za-z0-9_.:%-]*$", description="name or address")
    port: int = Field(22, ge=1, le=65535, description="port of its sshd")
    user: str | None = Field(None, pattern=r"^[^\s\x00-\x1f-][^\x00-\x1f]*$", description="account there")
    key: str | None = Field(None, min_length=1, description="file of the private key, without a passphrase")
    known_hosts: str | None = Field(
        None, min_length=1, description="file that holds the host's key; null: the user's own known_hosts"
    )
    config: str | None = Field(
        None, min_length=1, description="OpenSSH client configuration, for a jump host say; null: none is read"
    )
    shell: Literal["cmd", "sh"] = Field("cmd", description="cmd: a Windows host; sh: one where cl runs under wine")
    setup: str | None = Field(
        None,
        pattern=r"^[^\r\n\x00]+$",
        description="command of that shell that puts cl on the PATH; null: the newest Visual Studio's vcvars64.bat",
    )
    folder: str = Field(
        "halo-forge",
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$",
        description="folder below the account's home in which each run makes its own, and removes it",
    )
    c_standard: str = Field("c17", pattern=r"^[a-z0-9+]+$", description="/std for C")
    cpp_standard: str = Field("c++17", pattern=r"^[a-z0-9+]+$", description="/std for C++")
    flags: tuple[Annotated[str, Field(pattern=r'^[/-][^\s"\x00]+$')], ...] = Field(
        ("/W4", "/EHsc", "/utf-8", "/D_CRT_SECURE_NO_WARNINGS"), strict=False, description="flags of cl"
    )
    run: bool = Field(False, description="run programs there, with no sandbox around them: for a disposable host only")
    compile_seconds: float = Field(120.0, gt=0, description="wall-clock time of one compilation (s)")
    concurrency: int = Field(4, ge=1, le=8, description="compilations at once; a connection carries 10 sessions")
    connect_seconds: int = Field(15, ge=1, description="patience with one attempt to connect (s)")
    keepalive_seconds: int = Field(15, ge=1, description="a host silent for 3 times as long is taken for lost (s)")
    retries: int = Field(4, ge=0, description="attempts after a failed one, to connect or to compile")
    backoff_seconds: float = Field(1.0, ge=0, description="pause before the first of them (s); doubles each time")


class VerifySettings(Settings):
    """How samples are judged."""

    workers: int = Field(0, ge=0, description="judges at work at once, on each node; 0: one per core available there")
    cache: bool = Field(True, description="look verdicts up in the user's cache folder and keep them there")
    cache_mb: int = Field(1024, ge=1, description="size of that cache (MiB); beyond it the oldest verdicts go")
    executor: Literal["local", "ray"] = Field("local", description="this machine's cores, or those of a Ray cluster")
    ray_address: str | None = Field(
        None, min_length=1, description="HOST:PORT of the cluster's head; null: RAY_ADDRESS, else this machine alone"
    )
    limits: Limits = Limits()
    pytest: PytestSettings = PytestSettings()
    gcc: GccSettings = GccSettings()
    clang: ClangSettings = ClangSettings()
    mingw: MingwSettings = MingwSettings()
    rust: RustSettings = RustSettings()
    msvc_ssh: MsvcSettings = MsvcSettings()
