"""Settings of verifying: section `verify` of a profile. All have defaults."""

from pydantic import Field

from stages.common.params import Settings


class Limits(Settings):
    """What a program under test may use. CPU time decides over timeouts, so a busy machine changes no verdict."""

    cpu_seconds: int = Field(10, ge=1, description="CPU time of one run (s): a module with all its tests, or one case")
    wall_factor: float = Field(3.0, ge=1, description="wall-clock limit as a multiple of the CPU limit, plus 2 s")
    memory_mb: int = Field(1024, ge=64, description="address space per process (MiB)")
    processes: int = Field(64, ge=8, description="processes and threads at once")
    file_mb: int = Field(64, ge=1, description="size of one written file (MiB)")
    tmp_mb: int = Field(256, ge=8, description="size of /tmp (MiB); lives in memory")
    output_kb: int = Field(1024, ge=1, description="standard output, and standard error, of one run (KiB)")
    open_files: int = Field(256, ge=16, description="open files per process")
    stack_mb: int = Field(64, ge=1, description="stack of a process's first thread (MiB)")

    def job(self, **changes: int) -> dict:
        """The limits of one run in the form that the sandbox takes; `changes` replace single ones."""
        limits = {**self.model_dump(exclude={"wall_factor", "tmp_mb"}), **changes}
        return {**limits, "wall_seconds": limits["cpu_seconds"] * self.wall_factor + 2}


class PytestSettings(Settings):
    """The Python verifier."""

    packages: tuple[str, ...] = Field(
        (), strict=False, description="distributions that solutions may import, with what they require; e.g. numpy"
    )


class GccSettings(Settings):
    """The C and C++ verifier."""

    c_standard: str = Field("c17", pattern=r"^[a-z0-9+]+$", description="-std for C")
    cpp_standard: str = Field("c++17", pattern=r"^[a-z0-9+]+$", description="-std for C++")
    flags: tuple[str, ...] = Field(("-O2", "-Wall", "-Wextra"), strict=False, description="compiler flags")
    libraries: tuple[str, ...] = Field(("m", "pthread"), strict=False, description="libraries to link, without -l")
    compile_cpu_seconds: int = Field(60, ge=1, description="CPU time of one compilation (s)")
    compile_memory_mb: int = Field(4096, ge=256, description="address space of a compiler process (MiB)")


class VerifySettings(Settings):
    """How samples are judged."""

    workers: int = Field(0, ge=0, description="judges at work at once; 0: one per processor core of this process")
    limits: Limits = Limits()
    pytest: PytestSettings = PytestSettings()
    gcc: GccSettings = GccSettings()
