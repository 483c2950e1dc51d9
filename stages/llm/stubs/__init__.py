"""Stubs of a solution: programs of the same names that do not solve the problem. Tests worth something fail them all.

A stub replaces the bodies of functions: they do nothing or return a default value, return 1, return an argument of the
right type, raise, or fail as the tests wait for it. Either every function is replaced, or the entry point alone.
Constructors stay, as methods would fail for want of what they set up. What is a function is asked of a parser: `ast`,
or tree-sitter's grammars. A stub that does not compile is no evidence either way: it fails, and an example is refused
only for a stub that passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.llm.stubs.bodies import Stub, replaced

__all__ = ["Stub", "stubs_of"]


@dataclass(frozen=True, slots=True)
class _Variant:
    """One way to replace bodies: of all functions, or of the entry point alone."""

    kind: str
    alone: bool


VARIANTS = tuple(
    _Variant(kind, alone) for alone in (False, True) for kind in ("default", "one", "argument", "raises", "awaited")
)


def stubs_of(code: str, language: str, entry_point: str | None, tests: str = "") -> Sequence[Stub] | None:
    """The stubs of a solution. None where Python nested too deeply cannot be written again; empty where there is no
    function. `tests` tell which exceptions they wait for."""
    if language == "python":
        from stages.llm.stubs.python import python_stubs

        return python_stubs(code, entry_point, tests)
    if language == "rust":
        from stages.llm.stubs.rust import rust_functions as functions
    else:
        from stages.llm.stubs.c import c_functions as functions
    text = code.encode("utf-8", "surrogatepass")
    found = functions(text, language, tests)
    stubs = (replaced(text, found, v.kind, entry_point if v.alone else None) for v in VARIANTS)
    distinct: dict[str, Stub] = {}
    for stub in stubs:
        if stub and stub.code != code:
            distinct.setdefault(stub.code, stub)  # told as the first kind that it is
    return list(distinct.values())
