"""Verifier `gcc`: C and C++ with the system's gcc and g++; cases on stdin and stdout, or assert-style test text."""

from stages.verifiers.c_family import CFamily


class Gcc(CFamily):
    """Judges C and C++ with GCC."""

    name = "gcc"
    drivers = {"c": "gcc", "cpp": "g++"}  # noqa: RUF012 - a constant that a subclass replaces
    packages = "apt-get install g++, or dnf install gcc-c++"
    plain_diagnostics = ("-fdiagnostics-color=never", "-fno-diagnostics-show-caret", "-fmax-errors=20")
    many_errors = "-fmax-errors=200"
    linkers = ("ld.gold", "mold", "ld.lld", "ld.bfd")
    header_extension = ".h.gch"

    def use_header(self, path: str) -> list[str]:
        """The plain header lies beside the compiled one, and stands in where that does not fit."""
        return ["-include", f"{path}.h"]
