"""The registry of verifiers. A language is one small file and one line here; `module:Class` names one's own."""

import difflib
import importlib

from stages.common.errors import InputError
from stages.settings.verify import VerifySettings
from stages.verifiers.base import Verifier

REGISTRY = {
    "pytest": "stages.verifiers.python:Python",
    "gcc": "stages.verifiers.gcc:Gcc",
    "clang": "stages.verifiers.clang:Clang",
    "mingw": "stages.verifiers.mingw:Mingw",
    "rust": "stages.verifiers.rust:Rust",
    "msvc_ssh": "stages.verifiers.msvc_ssh:MsvcSsh",
}


def make(name: str, settings: VerifySettings) -> Verifier:
    """The verifier of that name; imported here and no earlier. InputError for an unknown one."""
    path = REGISTRY.get(name, name)
    module_name, colon, class_name = path.partition(":")
    if not colon:
        near = difflib.get_close_matches(name, REGISTRY, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise InputError(f"unknown verifier '{name}'; {hint}known: {', '.join(REGISTRY)}, or module:Class")
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"verifier '{name}' cannot be imported: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, Verifier)):
        raise InputError(f"verifier '{name}' is no class of stages.verifiers.base.Verifier")
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        raise InputError(f"verifier '{name}' lacks {' and '.join(missing)}; see docs/CUSTOM_VERIFIERS.md")
    return kind(settings)
