"""What people do to a copied Python task: other names, white space, comments, quotes, and the statement likewise."""

import io
import keyword
import random
import re
import tokenize
from dataclasses import replace

from stages.common.records import Task

NAMES = (
    "alpha",
    "beta",
    "gamma",
    "delta",
    "omega",
    "kappa",
    "sigma",
    "theta",
    "zeta",
    "lam",
    "rho",
    "phi",
    "chi",
    "psi",
)


def own_names(code: str) -> list[str]:
    """Names that the code gives itself: its functions, parameters and variables."""
    defined = (
        re.findall(r"\bdef (\w+)", code) + re.findall(r"\bfor (\w+)", code) + re.findall(r"^\s*(\w+) = ", code, re.M)
    )
    for parameters in re.findall(r"\bdef \w+\(([^)]*)\)", code):
        defined += re.findall(r"(?:^|,)\s*(\w+)(?=[^,\[\]]*(?:,|$|\[))", parameters)
    return [name for name in dict.fromkeys(defined) if not keyword.iskeyword(name) and name != "self"]


def renamed(code: str, names: dict[str, str]) -> str:
    """The code with names replaced where they are names and no attribute."""
    out, before = [], ""
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        text = names.get(token.string, token.string) if token.type == tokenize.NAME and before != "." else token.string
        out.append((token.type, text))
        before = token.string
    return tokenize.untokenize(out)


def commented(code: str, rng: random.Random) -> str:
    """The code with comments, blank lines and another indentation."""
    lines = []
    for line in code.splitlines():
        body = line.lstrip()
        lines.append("  " * ((len(line) - len(body)) // 2) + body)
        if body and not body.startswith(("#", '"""', "'''")) and body.endswith((")", "]", ":")) and rng.random() < 0.5:
            lines[-1] += "  # " + rng.choice(("as asked", "see above", "step by step", "careful here"))
    return "\n".join(lines) + "\n"


def reworded(text: str, names: dict[str, str]) -> str:
    """The statement with other names, other case at the start, and other white space."""
    for old, new in names.items():
        text = re.sub(rf"\b{re.escape(old)}\b", new, text)
    return "  " + text.strip().replace(". ", ".\n\n").replace(", ", ",  ") + " \n\n"


def copy_of(task: Task, number: int) -> Task:
    """An edited copy: names in code, tests and statement, comments, white space."""
    rng = random.Random(number)
    own = own_names(task.reference or "")
    new = rng.sample(NAMES, min(len(own), len(NAMES)))
    names = dict(zip(own, new, strict=False))
    public = {task.entry_point: names.get(task.entry_point, task.entry_point)} if task.entry_point else {}
    reference = commented(renamed(task.reference, names), rng) if task.reference else None
    tests = task.tests
    for old, fresh in public.items():
        tests = re.sub(rf"\b{re.escape(old)}\b", fresh, tests)
    return replace(
        task,
        task_id=f"copy/{number}",
        prompt=reworded(task.prompt, public),
        entry_point=public.get(task.entry_point, task.entry_point),
        reference=reference,
        tests=tests,
        meta={},
        source="copies",
    )
