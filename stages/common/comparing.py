"""How the output of a case is compared: the optional field `compare` of a task.

| value | what counts as equal |
|---|---|
| `"exact"` | equal lines; white space at line ends and blank lines at the end do not count |
| `"tokens"` | equal words, however much white space is between them |
| `{"tokens": {"ignore_case": true}}` | the same, with upper and lower case of ASCII letters as one |
| `"float"` | as `tokens`, with numbers that differ by 1e-6 at most, absolute or relative |
| `{"float": {"abs": 1e-4, "rel": 0}}` | the same with other tolerances; one that is left out is 0 |
"""

import json
import math
from dataclasses import dataclass
from typing import Any

EXACT, TOKENS, FLOAT = "exact", "tokens", "float"
TOLERANCE = 1e-6
MOST = 1e300  # of a tolerance
EXAMPLES = ('{"tokens": {"ignore_case": true}}', '{"float": {"abs": 1e-6, "rel": 1e-6}}')
FORMS = f'expected "exact", "tokens", "float", or such as {" or ".join(EXAMPLES)}'


@dataclass(frozen=True, slots=True)
class Comparison:
    """A rule for outputs; `abs` and `rel` are the tolerances of kind "float"."""

    kind: str = EXACT
    ignore_case: bool = False
    abs: float = 0.0
    rel: float = 0.0


def parse_comparison(value: Any) -> Comparison:
    """The rule that a task's `compare` names. ValueError, with what was found and expected, for what names none."""
    if value in (EXACT, TOKENS):
        return Comparison(value)
    if value == FLOAT:
        return Comparison(FLOAT, abs=TOLERANCE, rel=TOLERANCE)
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"{FORMS}, found {_shown(value)}")
    ((kind, options),) = value.items()
    known = {TOKENS: {"ignore_case"}, FLOAT: {"abs", "rel"}}.get(kind)
    if known is None or not isinstance(options, dict) or not options.keys() <= known:
        raise ValueError(f"{FORMS}, found {_shown(value)}")
    if kind == TOKENS:
        if not isinstance(options.get("ignore_case", False), bool):
            raise ValueError(f"'ignore_case': expected true or false, found {_shown(options['ignore_case'])}")
        return Comparison(TOKENS, options.get("ignore_case", False))
    return Comparison(FLOAT, abs=_tolerance(options, "abs", math.inf), rel=_tolerance(options, "rel", 1.0))


def _tolerance(options: dict[str, Any], name: str, below: float) -> float:
    found = options.get(name, 0.0)
    number = isinstance(found, int | float) and not isinstance(found, bool)
    if not number or not 0 <= found < below or found > MOST:  # NaN is not
        wanted = f"a number from 0 to {MOST:g}" if below == math.inf else f"a number from 0 to less than {below:g}"
        raise ValueError(f"'{name}': expected {wanted}, found {_shown(found)}")
    return float(found)


def _shown(value: Any) -> str:
    return json.dumps(value)[:60]
