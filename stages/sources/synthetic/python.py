"""A program as Python: a straight-line function, one statement per step, and the assertions that judge it."""

from collections.abc import Iterable
from typing import Any

from stages.sources.synthetic.english import ARGUMENTS
from stages.sources.synthetic.operations import Program

LIST_STEPS = {
    "add": "[x + {k} for x in xs]",
    "subtract": "[x - {k} for x in xs]",
    "multiply": "[x * {k} for x in xs]",
    "double": "[x * 2 for x in xs]",
    "square": "[x * x for x in xs]",
    "negate": "[-x for x in xs]",
    "absolute": "[abs(x) for x in xs]",
    "modulo": "[x % {k} for x in xs]",
    "take_first": "xs[:{k}]",
    "take_last": "xs[-{k}:]",
    "drop_first": "xs[{k}:]",
    "drop_last": "xs[:-{k}]",
    "reverse": "xs[::-1]",
    "sort_up": "sorted(xs)",
    "sort_down": "sorted(xs, reverse=True)",
    "positive": "[x for x in xs if x > 0]",
    "greater": "[x for x in xs if x > {k}]",
    "less": "[x for x in xs if x < {k}]",
    "even": "[x for x in xs if x % 2 == 0]",
    "odd": "[x for x in xs if x % 2 == 1]",
    "every_second": "xs[::2]",
}
LIST_FINALS = {
    "itself": "xs",
    "sum": "sum(xs)",
    "minimum": "min(xs, default=0)",
    "maximum": "max(xs, default=0)",
    "length": "len(xs)",
    "first": "xs[0] if xs else 0",
    "last": "xs[-1] if xs else 0",
}
STRING_STEPS = {
    "upper": "s.upper()",
    "lower": "s.lower()",
    "swap_case": "s.swapcase()",
    "reverse": "s[::-1]",
    "take_first": "s[:{k}]",
    "take_last": "s[-{k}:]",
    "drop_first": "s[{k}:]",
    "drop_last": "s[:-{k}]",
    "every_second": "s[::2]",
    "sort": '"".join(sorted(s))',
    "replace": 's.replace("{k[0]}", "{k[1]}")',
    "remove": 's.replace("{k}", "")',
    "append": 's + "{k}"',
    "prepend": '"{k}" + s',
    "repeat": "s * {k}",
}
STRING_FINALS = {
    "itself": "s",
    "length": "len(s)",
    "count": 's.count("{k}")',
    "distinct": "len(set(s))",
    "first": "s[:1]",
}
STEPS = {"list": LIST_STEPS, "string": STRING_STEPS}
FINALS = {"list": LIST_FINALS, "string": STRING_FINALS}


def code(program: Program, name: str) -> str:
    """The program as a function called `name`, without a final line end."""
    category = program.category.name
    argument = ARGUMENTS[category]
    lines = [f"def {name}({argument}):"]
    for step in program.steps:
        lines.append(f"    {argument} = {STEPS[category][step.kind.name].format(k=step.constant)}")
    lines.append(f"    return {FINALS[category][program.final.kind.name].format(k=program.final.constant)}")
    return "\n".join(lines)


def assertions(name: str, examples: Iterable[tuple[Any, Any]]) -> str:
    """One assertion per (argument, expected result)."""
    return "".join(f"assert {name}({argument!r}) == {expected!r}\n" for argument, expected in examples)
