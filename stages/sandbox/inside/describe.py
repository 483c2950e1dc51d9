"""What is told of a class or an exception to a process that has only a stand-in of it.

Runs inside the sandbox and imports the standard library alone.
"""

import dataclasses
import enum
import functools
import types
from typing import Any

import mirrors
import remote
import vocabulary

NAME_LENGTH = 200
TEXT_LENGTH = 20_000  # characters of an exception's text
NAME_LIMIT = 300  # special methods, and methods, told of a class


def exception_text(error: BaseException) -> str:
    """`str(error)`, cut."""
    try:
        text = str(error)
        return text[:TEXT_LENGTH] if type(text) is str else ""
    except Exception:
        return ""


def can_be_base(kind: type) -> bool:
    """Whether a stand-in's class has the same builtin class as a base, and not a stand-in of it."""
    if kind in vocabulary.VALUES or mirrors.base_of(kind) is kind:
        return kind is not bool
    return issubclass(kind, BaseException) and vocabulary.exception_name(kind) is not None


def bases(kind: type) -> list[type]:
    """The bases of a class, in order."""
    return [
        base for base in type.__getattribute__(kind, "__mro__")[1:] if base in kind.__bases__ and base is not object
    ]


def class_name(kind: type) -> str:
    """Its name, whatever its metaclass says."""
    name = type.__getattribute__(kind, "__name__")
    return name if type(name) is str else "object"


def description(kind: type) -> dict:
    """What remote.make_class asks for."""
    doc = type.__getattribute__(kind, "__dict__").get("__doc__")
    return {
        "specials": specials(kind),
        "methods": methods(kind),
        "doc": doc[:TEXT_LENGTH] if type(doc) is str else None,
        "fields": fields(kind),
    }


@functools.cache
def description_of_builtin(kind: type) -> dict:
    """The same for a class that both sides know, worked out once."""
    return description(kind)


def fields(kind: type) -> list | None:
    """[name, whether __init__ takes it] of each field of a dataclass."""
    found = type.__getattribute__(kind, "__dict__").get("__dataclass_fields__")
    if type(found) is not dict:
        return None
    return [[name, field.init] for name, field in found.items() if field._field_type is dataclasses._FIELD]


def own_names(kind: type) -> dict:
    """Attributes that the class and its bases define, those of the builtin types that cross as values left out."""
    found: dict = {}
    for base in reversed(type.__getattribute__(kind, "__mro__")):
        if base is object or can_be_base(base):
            continue
        found.update(type.__getattribute__(base, "__dict__"))
    return found


def specials(kind: type) -> list[str]:
    """The special methods that it has. An enumeration's hash, which is that of a name, is as good as any."""
    own = own_names(kind)
    if own.get("__hash__") is enum.Enum.__hash__:
        del own["__hash__"]
    return sorted(name for name in remote.SPECIALS if own.get(name) is not None)


def methods(kind: type) -> list[str]:
    """Its public methods, and its `__init__`, which classes derived from it call."""
    functions = (types.FunctionType, classmethod, types.MethodDescriptorType, types.BuiltinFunctionType)
    own = own_names(kind)
    public = sorted(n for n, v in own.items() if type(v) in functions and not n.startswith("_"))[:NAME_LIMIT]
    return [*public, "__init__"] if type(own.get("__init__")) is types.FunctionType else public


def checked(told: dict) -> dict:
    """What came as a description, cut to what make_class expects; ValueError, TypeError or KeyError where it cannot."""
    names = {key: [n for n in told[key][:NAME_LIMIT] if type(n) is str] for key in ("specials", "methods")}
    # What Python itself looks up is among the specials, of which make_class knows which may be asked.
    names["methods"] = [n for n in names["methods"] if not n.startswith("_") or n == "__init__"]
    doc, listed = told["doc"], told["fields"]
    pairs = [(str(name), init is True) for name, init in listed[:NAME_LIMIT]] if type(listed) is list else None
    return {**names, "doc": doc if type(doc) is str else None, "fields": pairs}


def signature(function: Any, defaults: bool) -> tuple:
    """(name, kind, whether there is a default, the default where `defaults` may be told) of each parameter."""
    import inspect

    def told(parameter: Any) -> tuple:
        given = parameter.default is not parameter.empty
        return parameter.name, int(parameter.kind), given, parameter.default if given and defaults else None

    return tuple(map(told, inspect.signature(function).parameters.values()))


def to_signature(told: Any) -> Any:
    """The inspect.Signature of which `signature` has told."""
    import inspect

    empty, kinds = inspect.Parameter.empty, list(inspect._ParameterKind)
    return inspect.Signature(
        [
            inspect.Parameter(name, kinds[kind], default=default if given else empty)
            for name, kind, given, default in told
        ]
    )


description_of_builtin(types.FunctionType)  # what nearly every solution hands over first
