"""Verifier `clang`: C and C++ with clang; cases on stdin and stdout, or assert-style test text."""

from stages.verifiers.c_family import CFamily


class Clang(CFamily):
    """Judges C and C++ with clang."""

    name = "clang"
    drivers = {"c": "clang", "cpp": "clang++"}  # noqa: RUF012 - a constant
    packages = "apt-get install clang, or dnf install clang"
    plain_diagnostics = (
        *("-fno-color-diagnostics", "-fno-caret-diagnostics", "-fno-spell-checking", "-ferror-limit=20"),
        "-ftrivial-auto-var-init=pattern",  # a variable without a value would equal whatever it is compared with
    )
    many_errors = "-ferror-limit=200"
    linkers = ("ld.gold", "mold", "ld.lld", "ld.bfd")
    header_extension = ".pch"

    def use_header(self, path: str) -> list[str]:
        """The compiled header."""
        return ["-include-pch", f"{path}.pch"]
